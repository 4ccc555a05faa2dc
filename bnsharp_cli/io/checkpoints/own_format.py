"""The checkpoints that bnsharp writes: ``torch.save`` of plain containers, strings, numbers and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.formats import CheckpointContent, Source
from bnsharp_cli.io.checkpoints.sound_weights import verify_finite, verify_state_dict
from bnsharp_cli.io.checkpoints.unread_objects import unread_objects

OWN_FORMAT = "bnsharp/1"

OWN_ENTRIES = frozenset({"architecture", "architecture_options", "data", "preprocessing", "training"})
"""Entries beside the weights that mean something here; of an untrusted file they are not believed."""

_TENSOR_ENTRIES = ("state_dict", "norm_epsilon")


def is_own(source: Source) -> bool:
    """Whether the file says that it is of this format."""
    return bool(source.container.content.get("format") == OWN_FORMAT)


def read_own(source: Source) -> CheckpointContent:
    """The content of such a file.

    Raises:
        CheckpointRefusedError: its ``norm_epsilon`` is no list of sound tensors, or an object is in it.
    """
    container = source.container
    for one in unread_objects(container.content):
        raise CheckpointRefusedError(
            f"{one}, and no file of bnsharp's own has one.",
            "Write the checkpoint again with `bnsharp train`.",
            expected="plain entries",
            found=one.name,
            path=source.path,
        )
    metadata = {name: entry for name, entry in container.content.items() if name not in _TENSOR_ENTRIES}
    epsilon = _norm_epsilon(source, container.content)
    return CheckpointContent(container.content, container.sha256, metadata, epsilon, container.notes)


def own_content(state_dict: Mapping[str, Tensor], entries: Mapping[str, object]) -> dict[str, object]:
    """What is saved: copies of the tensors on the CPU, and ``entries`` beside them."""
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in state_dict.items()}
    return {"format": OWN_FORMAT, "state_dict": tensors, **entries}


def _norm_epsilon(source: Source, content: Mapping[str, Any]) -> tuple[Tensor, ...]:
    epsilon = content.get("norm_epsilon", [])
    if not isinstance(epsilon, list) or not all(
        isinstance(entry, Tensor) and not entry.is_complex() for entry in epsilon
    ):
        raise CheckpointRefusedError(
            "'norm_epsilon' is not a list of real tensors.",
            "Write the copy again.",
            expected="a list of real tensors under norm_epsilon",
            path=source.path,
        )
    named = {f"norm_epsilon.{number}": entry for number, entry in enumerate(epsilon)}
    verify_state_dict(source.path, named, outline=source.outline)
    if not source.outline:
        verify_finite(source.path, named)
    return tuple(epsilon)
