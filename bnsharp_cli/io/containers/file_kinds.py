"""The format of a file, decided by its first and last bytes."""

from __future__ import annotations

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.other_formats import HEAD, other_format
from bnsharp_cli.io.containers.remedies import COPY_AGAIN, SAVE_WEIGHTS
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.io.files.regular_files import RegularFile

_ZIP = b"PK\x03\x04"
_HEADER_LENGTH = 8
"""Bytes at the beginning of a safetensors file that say how long its header is."""

_PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))


def recognise(file: RegularFile) -> str:
    """The format of a checkpoint by its content: ``zip``, ``pickle`` or ``safetensors``.

    Raises:
        CheckpointRefusedError: it is of another format, or of none that is known.
    """
    head, tail = file.read(0, HEAD), file.read(max(0, file.size - HEAD), HEAD)
    if head.startswith(_ZIP):
        return "zip"
    opens_header = head[_HEADER_LENGTH : _HEADER_LENGTH + 1] == b"{"
    declared, left = int.from_bytes(head[:_HEADER_LENGTH], "little"), file.size - _HEADER_LENGTH
    if opens_header and declared <= left:
        return "safetensors"
    known = other_format(head, tail)
    if known is not None:
        raise CheckpointRefusedError(
            f"{shown_path(file.path)} is {known.kind}.", known.remedy, found=known.kind, subject=file.path
        )
    if head.startswith(_PICKLES):
        return "pickle"
    neither = f"{shown_path(file.path)} is not a PyTorch checkpoint or a whole safetensors file"
    if opens_header:
        raise CheckpointRefusedError(
            f"{neither}: it declares a header of {declared} bytes and has {left}.",
            COPY_AGAIN,
            expected=f"{declared} bytes of a header",
            found=f"{left} bytes",
            subject=file.path,
        )
    raise CheckpointRefusedError(f"{neither}.", SAVE_WEIGHTS, subject=file.path)
