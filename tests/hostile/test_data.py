"""Every hostile or broken data file: exit 3, one clear line, no code run, little memory, little time."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bnsharp_cli.io.checkpoints.checkpoint import save_checkpoint
from bnsharp_cli.io.networks.factories import import_factory
from tests.hostile import archive_cases, data_cases, folder_cases, image_cases
from tests.hostile.executed import MARKER, Evil
from tests.hostile.harness import Finished, Harness

SAMPLE = "sample:digits-small-batch"
FAST = ("--samples", "all", "--batch-size", 4, "--quiet")
AS_THEY_ARE = ("--classes", "folder")
MOST_MEMORY = 200 * 2**20
MOST_SECONDS = 5


def refused(finished: Finished, folder: Path) -> str:
    """The reason, after all that every refusal has in common."""
    assert finished.code == 3, finished
    assert finished.stdout == ""
    lines = finished.stderr.splitlines()
    assert len(lines) == 2, finished.stderr
    assert lines[0].startswith("bnsharp: ")
    assert lines[1].startswith("         ")
    assert all(line.isprintable() for line in lines)
    assert not [*folder.rglob(MARKER)]
    assert finished.memory < MOST_MEMORY
    assert finished.seconds < MOST_SECONDS
    return lines[0]


def test_there_are_many_kinds_of_data() -> None:
    assert {*image_cases.JPEGS} <= {*folder_cases.CASES}
    assert len(archive_cases.CASES) + len(folder_cases.CASES) + len(data_cases.TORCHVISION) > 140


@pytest.mark.parametrize("name", archive_cases.CASES)
def test_an_archive_is_refused(command: Harness, tmp_path: Path, name: str) -> None:
    write, says = archive_cases.CASES[name]
    write(tmp_path)
    reason = refused(command("measure", SAMPLE, "--data", "npz:data.npz", *FAST, folder=tmp_path), tmp_path)
    assert says in reason, reason
    assert "data.npz" in reason


@pytest.mark.parametrize("name", folder_cases.CASES)
def test_a_folder_is_refused(command: Harness, tmp_path: Path, name: str) -> None:
    spoil, says = folder_cases.CASES[name]
    spoil(folder_cases.sound(tmp_path))
    reason = refused(command("measure", SAMPLE, "--data", "folder:images", *FAST, folder=tmp_path), tmp_path)
    assert says in reason, reason
    assert "images" in reason
    assert "hunter2" not in reason


@pytest.mark.parametrize("kind", ["archive", "image"])
def test_a_file_that_may_not_be_read(command: Harness, tmp_path: Path, kind: str) -> None:
    np.savez(tmp_path / "data.npz", x=archive_cases.X, y=archive_cases.Y)
    root = folder_cases.sound(tmp_path)
    path, spec = {"archive": (tmp_path / "data.npz", "npz:data.npz"), "image": (root / "dog/2.png", "folder:images")}[
        kind
    ]
    path.chmod(0)
    finished = command("measure", SAMPLE, "--data", spec, *FAST, folder=tmp_path, unprivileged=True)
    assert f"{path.relative_to(tmp_path)}: Permission denied" in refused(finished, tmp_path)


def test_an_archive_without_the_split(command: Harness, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=archive_cases.X, y=archive_cases.Y)
    finished = command("measure", SAMPLE, "--data", "npz:data.npz", "--split", "test", *FAST, folder=tmp_path)
    assert "there is no x_test, only x, y" in refused(finished, tmp_path)


@pytest.mark.parametrize("name", data_cases.TORCHVISION)
def test_a_file_of_torchvisions_is_refused(command: Harness, tmp_path: Path, name: str) -> None:
    data, write, says = data_cases.TORCHVISION[name]
    write(tmp_path)
    reason = refused(command("measure", SAMPLE, "--data", data, "--data-root", ".", *FAST, folder=tmp_path), tmp_path)
    assert says in reason, reason


@pytest.mark.parametrize("kind", ["zTXt", "iCCP", "acTL", "eXIf"])
def test_what_holds_no_pixels_is_not_looked_at(command: Harness, tmp_path: Path, kind: str) -> None:
    root = folder_cases.sound(tmp_path)
    bomb = folder_cases.text_chunk(kind.encode(), 2**26)
    (root / folder_cases.FIRST).write_bytes(folder_cases.png(8, 8, zlib.compress(bytes(200)), bomb))
    finished = command("measure", SAMPLE, "--data", "folder:images", *AS_THEY_ARE, *FAST, folder=tmp_path)
    assert finished.code == 0, finished.stderr
    assert finished.stderr == ""
    assert finished.memory < MOST_MEMORY


def test_torchvisions_pickles_do_not_run(command: Harness, tmp_path: Path) -> None:
    root = tmp_path / "cifar-10-batches-py"
    root.mkdir()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
        (root / name).write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    finished = command("measure", SAMPLE, "--data", "cifar10", "--data-root", ".", *FAST, folder=tmp_path)
    assert "cifar10 is not in ." in refused(finished, tmp_path)


def test_torchvisions_old_tensors_do_not_run(command: Harness, tmp_path: Path) -> None:
    root = tmp_path / "MNIST" / "processed"
    root.mkdir(parents=True)
    for name in ("training.pt", "test.pt"):
        torch.save(Evil(tmp_path), root / name)
    finished = command("measure", SAMPLE, "--data", "mnist", "--data-root", ".", *FAST, folder=tmp_path)
    assert "mnist is not in ." in refused(finished, tmp_path)


def test_the_marker_appears_when_someone_does_unpickle(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.array([Evil(tmp_path)], dtype=object), allow_pickle=True)
    with np.load(tmp_path / "data.npz", allow_pickle=True) as archive:
        archive["x"]
    assert (tmp_path / MARKER).exists()


@pytest.mark.parametrize("kind", ["stored", "compressed", "fortran", "big-endian", "floats", "folder", "links"])
def test_sound_data_passes_through_the_same_harness(command: Harness, tmp_path: Path, kind: str) -> None:
    x = np.random.default_rng(0).integers(0, 256, (8, 1, 8, 8), dtype=np.uint8)
    stored = {
        "fortran": np.asfortranarray(x),
        "big-endian": x.astype(">f4"),
        "floats": x.astype(np.float64),
    }
    save = np.savez_compressed if kind == "compressed" else np.savez
    save(tmp_path / "data.npz", x=stored.get(kind, x), y=archive_cases.Y)
    root = folder_cases.sound(tmp_path)
    if kind == "links":
        (root / "dog").rename(tmp_path / "elsewhere")
        (root / "dog").symlink_to(tmp_path / "elsewhere")
        (root / "cat" / "9.png").symlink_to(tmp_path / "elsewhere" / "0.png")
    spec = "folder:images" if kind in {"folder", "links"} else "npz:data.npz"
    finished = command("measure", SAMPLE, "--data", spec, *AS_THEY_ARE, *FAST, folder=tmp_path)
    assert finished.code == 0, finished.stderr


def test_a_strange_exif_block_is_not_looked_at(command: Harness, tmp_path: Path) -> None:
    root = folder_cases.sound(tmp_path)
    looped = (
        struct.pack("<HHHII", 2, 0x8769, 4, 1, 8) + struct.pack("<HHII", 0x0112, 3, 2**31, 8) + struct.pack("<I", 8)
    )
    Image.open(root / "cat" / "0.png").save(root / "cat" / "0.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0" + looped)
    (root / "cat" / "0.png").unlink()
    finished = command("measure", SAMPLE, "--data", "folder:images", *AS_THEY_ARE, *FAST, folder=tmp_path)
    assert finished.code == 0, finished.stderr
    assert finished.stderr == ""


def test_an_archive_beyond_memory_is_measured_without_being_read(command: Harness, tmp_path: Path) -> None:
    """40 GiB in a file with a hole; the process may have 8 GiB of addresses and grows by less than 200 MB."""
    side, rows = 128, 40 * 2**30 // 128**2
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    pooled = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 3, 4), nn.BatchNorm2d(4), *pooled)\n"
    )
    save_checkpoint(tmp_path / "net.pt", import_factory("arch", f"{tmp_path / 'mine.py'}:net")().state_dict())
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("y.npy", archive_cases.npy(np.zeros(rows, np.uint8)))
        _hole(archive, "x.npy", archive_cases.shaped(f"({rows}, 1, {side}, {side})"), rows * side**2)
    arguments = ("--data", "npz:data.npz", "--samples", 4, "--batch-size", 2, "--arch", "mine.py:net", "--json")
    finished = command("measure", "net.pt", *arguments, "--quiet", folder=tmp_path)
    assert finished.code == 0, finished.stderr
    assert json.loads(finished.stdout)["data"]["samples"] == 4
    assert finished.memory < MOST_MEMORY


def _hole(archive: zipfile.ZipFile, name: str, first: bytes, size: int) -> None:
    """A member that ends in ``size`` zeros which take no room on the disk; their sum is not looked at."""
    entry = zipfile.ZipInfo(name)
    entry.file_size = len(first) + size
    with archive.open(entry, "w", force_zip64=True) as stream:
        stream.write(first)
    assert archive.fp is not None
    archive.fp.seek(size, 1)
    archive.start_dir = archive.fp.tell()
    entry.file_size = entry.compress_size = len(first) + size
