"""Checkpoints as torch, Lightning, safetensors and ``torch.distributed.checkpoint`` write them."""

from __future__ import annotations

import re
from pathlib import Path

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.entries import plain_entries
from bnsharp_cli.io.checkpoints.formats import CheckpointContent, Source
from bnsharp_cli.io.checkpoints.own_format import OWN_ENTRIES
from bnsharp_cli.io.containers.untrusted_files import exists
from bnsharp_cli.io.files.printable_text import shown_path

_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})(\.\w+)")
_LIGHTNINGS_ENTRY = "pytorch-lightning_version"


def is_lightning(source: Source) -> bool:
    """Whether Lightning's Trainer wrote it."""
    return _LIGHTNINGS_ENTRY in source.container.content


def is_distributed(source: Source) -> bool:
    """Whether it is a folder of ``torch.distributed.checkpoint``."""
    return source.container.kind == "distributed"


def is_safetensors(source: Source) -> bool:
    """Whether it is a safetensors file, whatever its name ends in."""
    return source.container.kind == "safetensors"


def is_from_torch_save(source: Source) -> bool:
    """Whether ``torch.save`` wrote it, in today's format or the one before torch 1.6."""
    return source.container.kind in {"zip", "pickle"}


def read_common(source: Source) -> CheckpointContent:
    """The content of such a file, its plain entries as metadata.

    Whoever wrote it may have used names that mean something in bnsharp's own format for something else, so entries of
    these names are left out.

    Raises:
        CheckpointRefusedError: it is one of several files that are a checkpoint together.
    """
    _require_no_shard(source.path)
    container = source.container
    said = {**container.metadata, **plain_entries(container.content)}
    metadata = {name: entry for name, entry in said.items() if name not in OWN_ENTRIES}
    return CheckpointContent(container.content, container.sha256, metadata, notes=container.notes)


def _require_no_shard(path: Path) -> None:
    """Refuse one of the files that an index beside it joins."""
    parts = _SHARD.fullmatch(path.name)
    if parts and int(parts[2]) > 1 and exists(path.with_name(f"{parts[1]}{parts[3]}.index.json")):
        raise CheckpointRefusedError(
            f"it is one of {int(parts[2])} files that hold the weights together.",
            f"Name their folder: '{shown_path(path.parent)}'.",
            expected="all of the weights",
            found="a part of them",
            path=path,
        )
