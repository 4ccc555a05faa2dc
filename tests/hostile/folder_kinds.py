"""Folders of torch.distributed.checkpoint whose table of contents says what is not so."""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import metadata
from torch.distributed.checkpoint.filesystem import _StorageInfo

from tests.hostile.forge import saved
from tests.hostile.kinds import Kind, put

_SHARD = "__0_0.distcp"
_WRONG = (None, True, -1, 0, 1, 2.0, 2**31, 2**47, 2**48, 2**63, 2**64, "", "x", b"x", (), (0,), [], {}, ("a",) * 5)


def _folder(
    name: str,
    boxes: list[Any],
    pieces: list[bytes],
    change: Callable[[Any], object] = bool,
    *,
    harmless: bool = False,
    size: object = (2, 2),
    paths: object = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """A folder of one matrix whose table ``change`` spoils."""

    def write(folder: Path) -> Path:
        checkpoint = folder / "checkpoint"
        checkpoint.mkdir()
        chunks = [metadata.ChunkStorageMetadata(torch.Size(at), torch.Size(shape)) for at, shape in boxes]
        stated = metadata.TensorStorageMetadata(metadata.TensorProperties(dtype=dtype), torch.Size(size), chunks)
        places, begin = {}, 0
        for (at, _shape), piece in zip(boxes, pieces, strict=True):
            places[metadata.MetadataIndex("w", torch.Size(at))] = _StorageInfo(_SHARD, begin, len(piece))
            begin += len(piece)
        table = metadata.Metadata({"w": stated}, {"w": ("w",)} if paths is None else paths, places)
        change(table)
        (checkpoint / ".metadata").write_bytes(pickle.dumps(table))
        (checkpoint / _SHARD).write_bytes(b"".join(pieces))
        return checkpoint

    put(f"folder[{name}]", Kind(write, harmless))


_HALVES = [((0, 0), (1, 2)), ((1, 0), (1, 2))]
_PIECES = [saved(torch.tensor([[1.0, 2.0]])), saved(torch.tensor([[3.0, 4.0]]))]


def _set(where: Callable[[Any], Any], field: str, value: object) -> Callable[[Any], object]:
    return lambda table: object.__setattr__(where(table), field, value)


def _first_place(table: Any) -> Any:
    return next(iter(table.storage_data.values()))


def _first_index(table: Any) -> Any:
    return next(iter(table.storage_data))


def _entry(table: Any) -> Any:
    return table.state_dict_metadata["w"]


def _chunk(table: Any) -> Any:
    return _entry(table).chunks[0]


# every field of every record, with every value
for (where, record, fields), value in itertools.product(
    (
        (lambda table: table, "table", ("state_dict_metadata", "planner_data", "storage_data")),
        (_entry, "entry", ("size", "chunks")),
        (_chunk, "chunk", ("offsets", "sizes")),
        (_first_place, "place", ("relative_path", "offset", "length", "transform_descriptors")),
        (_first_index, "index", ("fqn", "offset")),
    ),
    _WRONG,
):
    for field in fields:
        harmless = (record, field) in {("place", "transform_descriptors"), ("table", "planner_data")} or (
            field == "offset" and record == "place" and type(value) is int and value == 0
        )
        harmless |= record == "table" and value == {}
        _folder(
            f"{field} of the {record} is {value!r}"[:80], _HALVES, _PIECES, _set(where, field, value), harmless=harmless
        )
for path in (
    "../outside",
    "/dev/zero",
    ".metadata",
    "",
    ".",
    "..",
    "x/../" + _SHARD,
    "./" + _SHARD,
    _SHARD + "\0",
    "\ud800",
    _SHARD.upper(),
):
    _folder(f"a piece in {path!r}", _HALVES, _PIECES, _set(_first_place, "relative_path", path))
for path in (
    (),
    ("w",),
    ("w", "w"),
    ("optim", "w"),
    (0,),
    (0, "w"),
    (1.5,),
    (2**60,),
    (None,),
    (b"w",),
    ("",),
    (("a",),),
    ("\x1b",),
    ("a",) * 99,
    ("a",) * 101,
    ("a",) * 5000,
    [1],
    "w",
    7,
):
    _folder(
        f"path {path!r}"[:70] + f" of {len(path) if hasattr(path, '__len__') else 0}",
        _HALVES,
        _PIECES,
        paths={"w": path},
        harmless=True,
    )

# pieces of every size at every place
for (a, b), (c, d) in itertools.product(itertools.product(range(3), repeat=2), repeat=2):
    boxes = [((0, 0), (1, 2)), ((a, b), (c, d))]
    pieces = [_PIECES[0], saved(torch.full((c, d), 3.0))]
    sound = (a, b, c, d) == (1, 0, 1, 2)
    if (a, b) != (0, 0):
        _folder(f"{c}×{d} at {a},{b}", boxes, pieces, harmless=sound)
    _folder(f"{c}×{d} at {a},{b} alone", boxes[1:], pieces[1:], harmless=(a, b, c, d) == (0, 0, 2, 2))
for size in ((), (2,), (2, 3), (4,), (1, 2), (2, 2, 1), (2**47, 2**47), (0, 2)):
    _folder(f"size {size}", _HALVES, _PIECES, size=size)
for first, second in itertools.product((torch.float32, torch.complex64, torch.float64, torch.int32), repeat=2):
    pieces = [saved(torch.ones(1, 2).to(dtype)) for dtype in (first, second)]
    _folder(f"{first} and {second}", _HALVES, pieces, harmless=first == second, dtype=first)
    if first != torch.float32:
        _folder(f"{first} and {second}, called float32", _HALVES, pieces)
_imaginary = [saved(torch.tensor([[1 + 2j, 3 + 4j]])), saved(torch.tensor([[5 + 6j, 7 + 8j]]))]
_folder("complex pieces", _HALVES, _imaginary, harmless=True, dtype=torch.complex64)
for shown, piece in {
    "a state dict": saved({"w": torch.ones(1, 2)}),
    "a number": saved(7),
    "a legacy file": saved(torch.ones(1, 2), legacy=True),
    "nothing": b"",
    "a sparse tensor": saved(torch.eye(2).to_sparse()),
    "noise": b"noise" * 50,
}.items():
    _folder(f"a piece is {shown}", _HALVES, [piece, _PIECES[1]], harmless=shown == "a legacy file")


# what lies in the folder
def _spoiled(name: str, spoil: Callable[[Path], object]) -> None:
    def write(folder: Path) -> Path:
        from torch.distributed import checkpoint

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checkpoint.save({"w": torch.ones(2, 2)}, checkpoint_id=folder / "checkpoint", no_dist=True)
        spoil(folder / "checkpoint")
        return folder / "checkpoint"

    put(f"folder[{name}]", Kind(write))


def _linked(path: Path) -> None:
    shutil.move(path, path.parent.parent / "outside")
    path.symlink_to(path.parent.parent / "outside")


def _piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _doubled(path: Path) -> None:
    path.unlink()
    path.mkdir()


_SPOILED: dict[str, Callable[[Path], object]] = {
    "a link": _linked,
    "a pipe": _piped,
    "a folder": _doubled,
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-30]),
}
for name in (_SHARD, ".metadata"):
    for how, spoil in _SPOILED.items():
        _spoiled(f"{name} is {how}", lambda folder, name=name, spoil=spoil: spoil(folder / name))
_spoiled("300 files", lambda folder: [(folder / f"{index}.distcp").write_bytes(b"x") for index in range(300)])
