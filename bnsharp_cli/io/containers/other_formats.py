"""Formats that hold no weights for torch, recognised by a few bytes or by the names in a zip archive.

Nothing of such a file is read any further: it is refused by name, with what the user can do instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from bnsharp_cli.io.containers.remedies import COPY_AGAIN, SAVE_WEIGHTS
from bnsharp_cli.io.files.printable_text import one_line

HEAD = 512
"""Bytes at the beginning and at the end of a file by which its format is recognised."""

_UNPACK = "Unpack it and name the checkpoint inside."
_FETCH = "The download failed: fetch the file itself."
_FROM_ELSEWHERE = "Load it in the framework that wrote it, and save the weights with torch or safetensors."


@dataclass(frozen=True)
class OtherFormat:
    """A format that is not read.

    Attributes:
        kind: as in "FILE is a web page".
        remedy: what to do instead.
    """

    kind: str
    remedy: str


_GGUF = OtherFormat("a GGUF or GGML file of quantised weights", "Use the checkpoint that it was converted from.")
_ONNX = OtherFormat("an ONNX graph, not a checkpoint", "Use the checkpoint that it was exported from.")
_TENSORFLOW = OtherFormat("a TensorFlow file", _FROM_ELSEWHERE)
_WEB_PAGE = OtherFormat("a web page, not a checkpoint", _FETCH)

_BEGINNINGS = {
    b"\x1f\x8b": OtherFormat("a gzip archive", _UNPACK),
    b"\xfd7zXZ\x00": OtherFormat("an xz archive", _UNPACK),
    b"\x28\xb5\x2f\xfd": OtherFormat("a zstd archive", _UNPACK),
    b"7z\xbc\xaf\x27\x1c": OtherFormat("a 7z archive", _UNPACK),
    b"BZh": OtherFormat("a bzip2 archive", _UNPACK),
    b"Rar!\x1a\x07": OtherFormat("a RAR archive", _UNPACK),
    b"PK\x05\x06": OtherFormat("an empty zip archive", COPY_AGAIN),
    b"GGUF": _GGUF,
    b"lmgg": _GGUF,
    b"tjgg": _GGUF,
    b"\x89HDF\r\n\x1a\n": OtherFormat("an HDF5 file (Keras?)", _FROM_ELSEWHERE),
    b"\x93NUMPY": OtherFormat("a NumPy array, not a checkpoint", SAVE_WEIGHTS),
    b"model_checkpoint_path:": _TENSORFLOW,
}
_TEXTS = {
    b"version https://git-lfs": OtherFormat(
        "a Git-LFS pointer, not the checkpoint", "Run `git lfs pull` to fetch the file itself."
    ),
    b"<!doctype": _WEB_PAGE,
    b"<html": _WEB_PAGE,
    b"<head": _WEB_PAGE,
    b"<?xml": _WEB_PAGE,
    b"{": OtherFormat("a JSON text, not weights", "Name the weights themselves, or the folder that holds them."),
}
_TENSORFLOW_TABLE_END = bytes.fromhex("57fb808b247547db")
_TAR_TYPE = slice(257, 262)
_LEGACY_TAR_MEMBERS = (b"sys_info\0", b"pickle\0", b"storages\0", b"tensors\0")
_ONNX_FIELDS = (0x12, 0x1A, 0x22, 0x3A, 0x42)  # what may follow the version at the beginning of a graph
_LARGEST_ONNX_VERSION = 32
_EXPORTED = {"archive_format", "serialized_exported_program.json"}


def other_format(head: bytes, tail: bytes) -> OtherFormat | None:
    """The format of a file by its first and last ``HEAD`` bytes; ``None`` if torch may be able to read it."""
    for beginning, found in _BEGINNINGS.items():
        if head.startswith(beginning):
            return found
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for beginning, found in _TEXTS.items():
        if text.startswith(beginning):
            return found
    if head[_TAR_TYPE] == b"ustar" or head.startswith(_LEGACY_TAR_MEMBERS):
        return _tar(head)
    if (
        head[4:8] == b"TFL3"
        or tail.endswith(_TENSORFLOW_TABLE_END)
        or (head.startswith(b"\x08\x01\x12") and b"serve" in head)
    ):
        return _TENSORFLOW
    if len(head) > 2 and head[0] == 0x08 and 0 < head[1] <= _LARGEST_ONNX_VERSION and head[2] in _ONNX_FIELDS:
        return _ONNX
    return None


def _tar(head: bytes) -> OtherFormat:
    """A tar archive: PyTorch's first format, or any other."""
    if head.startswith(_LEGACY_TAR_MEMBERS):
        return OtherFormat(
            "a tar archive in the format that PyTorch wrote before 0.1.10, which cannot be read without running code",
            "Save the weights again with a newer PyTorch.",
        )
    return OtherFormat("a tar archive", _UNPACK)


def other_zip(names: list[str]) -> OtherFormat | None:
    """The format of a zip archive by the names in it; ``None`` if torch may be able to read it."""
    base_names = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in base_names:
        return OtherFormat("a TorchScript program, not weights", SAVE_WEIGHTS)
    if base_names & _EXPORTED or any("models/" in name and name.endswith(".json") for name in names):
        return OtherFormat("an exported program (.pt2), not weights", SAVE_WEIGHTS)
    if "data.pkl" in base_names:
        return None
    if names and all(name.endswith(".npy") for name in names):
        return OtherFormat("a NumPy archive (npz), not a checkpoint", SAVE_WEIGHTS)
    if "model.weights.h5" in base_names:
        return OtherFormat("a Keras model", _FROM_ELSEWHERE)
    inside = f" (it begins with {one_line(names[0], 60)})" if names else ""
    return OtherFormat(f"a zip archive without PyTorch weights{inside}", _UNPACK)
