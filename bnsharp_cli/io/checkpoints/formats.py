"""What a checkpoint format is: its name, how it is recognised, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from bnsharp_cli.io.containers.read_container import (
    Container,
    OpenedContainers,
    opened_container,
    opened_containers,
)


@dataclass(frozen=True)
class CheckpointContent:
    """What a checkpoint holds, before anyone has asked which of it are the weights.

    Attributes:
        entries: plain containers, strings, numbers and dense tensors; the weights are among them.
        sha256: of the bytes of the file or the directory; in an outline it means nothing.
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
    """A file or directory that may be a checkpoint: opened once, by the first who asks what it holds.

    A format reads it twice with the same code: first in outline, before a byte of a tensor is read, then whole.

    Args:
        path: of the file or directory.
        opened: closes what is opened here.

    Attributes:
        path: of the file or directory.
        outline: whether tensors are on the meta device: they have types and shapes, but no values.
        texts: small files of a directory as they were read first, by name.
    """

    def __init__(self, path: Path, opened: ExitStack) -> None:
        self.path, self.outline = path, True
        self.texts: dict[str, bytes] = {}
        self._stack = opened
        self._opened: dict[tuple[Path, ...], OpenedContainers] = {}

    @property
    def container(self) -> Container:
        """What :func:`~bnsharp_cli.io.containers.read_container.opened_container` finds in it, or its refusal."""
        (container,) = self._containers((), lambda: opened_container(self.path))
        return container

    def containers(self, paths: Sequence[Path]) -> list[Container]:
        """What several files of a directory hold, or the refusal of one."""
        return self._containers((*paths,), lambda: opened_containers(paths))

    def _containers(
        self, key: tuple[Path, ...], opening: Callable[[], AbstractContextManager[OpenedContainers]]
    ) -> list[Container]:
        if key not in self._opened:
            self._opened[key] = self._stack.enter_context(opening())
        opened = self._opened[key]
        return opened.outlines if self.outline else opened.whole


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
