"""The format of ``torch.save`` before PyTorch 1.6, accounted for to the last byte.

A file is five pickles in a row: a magic number, a version, the machine, the content, the keys of its storages. Then
come the storages, each as the number of its items and the items.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from bnsharp_cli.io.containers.content_writer import Found
from bnsharp_cli.io.containers.dangerous_names import may_be_mentioned
from bnsharp_cli.io.containers.pickle_reader import LARGEST_PICKLE, Budget, read_pickle
from bnsharp_cli.io.containers.tensor_plans import TORCH_PROTOCOLS, TensorPlans
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError
from bnsharp_cli.io.files.regular_files import RegularFile

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_COUNT = struct.Struct("<q")


def read_legacy(file: RegularFile) -> Found:
    """The content of a legacy file that is as ``torch.save`` wrote it.

    Raises:
        PickleRefusedError: a pickle in it is damaged, or does what no saved weights do.
        UnsoundContentError: the rest is damaged, truncated, or no weights.
    """
    stream = io.BytesIO(file.read(0, LARGEST_PICKLE))
    budget = Budget()
    plans = TensorPlans(None, budget)
    stand_ins = plans.stand_ins()
    if not _begins_with_magic(stream):
        read_pickle(stream, stand_ins, budget)
        raise UnsoundContentError("is a bare pickle, not written by torch.save")
    if read_pickle(stream, {}, budget, protocols=TORCH_PROTOCOLS) != _PROTOCOL:
        raise UnsoundContentError("is of a version that PyTorch never wrote")
    system = read_pickle(stream, {}, budget, protocols=TORCH_PROTOCOLS)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise UnsoundContentError("was written on a machine of another byte order")
    content = read_pickle(stream, stand_ins, budget, plans.referred, TORCH_PROTOCOLS, may_be_mentioned)
    keys = read_pickle(stream, {}, budget, protocols=TORCH_PROTOCOLS)
    end = stream.tell()
    _place_storages(file, end, keys, plans)
    return Found(content, checksums=[(0, end, zlib.crc32(stream.getbuffer()[:end]), "its pickles")])


def _begins_with_magic(stream: io.BytesIO) -> bool:
    """Whether the first pickle is PyTorch's magic number; the stream is left behind it, or where it was."""
    magic = b"\x80\x02\x8a\x0a" + _MAGIC.to_bytes(10, "little") + b"."
    found = stream.read(len(magic)) == magic
    if not found:
        stream.seek(0)
    return found


def _place_storages(file: RegularFile, position: int, keys: Any, plans: TensorPlans) -> None:
    """Say of every storage where it lies: they follow each other from ``position`` on, in the order of their keys."""
    known = isinstance(keys, list) and all(type(key) is str for key in keys)
    if not known or sorted(keys) != sorted(plans.storages):
        raise UnsoundContentError("does not hold the storages that it speaks of")
    for key in keys:
        storage = plans.storages[key]
        header = file.read(position, _COUNT.size)
        if len(header) < _COUNT.size:
            raise UnsoundContentError("is truncated", damaged=True)
        if _COUNT.unpack(header)[0] != storage.count:
            raise UnsoundContentError("declares a storage of another length than it has")
        storage.begin = position + _COUNT.size
        position = storage.begin + storage.size
    if position != file.size:
        early = position > file.size
        raise UnsoundContentError("is truncated" if early else "has bytes after its end", damaged=early)
