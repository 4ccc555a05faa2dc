"""What a checkpoint format is: its name, how it is recognised, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from bnsharp_cli.io.containers.read_container import Container, read_container


@dataclass(frozen=True)
class CheckpointContent:
    """What a checkpoint holds, before anyone has asked which of it are the weights.

    Attributes:
        entries: plain containers, strings, numbers and dense tensors; the weights are among them.
        sha256: of the bytes of the file or the directory.
        metadata: what it says beside the weights. Only formats that bnsharp trusts to mean the same may have the
            entries ``architecture``, ``architecture_options``, ``data``, ``preprocessing`` and ``training``.
        norm_epsilon: ε per channel of each norm call, for copies made by ``rescale-test``; empty otherwise.
        notes: what the user should know about the reading, a line each.
    """

    entries: Mapping[str, Any]
    sha256: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    norm_epsilon: tuple[Tensor, ...] = ()
    notes: tuple[str, ...] = ()


class Source:
    """A file or directory that may be a checkpoint; it is read once, by the first who asks what it holds."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def container(self) -> Container:
        """What :func:`~bnsharp_cli.io.containers.read_container.read_container` finds in it, or its refusal."""
        return read_container(self.path)


@dataclass(frozen=True)
class CheckpointFormat:
    """One line of the table ``CHECKPOINT_FORMATS`` in ``checkpoint.py``.

    Attributes:
        name: as the JSON document and ``bnsharp inspect`` call it.
        help: one line on what such a checkpoint is.
        recognises: whether a source is of this format; formats that are asked before said no.
        read: its content, or a CheckpointRefusedError.
    """

    name: str
    help: str
    recognises: Callable[[Source], bool]
    read: Callable[[Source], CheckpointContent]
