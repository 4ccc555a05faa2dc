"""What is read as plain data, what is left untouched, and files that change."""

from __future__ import annotations

import argparse
import decimal
import io
import pathlib
import pickle
import struct
from collections import Counter, OrderedDict, defaultdict
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed import checkpoint as distributed

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.read_container import read_container
from bnsharp_cli.io.containers.untrusted_files import open_untrusted, require_unchanged
from tests.hostile.forge import pickled, tensor, zipped

BOTH = pytest.mark.parametrize("legacy", [False, True])


def content_of(path: Path, content: object, legacy: bool = False) -> dict[str, object]:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return dict(read_container(path).content)


@BOTH
def test_what_training_scripts_leave_behind_is_plain_data(tmp_path: Path, legacy: bool) -> None:
    left = {
        "args": argparse.Namespace(rate=0.1, folder=pathlib.PurePosixPath("/data/digits"), layers=[1, 2]),
        "relative": pathlib.PureWindowsPath("data/digits"),
        "losses": defaultdict(list, train=[0.5, 0.25]),
        "counts": Counter("aab"),
        "best": np.float32(0.5),
        "step": np.int64(7),
        "done": np.bool_(True),
        "set": {1, 2},
        "bytes": b"\xff\x00",
        "complex": 1j,
        "size": torch.Size([2, 3]),
        "dtype": torch.bfloat16,
        "nested": (1, ("x", [None, OrderedDict(a=1)])),
    }
    plainly = {
        **left,
        "args": {"rate": 0.1, "folder": "/data/digits", "layers": [1, 2]},
        "relative": "data/digits",
        "losses": {"train": [0.5, 0.25]},
        "counts": {"a": 2, "b": 1},
        "size": (2, 3),
        "dtype": "bfloat16",
        "nested": (1, ("x", [None, {"a": 1}])),
    }
    found = content_of(tmp_path / "net.pt", left, legacy)
    assert found == plainly
    assert {key: type(value) for key, value in found.items()} == {
        **{key: type(value) for key, value in plainly.items()},
        **{"best": float, "step": int, "done": bool},
    }


@BOTH
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int64", "float16", "float64", "complex64"])
def test_numpy_arrays_become_tensors(tmp_path: Path, legacy: bool, dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    given = {"c": array, "fortran": np.asfortranarray(array), "empty": array[:0], "scalar": np.array(array[1, 1, 1])}
    found = content_of(tmp_path / "net.pt", given, legacy)
    for name, expected in given.items():
        tensor = found[name]
        assert isinstance(tensor, torch.Tensor)
        assert torch.equal(tensor, torch.from_numpy(expected.copy()))


@BOTH
def test_tensors_of_every_layout_keep_their_values(tmp_path: Path, legacy: bool) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    given = {
        "whole": base,
        "view": base[1:3, ::2],
        "transposed": base.t(),
        "last": torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(3.0),
        "empty": torch.empty(0, 5),
        "parameter": nn.Parameter(torch.ones(2)),
        "half": base.bfloat16(),
    }
    found = content_of(tmp_path / "net.pt", given, legacy)
    for name, expected in given.items():
        tensor = found[name]
        assert type(tensor) is torch.Tensor
        assert tensor.dtype == expected.dtype
        assert torch.equal(tensor, expected.detach())
    shared = content_of(tmp_path / "net.pt", {"a": base, "b": base}, legacy)
    assert shared["a"] is shared["b"]


def test_optimisers_of_large_networks_are_within_the_limits(tmp_path: Path) -> None:
    names = [f"features.{block}.weight" for block in range(5000)]
    state = {index: {"step": torch.tensor(1.0), "exp_avg": torch.ones(1)} for index in range(5000)}
    found = content_of(tmp_path / "net.pt", {"state_dict": {name: torch.ones(1) for name in names}, "optimizer": state})
    assert list(found["state_dict"]) == names  # type: ignore[call-overload]  # a mapping, as was written


def test_what_others_call_safe_is_not_used(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "net.pt")
    with torch.serialization.safe_globals([nn.Linear]), pytest.raises(CheckpointRefusedError, match="Linear"):
        read_container(tmp_path / "net.pt")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_distributed_checkpoint_is_read_as_it_was_saved(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimiser = torch.optim.SGD(network.parameters(), momentum=0.9)
    saved = {"model": network.state_dict(), "epoch": 3, "optimizer": optimiser.state_dict()}
    distributed.save(saved, checkpoint_id=tmp_path / "checkpoint", no_dist=True)
    container = read_container(tmp_path / "checkpoint")
    assert container.kind == "distributed"
    assert container.notes == ("The optimiser's state was not read.",)
    assert set(container.content) == {"model", "epoch"}
    assert container.content["epoch"] == 3
    for name, expected in network.state_dict().items():
        assert torch.equal(container.content["model"][name], expected)
    before = container.sha256
    shard = next((tmp_path / "checkpoint").glob("*.distcp"))
    shard.write_bytes(shard.read_bytes() + b"\0")
    assert read_container(tmp_path / "checkpoint").sha256 != before


def test_pieces_of_a_distributed_tensor_are_put_together(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    _write_pieces(tmp_path, whole, [(0, 0, 2, 6), (2, 0, 2, 2), (2, 2, 2, 4)])
    assert torch.equal(read_container(tmp_path).content["w"], whole)


def test_a_table_written_by_the_first_releases_of_python_3_11_is_read(tmp_path: Path) -> None:
    """They pickle a member of an enumeration as getattr(the enumeration, its name)."""

    class Pickler(pickle.Pickler):
        def reducer_override(self, obj: object) -> object:
            return (getattr, (type(obj), obj.name)) if isinstance(obj, Enum) else NotImplemented

    whole = torch.arange(24.0).reshape(4, 6)
    _write_pieces(tmp_path, whole, [(0, 0, 4, 6)])
    table, stream = pickle.loads((tmp_path / ".metadata").read_bytes()), io.BytesIO()
    Pickler(stream, 4).dump(table)
    assert b"getattr" in stream.getvalue()
    (tmp_path / ".metadata").write_bytes(stream.getvalue())
    assert torch.equal(read_container(tmp_path).content["w"], whole)


def test_no_attribute_is_taken_of_anything_but_a_memory_format(tmp_path: Path) -> None:
    class Attribute:
        def __reduce__(self) -> tuple[object, tuple[object, str]]:
            return getattr, (distributed.metadata.Metadata, "__init__")

    (tmp_path / ".metadata").write_bytes(pickle.dumps(Attribute(), 4))
    with pytest.raises(CheckpointRefusedError, match="takes an attribute of something else than a memory format"):
        read_container(tmp_path)


def test_the_names_in_a_refused_table_are_those_it_would_import(tmp_path: Path) -> None:
    """Protocol 4 takes a module's name from the memo where it has been named before."""
    (tmp_path / ".metadata").write_bytes(pickle.dumps([decimal.Decimal, decimal.Context, decimal.Overflow], 4))
    with pytest.raises(CheckpointRefusedError) as refused:
        read_container(tmp_path)
    assert "(decimal.Decimal, decimal.Context, decimal.Overflow)" in str(refused.value)


@pytest.mark.parametrize("pieces", [[(0, 0, 2, 6), (0, 0, 2, 6)], [(0, 0, 2, 6)], [(0, 0, 2, 6), (3, 0, 2, 6)]])
def test_pieces_that_overlap_or_leave_holes_are_refused(tmp_path: Path, pieces: list[tuple[int, ...]]) -> None:
    _write_pieces(tmp_path, torch.arange(24.0).reshape(4, 6), pieces)
    with pytest.raises(CheckpointRefusedError, match="damaged"):
        read_container(tmp_path)


def _write_pieces(folder: Path, whole: torch.Tensor, pieces: list[tuple[int, ...]]) -> None:
    """A checkpoint of one tensor in pieces (row, column, rows, columns)."""
    from torch.distributed.checkpoint import metadata
    from torch.distributed.checkpoint.filesystem import _StorageInfo

    chunks, places, shard = [], {}, b""
    for row, column, rows, columns in pieces:
        stream = io.BytesIO()
        torch.save(whole.repeat(2, 2)[row : row + rows, column : column + columns].clone(), stream)
        offset = torch.Size([row, column])
        chunks.append(metadata.ChunkStorageMetadata(offset, torch.Size([rows, columns])))
        index = metadata.MetadataIndex("w", offset, len(places))
        places[index] = _StorageInfo("__0_0.distcp", len(shard), len(stream.getvalue()))
        shard += stream.getvalue()
    entry = metadata.TensorStorageMetadata(metadata.TensorProperties(), whole.size(), chunks)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata.Metadata({"w": entry}, {"w": ("w",)}, places)))
    (folder / "__0_0.distcp").write_bytes(shard)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(b"before")
    with open_untrusted(path) as file:
        require_unchanged(file)
        path.write_bytes(b"longer than before")
        with pytest.raises(CheckpointRefusedError, match="changed while it was read"):
            require_unchanged(file)


def test_a_file_that_is_exchanged_is_still_the_one_that_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(b"first")
    (tmp_path / "other.pt").write_bytes(b"second")
    with open_untrusted(path) as file:
        (tmp_path / "other.pt").replace(path)
        assert file.read(0, 99) == b"first"
        assert file.part(1, 3).read(1, 99) == b"rs"


@pytest.mark.parametrize(("field", "value"), [(None, 0), (32, 3), (40, 1), (48, 1), (24, 3)])
def test_the_wide_end_of_a_large_archive_is_read_and_must_agree(tmp_path: Path, field: int | None, value: int) -> None:
    """As torch.save writes it beyond 4 GiB: the narrow end says that the wide one knows."""
    content = bytearray(zipped(pickled({"w": tensor()})))
    count, size, start = struct.unpack("<H2I", content[-12:-2])
    wide = bytearray(struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start))
    if field is not None:
        struct.pack_into("<Q", wide, field, value)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(content) - 22, 1)
    narrow = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, 0xFFFF, size, 0xFFFFFFFF, 0)
    path = tmp_path / "net.pt"
    path.write_bytes(content[:-22] + wide + locator + narrow)
    if field is None:
        assert torch.equal(read_container(path).content["w"], torch.tensor([1.0, 2.0, 3.0, 4.0]))
    else:
        with pytest.raises(CheckpointRefusedError, match=r"two ends contradict|not where it should be"):
            read_container(path)
