"""What a file is, decided from its bytes before torch sees one of them. Nothing here executes anything."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path
from typing import BinaryIO

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.text import one_line

SAVE_WEIGHTS = "Save the weights alone: torch.save(model.state_dict(), FILE)."
_LARGEST_FILE = 64 * 2**30
_LARGEST_PICKLE = 64 * 2**20
_HEAD = 512
_SAFETENSORS_BRACE = 9
_PICKLE_PROTOCOLS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))


def recognise(path: Path) -> str:
    """The format of a checkpoint by its content: ``zip``, ``pickle`` or ``safetensors``.

    Raises:
        CheckpointRefusedError: not a regular file, or nothing that holds weights alone.
    """
    size = _regular_size(path)
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
        _refuse_known_strangers(path, head)
        if head.startswith(b"PK\x03\x04"):
            stream.seek(0)
            _check_zip(path, stream, size)
            return "zip"
    if len(head) >= _SAFETENSORS_BRACE and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return "safetensors"
    if head.startswith(_PICKLE_PROTOCOLS):
        return "pickle"
    raise CheckpointRefusedError(f"{path} is not a PyTorch checkpoint or safetensors file.", SAVE_WEIGHTS)


def _regular_size(path: Path) -> int:
    try:
        status = path.stat()
    except OSError as error:
        raise CheckpointRefusedError(
            f"Cannot open {path}: {error.strerror}.", "Check the path and its permissions."
        ) from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise CheckpointRefusedError(f"{path} is {kind}.", "Name a checkpoint file.")
    if status.st_size == 0:
        raise CheckpointRefusedError(f"{path} is empty.", "Copy or save the checkpoint again.")
    if status.st_size > _LARGEST_FILE:
        raise CheckpointRefusedError(f"{path} is larger than 64 GiB.", "Save the weights alone.")
    try:
        path.open("rb").close()
    except OSError as error:
        raise CheckpointRefusedError(f"Cannot open {path}: {error.strerror}.", "Check its permissions.") from error
    return status.st_size


def _refuse_known_strangers(path: Path, head: bytes) -> None:
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise CheckpointRefusedError(
            f"{path} is a web page, not a checkpoint.", "The download failed: fetch the file itself."
        )
    if text.startswith(b"version https://git-lfs"):
        raise CheckpointRefusedError(
            f"{path} is a Git-LFS pointer, not the checkpoint.",
            "Run `git lfs pull` to fetch the file itself.",
        )
    if head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar":
        raise CheckpointRefusedError(f"{path} is an archive.", "Unpack it and name the checkpoint inside.")


def _check_zip(path: Path, stream: BinaryIO, size: int) -> None:
    broken = f"{path} is a damaged or truncated zip file"
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            _refuse_foreign_zip(path, {member.filename for member in members})
            _check_members(path, members, size)
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        raise CheckpointRefusedError(f"{broken}: {one_line(error)}.", "Copy or save the checkpoint again.") from error
    if damaged is not None:
        raise CheckpointRefusedError(
            f"{broken}: the checksum of {one_line(damaged)} is wrong.", "Copy or save the checkpoint again."
        )


def _refuse_foreign_zip(path: Path, names: set[str]) -> None:
    base_names = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in base_names:
        raise CheckpointRefusedError(f"{path} is a TorchScript program, not weights.", SAVE_WEIGHTS)
    if "archive_format" in base_names or any(name.startswith("models/") for name in names):
        raise CheckpointRefusedError(f"{path} is an exported program (.pt2), not weights.", SAVE_WEIGHTS)
    if "data.pkl" not in base_names:
        raise CheckpointRefusedError(f"{path} is a zip archive without PyTorch weights.", SAVE_WEIGHTS)


def _check_members(path: Path, members: list[zipfile.ZipInfo], size: int) -> None:
    names = [member.filename for member in members]
    problem = ""
    if len(set(names)) != len(names):
        problem = "has two members of one name"
    elif any(member.flag_bits & 0x1 for member in members):
        problem = "has encrypted members"
    elif any(member.compress_type != zipfile.ZIP_STORED for member in members):
        problem = "has compressed members, which torch.save never writes"
    elif sum(member.file_size for member in members) > size:
        problem = "declares more bytes than it has"
    elif any(member.filename.endswith(".pkl") and member.file_size > _LARGEST_PICKLE for member in members):
        problem = "has a pickle of more than 64 MiB"
    if problem:
        raise CheckpointRefusedError(f"{path} {problem}.", SAVE_WEIGHTS)
