"""Checkpoints: what is read, what is refused with one line, and that nothing is executed."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from bnsharp_cli.io.networks.load_weights import load_weights
from bnsharp_cli.models import lenet_bn


def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return lenet_bn(1, 10, 8).state_dict()


class Marker:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.system, (f"touch {self.path}",))


def expect_refusal(path: Path) -> CheckpointRefusedError:
    with pytest.raises(CheckpointRefusedError) as caught:
        load_checkpoint(path)
    error = caught.value
    assert error.exit_code == 3
    assert "\n" not in error.reason
    assert "\x1b" not in error.reason
    assert error.remedy
    return error


def test_round_trip_keeps_every_bit_and_every_entry(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    save_checkpoint(path, weights(), architecture="lenet-bn", training={"epochs": 3})
    checkpoint = load_checkpoint(path)
    assert checkpoint.format == "bnsharp/1"
    assert checkpoint.metadata["training"] == {"epochs": 3}
    assert all(torch.equal(tensor, checkpoint.state_dict[name]) for name, tensor in weights().items())
    assert len(checkpoint.sha256) == 64
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrap", [None, "state_dict", "model", "model_state_dict", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_state_dicts_as_people_save_them(tmp_path: Path, legacy: bool, wrap: str | None, prefix: str) -> None:
    path = tmp_path / "net.pt"
    content = {prefix + name: tensor for name, tensor in weights().items()}
    torch.save(
        content if wrap is None else {"epoch": 3, wrap: content}, path, _use_new_zipfile_serialization=not legacy
    )
    assert set(load_checkpoint(path).state_dict) == set(weights())


def test_safetensors_whatever_the_ending(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    save_file(weights(), path)
    assert load_checkpoint(path).format == "safetensors"


def test_float64_weights_stay_float64(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({name: t.double() if t.is_floating_point() else t for name, t in weights().items()}, path)
    module = lenet_bn(1, 10, 8)
    load_weights(module, load_checkpoint(path))
    assert module.conv1.weight.dtype == torch.float64


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git-LFS pointer"),
        (b"\x1f\x8b\x08\x00rest", "archive"),
        (b"hello, I am not a checkpoint", "not a PyTorch checkpoint"),
        (struct.pack("<Q", 2**60) + b"{}", "not a PyTorch checkpoint"),
        (struct.pack("<Q", 2) + b"{]" + b"junk", "damaged safetensors"),
        (b"\x80\x02garbage", "damaged"),
    ],
)
def test_files_that_are_no_checkpoints(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(content)
    assert says in expect_refusal(path).reason


def test_missing_file_folder_and_pipe(tmp_path: Path) -> None:
    assert "No such file" in expect_refusal(tmp_path / "none.pt").reason
    assert "is a folder" in expect_refusal(tmp_path).reason
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in expect_refusal(tmp_path / "pipe").reason


@pytest.mark.parametrize("sixteenths", range(1, 16))
def test_truncated_anywhere(tmp_path: Path, sixteenths: int) -> None:
    path = tmp_path / "net.pt"
    torch.save(weights(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * sixteenths // 16])
    expect_refusal(path)


def test_a_flipped_byte_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(weights(), path)
    whole = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        member = max(archive.infolist(), key=lambda info: info.file_size)
    whole[member.header_offset + 200] ^= 0x40
    path.write_bytes(whole)
    assert "checksum" in expect_refusal(path).reason


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickled_module_is_named_and_never_built(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "net.pt"
    torch.save(nn.Linear(2, 2), path, _use_new_zipfile_serialization=not legacy)
    reason = expect_refusal(path).reason
    assert "torch.nn.modules.linear.Linear" in reason
    assert "nothing in it was executed" in reason


@pytest.mark.parametrize("form", ["zip", "legacy", "bare", "inside"])
def test_nothing_is_executed(tmp_path: Path, form: str) -> None:
    marker, path = tmp_path / "executed", tmp_path / "net.pt"
    evil = {"state_dict": weights(), "hook": Marker(marker)} if form == "inside" else Marker(marker)
    if form == "bare":
        path.write_bytes(pickle.dumps(evil))
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=form != "legacy")
    expect_refusal(path)
    assert not marker.exists()


def test_the_environment_cannot_switch_safety_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    marker, path = tmp_path / "executed", tmp_path / "net.pt"
    torch.save(Marker(marker), path)
    expect_refusal(path)
    assert not marker.exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
def test_torchscript_and_exported_programs(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.jit.script(nn.Linear(2, 2)).save(str(path))
    assert "TorchScript" in expect_refusal(path).reason
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/archive_format", "pt2")
        archive.writestr("net/data.pkl", "x")
    assert ".pt2" in expect_refusal(path).reason


@pytest.mark.parametrize("problem", ["deflated", "twice", "plain"])
def test_zip_files_that_torch_never_writes(tmp_path: Path, problem: str) -> None:
    path = tmp_path / "net.pt"
    method = zipfile.ZIP_DEFLATED if problem == "deflated" else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("net/notes.txt" if problem == "plain" else "net/data.pkl", b"\0" * 100)
        if problem == "twice":
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr("net/data.pkl", b"\0" * 100)
    says = {"deflated": "compressed", "twice": "two members", "plain": "without PyTorch weights"}
    assert says[problem] in expect_refusal(path).reason


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tmp_path: Path, value: float) -> None:
    content = weights()
    content["conv2.weight"][0, 0, 0, 0] = value
    torch.save(content, tmp_path / "net.pt")
    assert "'conv2.weight' has 1 NaN or infinite of 2400 values" in expect_refusal(tmp_path / "net.pt").reason


def test_negative_variance_strange_dtypes_and_stride_zero(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    cases = {
        "negative variance": {"norm.running_var": torch.tensor([1.0, -1.0])},
        "expected floating weights": {"w": torch.ones(2, dtype=torch.int8)},
        "expected 16 bits": {"w": torch.ones(2).to(torch.float8_e4m3fn)},
        "declares more values": {"w": torch.ones(1).expand(2**20)},
    }
    for says, content in cases.items():
        torch.save(content, path)
        assert says in expect_refusal(path).reason


def test_things_that_are_no_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    for content in ([1, 2], {}, {1: torch.ones(1)}, {"a": "text"}, torch.ones(3)):
        torch.save(content, path)
        expect_refusal(path)


def test_hostile_names_are_printed_harmlessly(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"\x1b]0;owned\x07[/red]weight\n": "text"}, path)
    reason = expect_refusal(path).reason
    assert "[/red]weight" in reason
    assert "\x07" not in reason


def test_names_and_shapes_must_fit(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(weights(), path)
    checkpoint = load_checkpoint(path)
    with pytest.raises(CheckpointRefusedError, match=r"conv1.weight of \(6, 1, 5, 5\), expected \(6, 3, 5, 5\)"):
        load_weights(lenet_bn(3, 10, 8), checkpoint)
    with pytest.raises(CheckpointRefusedError, match=r"lacks weight.*has unknown conv1\.weight"):
        load_weights(nn.Linear(2, 2), checkpoint)


def test_old_files_without_batch_counts_fit(tmp_path: Path) -> None:
    content = {name: tensor for name, tensor in weights().items() if "num_batches" not in name}
    torch.save(content, tmp_path / "net.pt")
    module = lenet_bn(1, 10, 8)
    load_weights(module, load_checkpoint(tmp_path / "net.pt"))
    assert torch.equal(module.conv1.weight, content["conv1.weight"])
