"""Every file that torch's and safetensors' own writers make is read as their own readers read it, bit by bit."""

from __future__ import annotations

import io
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from bnsharp_cli.io.containers.dtypes import BY_NAME, BY_SAFETENSORS
from bnsharp_cli.io.containers.read_container import Container, opened_containers, read_container
from tests.hostile.differences import require_equal, require_what_others_read
from tests.hostile.forge import Reference, pickled, zipped
from tests.hostile.forge import tensor as forged

DTYPES = [getattr(torch, name) for name in BY_NAME]
SAFETENSORS = [getattr(torch, dtype.name) for dtype in BY_SAFETENSORS.values()]
UNREAD_BY_TORCH = {getattr(torch, name) for name, dtype in BY_NAME.items() if not dtype.storage}
"""Types that torch writes in the legacy format and does not read again."""

UNREAD_BY_SAFETENSORS = {torch.float8_e8m0fnu}
"""Types that its format has and its library for torch does not read."""


def filled(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """A tensor of random bits."""
    count = torch.Size(shape).numel() * dtype.itemsize
    bits = torch.randint(0, 2 if dtype is torch.bool else 256, (count,), generator=torch.Generator().manual_seed(7))
    return bits.to(torch.uint8).view(dtype).reshape(shape)


def contents(dtype: torch.dtype) -> dict[str, Any]:
    base = filled(dtype, 6, 4)
    return {
        "whole": base,
        "view": base[1:4, ::2],
        "transposed": base.t(),
        "expanded": base[:1].expand(3, 4),
        "scalar": filled(dtype),
        "empty": base[:0],
        "again": base,
        "nested": {"list": [1, 2.5, None, True], "pair": (base[2], "text")},
    }


def read_back(path: Path, content: bytes, *, by_others: bool = True) -> Container:
    path.write_bytes(content)
    container = read_container(path)
    assert require_what_others_read(content, container) == by_others
    return container


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_of_every_type_and_layout(tmp_path: Path, dtype: torch.dtype, legacy: bool) -> None:
    stream = io.BytesIO()
    given = contents(dtype)
    torch.save(given, stream, _use_new_zipfile_serialization=not legacy)
    by_others = not (legacy and dtype in UNREAD_BY_TORCH)
    found = read_back(tmp_path / "net.pt", stream.getvalue(), by_others=by_others).content
    require_equal(found, given)
    assert found["whole"] is found["again"]
    assert found["view"].untyped_storage().data_ptr() == found["whole"].untyped_storage().data_ptr()


@pytest.mark.parametrize("dtype", SAFETENSORS, ids=str)
def test_safetensors_of_every_type(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"matrix": filled(dtype, 6, 4), "scalar": filled(dtype), "empty": filled(dtype, 0, 3)}
    content = save(tensors, {"epoch": "3"})
    container = read_back(tmp_path / "net.pt", content, by_others=dtype not in UNREAD_BY_SAFETENSORS)
    require_equal(container.content, tensors)
    assert container.metadata == {"epoch": "3"}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_what_stands_beside_the_weights(tmp_path: Path, legacy: bool) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(4, 2))
    optimiser = torch.optim.AdamW(network.parameters())
    network(torch.ones(2, 3, 6, 6)).sum().backward()
    optimiser.step()
    content = {
        "model": network.state_dict(),
        "optimizer": optimiser.state_dict(),
        "scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 9).state_dict(),
        "generator": torch.get_rng_state(),
        "counts": Counter("abracadabra"),
        "ordered": OrderedDict(a=1, b=[2]),
        "bytes": b"\x00\xff",
        "array": bytearray(b"ab"),
        "complex": complex(1, -2),
        "set": {1, "two", (3, 4)},
        "keys": {1: "a", (2, "b"): None, None: 0.5, 1.5: True, b"k": -1},
        "numbers": [float("inf"), float("-inf"), float("nan"), 2**63, -(2**62), 1e-320, -0.0],
        "texts": ["", "\u00e9\u20ac\U0001f600", "\x00\x1b\u202e", "\ud800"],
        "size": torch.Size([2, 3]),
        "device": torch.device("cpu"),
        "dtype": torch.float8_e5m2,
        "shared": [network[0].weight.data] * 3,
    }
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=not legacy)
    found = read_back(tmp_path / "net.pt", stream.getvalue()).content
    assert found["shared"][0] is found["shared"][2]
    assert found["model"]["0.weight"] is not found["shared"][0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.complex64, torch.bool], ids=str)
def test_a_zip_of_another_byte_order(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = filled(dtype, 3, 2)
    member = {"0": tensor.numpy().byteswap().tobytes()}
    stored = Reference(kind=getattr(torch, f"{BY_NAME[str(dtype)[6:]].storage}Storage"), count=tensor.numel())
    data_pickle = pickled({"w": forged(stored, size=(3, 2), stride=(2, 1))})
    read_back(tmp_path / "net.pt", zipped(data_pickle, member, byte_order="big"))
    require_equal(read_container(tmp_path / "net.pt").content, {"w": tensor})


def test_several_files_at_once(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3), "epoch": 1}, tmp_path / "a.pt")
    save_file({"b": torch.arange(4)}, tmp_path / "b.safetensors")
    torch.save({"c": torch.zeros(2, 2)}, tmp_path / "c.pt", _use_new_zipfile_serialization=False)
    paths = [tmp_path / name for name in ("a.pt", "b.safetensors", "c.pt")]
    with opened_containers(paths) as opened:
        outlines, containers = opened.outlines, opened.whole
    for outline, container, path in zip(outlines, containers, paths, strict=True):
        alone = read_container(path)
        assert (container.kind, container.sha256, container.metadata) == (alone.kind, alone.sha256, alone.metadata)
        assert (outline.kind, outline.sha256, outline.metadata) == (alone.kind, "", alone.metadata)
        require_equal(container.content, alone.content)


def test_networks_of_many_kinds(tmp_path: Path) -> None:
    from torchvision.models import mobilenet_v3_small, resnet18

    for network in (resnet18(), mobilenet_v3_small().half(), nn.LSTM(4, 5, 2).double(), nn.Embedding(9, 3)):
        stream = io.BytesIO()
        torch.save(network.state_dict(), stream)
        read_back(tmp_path / "net.pt", stream.getvalue())
        tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        read_back(tmp_path / "net.pt", save(tensors))
