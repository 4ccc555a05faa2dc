"""From a path to plain content: the one function by which the rest of bnsharp reads an untrusted checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.distributed import read_distributed
from bnsharp_cli.io.containers.file_kinds import recognise
from bnsharp_cli.io.containers.remedies import SAVE_WEIGHTS
from bnsharp_cli.io.containers.safetensors_files import read_safetensors
from bnsharp_cli.io.containers.torch_files import read_torch_file
from bnsharp_cli.io.containers.untrusted_files import is_folder, open_untrusted, require_unchanged
from bnsharp_cli.io.files.printable_text import shown_path


@dataclass(frozen=True)
class Container:
    """What a file holds, before anyone has asked which of it are the weights.

    Attributes:
        kind: ``zip``, ``pickle`` (torch's format before 1.6), ``safetensors`` or ``distributed``.
        content: plain containers, strings, numbers and dense tensors that own as many bytes as they declare.
        metadata: the ``__metadata__`` of a safetensors file, empty elsewhere.
        sha256: of the file's bytes.
        notes: what the user should know about the reading, a line each.
    """

    kind: str
    content: Mapping[str, Any]
    sha256: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_container(path: Path) -> Container:
    """Read a file, or a folder of ``torch.distributed.checkpoint``, without executing anything in it.

    Raises:
        CheckpointRefusedError: with one line of reason and one of remedy.
    """
    if is_folder(path):
        stored, digest, notes = read_distributed(path)
        return Container("distributed", stored, digest, notes=notes)
    with open_untrusted(path) as file:
        kind = recognise(file)
        metadata: dict[str, str] = {}
        if kind == "safetensors":
            content, metadata = read_safetensors(file)
        else:
            content = read_torch_file(file, kind)
        if not isinstance(content, dict):
            raise CheckpointRefusedError(
                f"{shown_path(path)} holds a {type(content).__name__}, expected a state_dict.",
                SAVE_WEIGHTS,
                expected="a state_dict",
                found=type(content).__name__,
            )
        sha256 = file.sha256()
        require_unchanged(file)
    return Container(kind, content, sha256, metadata)
