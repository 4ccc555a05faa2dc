"""The format of ``torch.save`` before PyTorch 1.6: five pickles in a row, then the storages they speak of."""

from __future__ import annotations

import io
import struct
from typing import Any

from bnsharp_cli.io.containers.pickle_values import Budget, PickleRefusedError
from bnsharp_cli.io.containers.pickles import LARGEST_PICKLE, read_pickle
from bnsharp_cli.io.containers.tensor_plans import TensorPlans
from bnsharp_cli.io.files.regular_files import RegularFile

_MAGIC = 0x1950A86A20F9469CFC6C
_LARGEST_MAGIC_PICKLE = 64
_PROTOCOL = 1001
_COUNT = struct.Struct("<q")


def check_legacy(file: RegularFile) -> Any:
    """Hold a legacy file against what ``torch.save`` wrote; the content with plans in place of tensors.

    Raises:
        PickleRefusedError: damaged, truncated, or no weights.
    """
    stream = io.BytesIO(file.read(0, LARGEST_PICKLE))
    budget = Budget()
    plans = TensorPlans(None, budget)
    stand_ins = plans.stand_ins()
    if not _begins_with_magic(stream):
        read_pickle(stream, stand_ins, budget, protocols=range(2, 6))
        raise PickleRefusedError("is a bare pickle, not written by torch.save")
    if read_pickle(stream, {}, budget) != _PROTOCOL:
        raise PickleRefusedError("is of a version that PyTorch never wrote")
    system = read_pickle(stream, {}, budget)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise PickleRefusedError("was written on a machine of another byte order")
    content = read_pickle(stream, stand_ins, budget, plans.storage)
    keys = read_pickle(stream, {}, budget)
    _check_storages(file, stream.tell(), keys, plans)
    return content


def _begins_with_magic(stream: io.BytesIO) -> bool:
    """Whether the first pickle is PyTorch's magic number, a ``LONG1`` of ten bytes."""
    magic = b"\x80\x02\x8a\x0a" + _MAGIC.to_bytes(10, "little") + b"."
    found = stream.read(len(magic)) == magic
    if not found:
        stream.seek(0)
    return found


def _check_storages(file: RegularFile, position: int, keys: Any, plans: TensorPlans) -> None:
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(plans.storages):
        raise PickleRefusedError("does not hold the storages that it speaks of")
    for key in keys:
        storage = plans.storages[key]
        header = file.read(position, _COUNT.size)
        if len(header) < _COUNT.size:
            raise PickleRefusedError("is truncated")
        if _COUNT.unpack(header)[0] != storage.count:
            raise PickleRefusedError("declares a storage of another length than it has")
        position += _COUNT.size + storage.size
    if position != file.size:
        raise PickleRefusedError("is truncated" if position > file.size else "has bytes after its end")
