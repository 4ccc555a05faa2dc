"""What a file is, decided from its bytes before torch sees one of them. Nothing here executes anything."""

from __future__ import annotations

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.other_formats import HEAD, other_format
from bnsharp_cli.io.containers.remedies import COPY_AGAIN, SAVE_WEIGHTS
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.io.files.regular_files import RegularFile

_ZIP = b"PK\x03\x04"
_LENGTH = 8
_PICKLE_PROTOCOLS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))


def recognise(file: RegularFile) -> str:
    """The format of a checkpoint by its content: ``zip``, ``pickle`` or ``safetensors``.

    Raises:
        CheckpointRefusedError: nothing that holds weights alone.
    """
    head, tail = file.read(0, HEAD), file.read(max(0, file.size - HEAD), HEAD)
    if head.startswith(_ZIP):
        return "zip"
    brace = head[_LENGTH : _LENGTH + 1] == b"{"
    declared = int.from_bytes(head[:_LENGTH], "little")
    if brace and declared <= file.size - _LENGTH:
        return "safetensors"
    known = other_format(head, tail)
    if known is not None:
        raise CheckpointRefusedError(f"{shown_path(file.path)} is {known.kind}.", known.remedy)
    if head.startswith(_PICKLE_PROTOCOLS):
        return "pickle"
    raise CheckpointRefusedError(
        f"{shown_path(file.path)} is not a PyTorch checkpoint or a whole safetensors file"
        + (f": it declares a header of {declared} bytes and has {file.size - _LENGTH}." if brace else "."),
        COPY_AGAIN if brace else SAVE_WEIGHTS,
    )
