"""What a command reads is never written over, whatever name it is given by, and no link leads to another file."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from bnsharp_cli.errors import UsageError
from bnsharp_cli.workflows.input_files import input_files, require_no_input
from tests.cli.helpers import bnsharp, one_error

FAST = ("--samples", "64", "--batch-size", "64", "--quiet")
NETWORK = "from bnsharp_cli.models.lenet import LeNetBN\n\ndef net():\n    return LeNetBN()\n"
DATA = ("--data", "npz:data.npz")
NETWORK_FILE = ("--arch", "mine.py:net")


@pytest.fixture
def folder(tmp_path: Path, sample_path: Path) -> Path:
    """Everything that a command may read, and other names of it."""
    for name in ("net.pt", "other.pt", "a-2.pt"):
        shutil.copy(sample_path, tmp_path / name)
    (tmp_path / "mine.py").write_text(NETWORK)
    images = np.random.default_rng(0).random((64, 1, 8, 8), np.float32)
    np.savez(tmp_path / "data.npz", x=images, y=np.arange(64) % 10, x_test=images, y_test=np.arange(64) % 10)
    os.link(tmp_path / "net.pt", tmp_path / "net.svg")
    os.link(tmp_path / "data.npz", tmp_path / "figures.json")
    (tmp_path / "link.pt").symlink_to("net.pt")
    (tmp_path / "link.json").symlink_to("nowhere.json")
    (tmp_path / "images/cat").mkdir(parents=True)
    (tmp_path / "images/cat/1.png").write_text("an image")
    return tmp_path


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        (("measure", "net.pt", "--output", "net.pt"), "net.pt"),
        (("measure", "net.pt", "--output", "./net.pt"), "net.pt"),
        (("measure", "link.pt", "--output", "net.pt"), "net.pt"),
        (("measure", "net.pt", "other.pt", "--output", "other.pt"), "other.pt"),
        (("measure", "net.pt", "other.pt", "--shard", "1/2", "--output", "other.pt"), "other.pt"),
        (("measure", "net.pt", "--plot", "net.svg"), "net.svg"),
        (("measure", "net.pt", *DATA, "--output", "data.npz"), "data.npz"),
        (("measure", "net.pt", *DATA, "--output", "figures.json"), "figures.json"),
        (("measure", "net.pt", *NETWORK_FILE, "--output", "mine.py"), "mine.py"),
        (("measure", "net.pt", "--loss", "mine.py:net", "--output", "mine.py"), "mine.py"),
        (("measure", "net.pt", "--data", "folder:images", "--plot", "images/cat/1.png"), "images/cat/1.png"),
        (("check", "net.pt", "--output", "net.pt"), "net.pt"),
        (("check", "net.pt", *DATA, "--output", "figures.json"), "figures.json"),
        (("audit", "net.pt", "--output", "net.pt"), "net.pt"),
        (("audit", "net.pt", *DATA, "--output", "figures.json"), "figures.json"),
        (("inspect", "net.pt", "--output", "net.pt"), "net.pt"),
        (("bound", "net.pt", "--kl", "50", "--output", "net.pt"), "net.pt"),
        (("rescale-test", "net.pt", "--output", "net.pt"), "net.pt"),
        (("rescale-test", "net.pt", "--plot", "net.svg"), "net.svg"),
        (("train", *DATA, "--output", "data.npz"), "data.npz"),
        (("train", *NETWORK_FILE, *DATA, "--output", "mine.py"), "mine.py"),
        (("train", *DATA, "--epochs", "1", "--output", "figures.metrics.pt"), ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_what_is_read_is_not_written_over(folder: Path, arguments: tuple[str, ...], written: str) -> None:
    if not written:  # a run's further files have names of their own
        os.link(folder / "data.npz", folder / "figures.metrics.best.pt")
        written = "figures.metrics.best.pt"
    before = content(folder)
    line = one_error(bnsharp(*arguments, folder=folder, expect=2))
    assert line == f"bnsharp: Cannot write {written}: this command reads it."
    assert content(folder) == before


def test_a_copy_does_not_replace_its_network(folder: Path) -> None:
    bnsharp("rescale-test", "net.pt", *FAST, "--save-copies", "copies", folder=folder)
    first = sorted((folder / "copies").iterdir())[0]
    shutil.copy(folder / "net.pt", first)
    before = content(folder)
    finished = bnsharp("rescale-test", first, *FAST, "--save-copies", "copies", folder=folder, expect=2)
    assert f"Cannot write copies/{first.name}: this command reads it." in finished.stderr
    assert content(folder) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("measure", "net.pt", "--output", "link.json"),
        ("measure", "net.pt", "--output", "link.pt"),
        ("check", "net.pt", "--output", "link.json"),
        ("inspect", "net.pt", "--output", "link.json"),
        ("bound", "net.pt", "--kl", "50", "--output", "link.json"),
        ("train", "--output", "link.json"),
    ],
    ids=" ".join,
)
def test_no_link_is_followed(folder: Path, arguments: tuple[str, ...]) -> None:
    before = content(folder)
    line = one_error(bnsharp(*arguments, folder=folder, expect=2))
    assert line == f"bnsharp: Cannot write {arguments[-1]}: it is a link to another file."
    assert content(folder) == before


def test_two_results_do_not_go_to_one_file(folder: Path) -> None:
    arguments = ("measure", "net.pt", "--output", "new.svg", "--plot", "./new.svg")
    line = one_error(bnsharp(*arguments, folder=folder, expect=2))
    assert line == "bnsharp: --output and --plot name the same file."


def test_a_result_may_lie_beside_what_is_read_and_be_replaced(folder: Path) -> None:
    for _ in range(2):
        bnsharp("measure", "net.pt", *DATA, *FAST, "--output", "images/x.json", folder=folder)
    assert json.loads((folder / "images/x.json").read_text())["schema"] == "bnsharp/1"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", ".metadata", "__0_0.distcp"])
def test_weights_in_a_folder_are_read_too(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "sharpness.json").touch()
    inputs = input_files([tmp_path])
    require_no_input(tmp_path / "sharpness.json", "output", inputs)
    with pytest.raises(UsageError, match="this command reads it"):
        require_no_input(tmp_path / name, "output", inputs)
