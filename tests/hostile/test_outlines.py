"""What names, shapes and types tell is refused from them alone: not one byte of the tensors is read."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch.serialization import skip_data

from bnsharp_cli.io.checkpoints.checkpoint import opened_checkpoint
from bnsharp_cli.io.networks.identify import identify
from bnsharp_cli.io.networks.loaded_network import fitting_network
from tests.hostile.harness import Harness
from tests.io.checkpoints.test_weights import net

SIDE = 28_672
"""A square matrix of float32 with this side has three GiB."""

MOST_MEMORY = 150 * 2**20
MOST_SECONDS = 2
LENET = ("--arch", "lenet-bn", "--arch-option", "image_size=8", "--arch-option", "in_channels=1")


def sparse_safetensors(path: Path, shapes: Mapping[str, tuple[int, int]]) -> None:
    """A file of zeros that takes no room on the disk."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * shape[0] * shape[1]
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + end)


def sparse_zip(path: Path, shapes: Mapping[str, tuple[int, int]]) -> None:
    with skip_data():
        torch.save({name: torch.empty(shape) for name, shape in shapes.items()}, path)


def sparse_directory(path: Path, shapes: Mapping[str, tuple[int, int]]) -> None:
    transformers = pytest.importorskip("transformers")
    path.mkdir()
    transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1]).save_pretrained(path)
    sparse_safetensors(path / "model.safetensors", shapes)


WRITERS: Mapping[str, Callable[[Path, Mapping[str, tuple[int, int]]], None]] = {
    "safetensors": sparse_safetensors,
    "zip": sparse_zip,
    "directory": sparse_directory,
}
MATRIX = {"fc.weight": (SIDE, SIDE)}


@pytest.mark.parametrize(
    ("form", "name", "arguments", "code", "says"),
    [
        ("safetensors", "measure", (*LENET, "--data", "digits"), 3, "does not fit the architecture"),
        ("zip", "measure", (*LENET, "--data", "digits"), 3, "does not fit the architecture"),
        ("zip", "rescale-test", (*LENET, "--data", "digits"), 3, "does not fit the architecture"),
        ("zip", "bound", (*LENET, "--data", "digits", "--kl", "50"), 3, "does not fit the architecture"),
        ("zip", "inspect", LENET, 3, "does not fit the architecture"),
        ("directory", "measure", ("--data", "digits"), 3, "does not fit the architecture"),
        ("zip", "measure", ("--data", "digits"), 2, "does not say which network"),
        ("safetensors", "measure", (*LENET, "--data", "digits", "--key", "ema"), 2, "no weights at 'ema'"),
    ],
)
def test_three_gibibytes_that_do_not_fit_cost_nothing(
    command: Harness, tmp_path: Path, form: str, name: str, arguments: tuple[str, ...], code: int, says: str
) -> None:
    path = tmp_path / "net"
    WRITERS[form](path, MATRIX)
    finished = command(name, path, *arguments, folder=tmp_path)
    assert finished.code == code, finished
    assert says in " ".join(finished.stderr.split())
    assert finished.memory < MOST_MEMORY
    assert finished.seconds < MOST_SECONDS


def test_a_type_that_no_weight_has_costs_nothing(command: Harness, tmp_path: Path) -> None:
    with skip_data():
        torch.save({"w": torch.empty(SIDE, 4 * SIDE, dtype=torch.uint8)}, tmp_path / "net.pt")
    finished = command("measure", "net.pt", *LENET, "--data", "digits", folder=tmp_path)
    assert (finished.code, "is torch.uint8, expected floating weights" in finished.stderr) == (3, True), finished
    assert finished.memory < MOST_MEMORY


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_as_many_tensors_as_a_file_may_have_are_read(command: Harness, tmp_path: Path, form: str) -> None:
    """A mixture of experts has that many, and the optimiser says something of each."""
    weights = {f"layers.{number // 600}.experts.{number % 600}.weight": torch.ones(2) for number in range(2**15)}
    states = {number: {"step": 1.0} for number in range(2**15)} if form == "zip" else {}
    path, zipped = tmp_path / "net.pt", form == "zip"
    torch.save({"state_dict": weights, "optimizer": states}, path, _use_new_zipfile_serialization=zipped)
    finished = command("inspect", path, folder=tmp_path)
    assert (finished.code, "in 32768 tensors" in finished.stdout) == (0, True), finished


def test_an_outline_has_everything_but_values(tmp_path: Path) -> None:
    weights = {f"module.{name}": tensor for name, tensor in net().state_dict().items()}
    weights["module.n_averaged"] = torch.tensor(3)
    torch.save({"state_dict": weights, "epoch": 4}, tmp_path / "net.pt")
    with opened_checkpoint(tmp_path / "net.pt") as opened:
        outline, whole = opened.outline, opened.read()
    assert (outline.format, outline.key, outline.metadata) == (whole.format, whole.key, whole.metadata)
    assert (outline.sha256, len(whole.sha256)) == ("", 64)
    assert [*outline.state_dict] == [*whole.state_dict]
    for name, tensor in whole.state_dict.items():
        other = outline.state_dict[name]
        assert (other.shape, other.stride(), other.dtype) == (tensor.shape, tensor.stride(), tensor.dtype)
        assert other.is_meta
        assert not tensor.is_meta


@pytest.mark.parametrize("form", ["plain", "weight_norm"])
def test_weights_that_fit_fit_in_outline_too(tmp_path: Path, form: str) -> None:
    """Tied weights, which share a tensor, and weight norm, which the outline of a network can be given."""
    torchvision = pytest.importorskip("torchvision")
    module = torchvision.models.resnet18(num_classes=4)
    if form == "weight_norm":
        torch.nn.utils.parametrizations.weight_norm(module.fc)
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    (tmp_path / "net.pt").write_bytes(buffer.getvalue())
    with opened_checkpoint(tmp_path / "net.pt") as opened:
        identity = identify(opened.outline, "torchvision:resnet18")
        assert fitting_network(identity, opened.outline) is None


def test_a_function_of_the_users_is_called_once(command: Harness, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "def net():\n"
        "    open('calls', 'a').write('x')\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    )
    torch.save({"1.weight": torch.ones(10, 64), "1.bias": torch.zeros(10)}, tmp_path / "net.pt")
    arguments = ("--arch", f"{tmp_path}/mine.py:net", "--data", "digits", "--samples", 8, "--batch-size", 8)
    finished = command("measure", "net.pt", *arguments, "--measure", "keskar", folder=tmp_path)
    assert (tmp_path / "calls").read_text() == "x", finished
