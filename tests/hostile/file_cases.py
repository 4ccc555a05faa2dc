"""Files that are broken, packed, of another kind, or no files at all."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tests.hostile.cases import add, add_bytes
from tests.hostile.forge import FLOATS, MARKED, pickled, saved, tensor, weights, zipped

_END = 22


def _zip(**parts: Any) -> bytes:
    return zipped(pickled({"w": tensor()}), **parts)


def _bomb(folder: Path, name: str) -> Path:
    """Four mebibytes that inflate to four gibibytes of zeros."""
    press = zlib.compressobj(wbits=-15)
    block = press.compress(b"\0" * 2**20) + press.flush(zlib.Z_FULL_FLUSH)
    packed = block * 4096 + press.flush()
    others = {} if name == "net/data.pkl" else {"net/data.pkl": pickled({"w": tensor()})}
    path = folder / "net.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for other, content in others.items():
            archive.writestr(other, content)
        archive.writestr(name, packed)
    return _declare(path, name, packed, 2**32 - 2)


def _declare(path: Path, name: str, packed: bytes, size: int) -> Path:
    """Say in both headers of a member that it is deflated and has ``size`` bytes."""
    content = bytearray(path.read_bytes())
    for signature, method_at, size_at in ((b"PK\x03\x04", 8, 22), (b"PK\x01\x02", 10, 24)):
        start = content.rindex(
            signature, 0, content.rindex(name.encode()) if method_at == 10 else content.index(packed)
        )
        struct.pack_into("<H", content, start + method_at, zipfile.ZIP_DEFLATED)
        struct.pack_into("<I", content, start + size_at, size)
    path.write_bytes(content)
    return path


def _sparse(folder: Path, size: int, head: bytes) -> Path:
    path = folder / "net.pt"
    with path.open("wb") as stream:
        stream.write(head)
        stream.truncate(size)
    return path


def _in_both_headers(local_at: int, directory_at: int, code: str, value: int, content: bytes | None = None) -> bytes:
    """A zip file with a field of its first member changed in the local header, the directory, or both."""
    changed = bytearray(_zip() if content is None else content)
    if local_at >= 0:
        struct.pack_into(code, changed, local_at, value)
    if directory_at >= 0:
        struct.pack_into(code, changed, changed.index(b"PK\x01\x02") + directory_at, value)
    return bytes(changed)


def _flipped() -> bytes:
    network = weights()
    changed = bytearray(saved(network))
    changed[changed.index(network["conv1.weight"].numpy().tobytes()) + 3] ^= 0x40
    return bytes(changed)


def _end_changed(offset: int, code: str, value: int) -> bytes:
    changed = bytearray(_zip())
    struct.pack_into(code, changed, len(changed) - _END + offset, value)
    return bytes(changed)


def _attributed(member: str, attributes: int) -> bytes:
    """Sound weights of torch's own writing, with attributes of one member in the directory."""
    changed = bytearray(saved(weights()))
    with zipfile.ZipFile(io.BytesIO(changed)) as archive:
        index = [name.partition("/")[2] for name in archive.namelist()].index(member)
    entry = changed.index(b"PK\x01\x02")
    for _ in range(index):
        entry = changed.index(b"PK\x01\x02", entry + 4)
    struct.pack_into("<I", changed, entry + 38, attributes)
    return bytes(changed)


def _second_name(name: bytes) -> bytes:
    """Weights whose pickle has a second name in the directory: the Unicode one, which some readers prefer."""
    stream = io.BytesIO(_zip())
    with zipfile.ZipFile(stream, "a") as archive:
        first = archive.infolist()[0]
        field = struct.pack("<BI", 1, zlib.crc32(first.filename.encode())) + name
        first.extra = struct.pack("<HH", 0x7075, len(field)) + field
        archive.writestr("net/data/1", FLOATS)
        archive.infolist()[-1].external_attr = 0
    return stream.getvalue()


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "net.pt")
    return folder / "net.pt"


def _link(folder: Path, target: str) -> Path:
    (folder / "net.pt").symlink_to(target)
    return folder / "net.pt"


def _unreadable(folder: Path) -> Path:
    path = folder / "net.pt"
    path.write_bytes(saved(weights()))
    path.chmod(0)
    return path


def _closed_folder(folder: Path) -> Path:
    path = folder / "checkpoint"
    path.mkdir()
    path.chmod(0)
    return path


def _empty(path: Path) -> Path:
    path.touch()
    return path


def _archive(folder: Path, mode: Literal["w", "w:gz", "w:bz2", "w:xz"]) -> Path:
    path = folder / "net.tar"
    with tarfile.open(path, mode) as archive:
        content = saved(weights())
        entry = tarfile.TarInfo("net.pt")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return path


def _plain_zip(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def _npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, x=np.array([{}], dtype=object))
    return stream.getvalue()


def _many_members() -> bytes:
    return _zip(others={f"net/data/x{index}": b"" for index in range(2**16)})


# archives that inflate, contradict themselves or lead out
add("bomb-storage", "compressed members", lambda folder: _bomb(folder, "net/data/0"))
add("bomb-pickle", "compressed members", lambda folder: _bomb(folder, "net/data.pkl"))
add_bytes("deflated", "compressed members", _zip(method=zipfile.ZIP_DEFLATED))
add_bytes("bzip2-inside", "compressed members", _zip(method=zipfile.ZIP_BZIP2))
add_bytes("lzma-inside", "compressed members", _zip(method=zipfile.ZIP_LZMA))
add_bytes("large-pickle", "pickle of more than 16 MiB", lambda _: saved({"w": "a" * 2**25}))
add_bytes("large-pickle-legacy", "damaged", lambda _: saved({"w": "a" * 2**25}, legacy=True))
add_bytes("large-record", "large 'notes'", lambda _: _zip(others={"net/notes": b"\0" * 2**21}))
add_bytes("many-members", "more than 65536 members", lambda _: _many_members())
add_bytes("encrypted", "encrypted members", _in_both_headers(6, 8, "<H", 1))
add_bytes("encrypted-in-the-directory", "encrypted members", _in_both_headers(-1, 8, "<H", 1))
add_bytes("encrypted-in-the-header", "contradicts its directory", _in_both_headers(6, -1, "<H", 1))
add_bytes("deflated-in-the-header", "contradicts its directory", _in_both_headers(8, -1, "<H", 8))
add_bytes("larger-in-the-header", "contradicts its directory", _in_both_headers(22, -1, "<I", 2**31))
add_bytes("larger-in-the-directory", "declares more bytes", _in_both_headers(-1, 24, "<I", 2**31))
add_bytes("larger-in-both", "declares more bytes", _in_both_headers(22, 24, "<I", 2**31))
add_bytes("other-name-in-the-header", "contradicts its directory", _in_both_headers(30, -1, "<B", ord("N")))
add_bytes("checksum-in-the-directory", "contradicts its directory", _in_both_headers(-1, 16, "<I", 1))
add_bytes("checksum-in-both", "checksum of net/data.pkl is wrong", _in_both_headers(14, 16, "<I", 1))
add_bytes("header-elsewhere", "damaged or truncated zip", _in_both_headers(-1, 42, "<I", 7))
add_bytes("header-beyond-the-end", "damaged or truncated zip", _in_both_headers(-1, 42, "<I", 2**31))
add_bytes("long-extra-in-the-header", "by an extra field", _in_both_headers(28, -1, "<H", 2**15))
add_bytes("directory-elsewhere", "not where it should be", _end_changed(16, "<I", 1))
add_bytes("directory-too-long", "not where it should be", _end_changed(12, "<I", 2**31))
add_bytes("fewer-members-at-the-end", "its end counts 3 members, its directory has 4", _end_changed(8, "<I", 0x30003))
add_bytes("comment", "does not end", _end_changed(20, "<H", 3) + b"abc")
add_bytes("bytes-behind-zip", "does not end", _zip() + b"\0")
add_bytes("only-a-beginning", "does not end", b"PK\x03\x04" + b"\0" * 100)
add_bytes("flipped-byte", "checksum of archive/data/0 is wrong", _flipped())
for name, member in (
    ("dots", "../outside"),
    ("dots-inside", "net/../../outside"),
    ("absolute", "/tmp/outside"),
    ("backslash", "net\\..\\outside"),
    ("escape-in-name", "net/\x1b]0;owned\x07"),
):
    add_bytes(f"member-{name}", "lead out of it", _zip(others={member: b"x"}))
add_bytes("member-in-another-folder", "one folder", _zip(others={"other/data/0": b"x"}))
add_bytes("data-pickle-deeper", "one folder", _plain_zip("net/net/data.pkl", pickled({"w": 1})))
add_bytes("no-data-pickle", "without PyTorch weights", _plain_zip("net/data/0", FLOATS))
add_bytes("byte-order", "byte order", _zip(byte_order="middle"))

# members that torch takes for folders, and says it has read
for attributes in (0x10, 0x1F, 0x41ED0010, 0x81A40000):
    for member in ("data.pkl", "data/0"):
        add_bytes(
            f"attributes-{attributes:x}-of-{member}",
            f"{member}' the attributes {attributes:#x}",
            _attributed(member, attributes),
        )
add_bytes("name-of-a-folder", "lead out of it", _zip(others={"net/data/1/": b""}))
add_bytes("second-name", "an extra field", _second_name(b"net/other.pkl"))

# truncated anywhere
for sixteenth in range(16):
    for kind, whole in (("zip", saved(weights())), ("legacy", saved(weights(), legacy=True))):
        cut = whole[: len(whole) * sixteenth // 16]
        add_bytes(f"truncated-{kind}-{sixteenth}", "is empty" if not cut else "truncated", cut)

# of another kind
add_bytes("html", "web page", b"\n<!DOCTYPE html><html><body>404</body></html>")
add_bytes("xml", "web page", b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>")
add_bytes("lfs-pointer", "Git-LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
add_bytes("json", "JSON text", b'{"weight_map": {"w": "../../secret.safetensors"}}')
add_bytes("onnx", "ONNX graph", b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\x8e\x02")
add_bytes("gguf", "GGUF", b"GGUF\x03\0\0\0" + b"\0" * 64)
add_bytes("hdf5", "HDF5", b"\x89HDF\r\n\x1a\n" + b"\0" * 64)
add_bytes("tflite", "TensorFlow", b"\x1c\0\0\0TFL3" + b"\0" * 64)
add_bytes("tensorflow-index", "TensorFlow", b"\0" * 64 + bytes.fromhex("57fb808b247547db"))
add_bytes("keras", "Keras model", _plain_zip("model.weights.h5", b"x"))
add_bytes("npz", "NumPy archive", _npz())
add_bytes("npy", "NumPy array", b"\x93NUMPY\x01\0")
add_bytes("plain-zip", "zip archive without PyTorch weights", _plain_zip("photo.jpg", b"x"))
add_bytes("empty-zip", "empty zip archive", b"PK\x05\x06" + b"\0" * 18)
for packed, mode in (("tar", "w"), ("gzip", "w:gz"), ("bzip2", "w:bz2"), ("xz", "w:xz")):
    add(f"archive-{packed}", f"{packed} archive", lambda folder, mode=mode: _archive(folder, mode))
add_bytes("archive-zstd", "zstd archive", b"\x28\xb5\x2f\xfd" + b"\0" * 64)
add_bytes("archive-7z", "7z archive", b"7z\xbc\xaf\x27\x1c" + b"\0" * 64)
add_bytes("noise", "not a PyTorch checkpoint", np.random.default_rng(0).bytes(4096))
add_bytes("zeros", "not a PyTorch checkpoint", b"\0" * 4096)
add_bytes("nothing", "is empty", b"")

# no files
add("missing", "No such file", lambda folder: folder / "none.pt")
add("folder", "is a folder", lambda folder: folder)
add("pipe", "not a regular file", _pipe)
add("link-to-zeros", "not a regular file", lambda folder: _link(folder, "/dev/zero"))
add("zeros-device", "not a regular file", lambda _: Path("/dev/zero"))
add("terminal-device", "not a regular file", lambda _: Path("/dev/tty"))
add("link-to-itself", "Too many levels of symbolic links", lambda folder: _link(folder, "net.pt"))
add("link-to-nothing", "No such file", lambda folder: _link(folder, "none.pt"))
add("unreadable", "Permission denied", _unreadable, unprivileged=True)
add("closed-folder", "Permission denied", _closed_folder, unprivileged=True)
add("named-as-an-option", r"\ue000delta\ue001.pt is empty", lambda folder: _empty(folder / f"{MARKED}.pt"))
add("process-memory", "is empty", lambda _: Path("/proc/self/maps"))
add("larger-than-memory", "more than the", lambda folder: _sparse(folder, 2**37, b"PK\x03\x04"))
add("long-zip-of-nothing", "does not end", lambda folder: _sparse(folder, 2**33, b"PK\x03\x04"))
add("long-legacy-of-nothing", "truncated", lambda folder: _sparse(folder, 2**33, saved({}, legacy=True)[:40]))
