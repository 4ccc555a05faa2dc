"""Zip files that torch does not read, because of their version or of disks that they speak of."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.read_container import read_container

WEIGHTS = {"w": torch.arange(6.0)}


def saved(version: bytes | None = None, *, wide: bool = False) -> bytes:
    """What ``torch.save`` writes, with another version; ``wide`` has the ends of an archive that is large."""
    plain, stream = io.BytesIO(), io.BytesIO()
    torch.save(WEIGHTS, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(stream, "w") as copy:
        for entry in source.infolist():
            content = source.read(entry)
            own = version is not None and entry.filename.endswith("/version")
            copy.writestr(zipfile.ZipInfo(entry.filename), version if own and version is not None else content)
        for entry in copy.filelist:
            entry.external_attr = 0
    narrow = stream.getvalue()
    if not wide:
        return narrow
    count, size, begin = struct.unpack("<H2I", narrow[-12:-2])
    end = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, begin)
    return narrow[:-22] + end + struct.pack("<4sIQI", b"PK\x06\x07", 0, begin + size, 1) + narrow[-22:]


def torch_reads(content: bytes) -> bool:
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except (RuntimeError, UnicodeDecodeError, IndexError):
        return False
    return True


def is_read(folder: Path, content: bytes) -> bool:
    (folder / "net.pt").write_bytes(content)
    try:
        found = read_container(folder / "net.pt").content
    except CheckpointRefusedError:
        return False
    return torch.equal(found["w"], WEIGHTS["w"])


@pytest.mark.parametrize("version", [b"1", b"3\n", b"10", b"11", b"99", b"0", b"", b"\xff", b"three", b"-3", b"3" * 20])
def test_a_version_is_known_where_torch_knows_it(tmp_path: Path, version: bytes) -> None:
    assert is_read(tmp_path, saved(version)) == torch_reads(saved(version))


@pytest.mark.parametrize("wide", [False, True])
def test_several_disks_are_refused_in_each_place_that_speaks_of_them(tmp_path: Path, wide: bool) -> None:
    content = saved(wide=wide)
    assert is_read(tmp_path, content)
    assert torch_reads(content)
    end = len(content) - 22
    places = [(end + 4, "<H", 1), (end + 6, "<H", 1)]
    if wide:
        places += [(end - 16, "<I", 1), (end - 4, "<I", 2), (end - 20 - 40, "<I", 1), (end - 20 - 36, "<I", 1)]
    for place, code, value in places:
        changed = bytearray(content)
        struct.pack_into(code, changed, place, value)
        assert not is_read(tmp_path, bytes(changed)), (place - end, code)
