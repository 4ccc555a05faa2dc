"""Checkpoints made by hand, valid and otherwise, byte by byte."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bnsharp_cli.errors import named as named_argument
from bnsharp_cli.models import lenet_bn

START = b"\x80\x02"
MARKER = "executed"
MARKED = named_argument("delta")
"""What the command would render as an option, if it were not escaped."""


def weights() -> dict[str, torch.Tensor]:
    """Those of the network that the cases are measured as."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return lenet_bn(1, 10, 8).state_dict()


class Evil:
    """Unpickling this leaves a file behind."""

    def __init__(self, folder: Path) -> None:
        self.marker = folder / MARKER

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.system, (f"touch {self.marker}",))


@dataclass(frozen=True)
class Reference:
    """A persistent id: a storage of ``count`` floats."""

    key: object = "0"
    count: object = 4
    kind: object = torch.FloatStorage
    location: object = "cpu"
    extra: tuple[object, ...] = ()


@dataclass(frozen=True)
class Rebuilt:
    """A call of a function, ``_rebuild_tensor_v2`` if not said otherwise."""

    arguments: tuple[object, ...]
    function: Callable[..., Any] = torch._utils._rebuild_tensor_v2

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.function, self.arguments


def tensor(reference: object = Reference(), offset: object = 0, size: object = (4,), stride: object = (1,)) -> Rebuilt:
    """A tensor as torch.save describes it."""
    return Rebuilt((reference, offset, size, stride, False, OrderedDict()))


def pickled(content: object, protocol: int = 2, legacy: bool = False) -> bytes:
    """As torch.save pickles, whatever ``content`` is."""
    stream = io.BytesIO()
    (_LegacyPickler if legacy else _Pickler)(stream, protocol).dump(content)
    return stream.getvalue()


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: object) -> object:
        if isinstance(value, Reference):
            return ("storage", value.kind, value.key, value.location, value.count, *value.extra)
        return None


class _LegacyPickler(pickle.Pickler):
    def persistent_id(self, value: object) -> object:
        if isinstance(value, Reference):
            return ("storage", value.kind, value.key, value.location, value.count, *(value.extra or (None,)))
        return None


FLOATS = struct.pack("<4f", 1, 2, 3, 4)


def zipped(
    data_pickle: bytes,
    storages: Mapping[str, bytes] = {"0": FLOATS},  # never changed
    others: Mapping[str, bytes] = {},
    method: int = zipfile.ZIP_STORED,
    byte_order: str = "little",
) -> bytes:
    """A zip checkpoint of these opcodes and storages, and of other members by their full names."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("net/data.pkl", data_pickle)
        archive.writestr("net/byteorder", byte_order)
        for key, data in storages.items():
            archive.writestr(f"net/data/{key}", data)
        archive.writestr("net/version", "3\n")
        for name, data in others.items():
            archive.writestr(name, data)
        for member in archive.infolist():
            member.external_attr = 0  # as torch.save writes it, where zipfile would give them rights
    return stream.getvalue()


def opcodes(*parts: bytes) -> bytes:
    """A pickle of protocol 2 that leaves ``{"w": …}``, whose value ``parts`` make."""
    return START + b"}" + text("w") + b"".join(parts) + b"s."


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def named(full_name: str) -> bytes:
    module, _, name = full_name.rpartition(".")
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def number(value: int) -> bytes:
    encoded = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(encoded)]) + encoded


def saved(content: object, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def legacy(
    content: bytes, keys: object = ("0",), storages: bytes = struct.pack("<q", 4) + FLOATS, system: object = None
) -> bytes:
    """A file of torch.save before 1.6, from the pickle of its content."""
    said = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}} if system is None else system
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    heads = magic + pickle.dumps(1001, 2) + pickle.dumps(said, 2)
    return heads + content + pickle.dumps(list(keys) if isinstance(keys, tuple) else keys, 2) + storages


def safetensors(header: bytes | str, data: bytes = b"", length: int | None = None) -> bytes:
    encoded = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + data
