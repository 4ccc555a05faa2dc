"""Checkpoints in and out: only tensors and plain containers, always ``weights_only=True``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.model_directory import is_model_directory, read_model_directory
from bnsharp_cli.io.checkpoints.sound_weights import verify_state_dict
from bnsharp_cli.io.checkpoints.state_dicts import choose_weights, plain_entries
from bnsharp_cli.io.containers.read_container import Container, read_container
from bnsharp_cli.io.files.atomic_writing import write_atomically

FORMAT = "bnsharp/1"
_OWN_ENTRIES = ("architecture", "architecture_options", "data", "preprocessing", "training")
_TENSOR_ENTRIES = ("state_dict", "norm_epsilon")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says, verified but not yet put into a network.

    Attributes:
        path: the file or directory.
        sha256: of its bytes.
        format: ``bnsharp/1``, ``state_dict``, ``safetensors``, ``lightning``, ``distributed`` or ``huggingface``.
        state_dict: parameters and buffers by name, without the marks of DDP and ``torch.compile``.
        metadata: plain entries beside the weights. Our own format has architecture, data, preprocessing, training, …;
            others what they hold under other names than these (``epoch``, ``arch``, ``hyper_parameters``, …).
        norm_epsilon: ε per channel of each norm call, for copies made by ``rescale-test``; empty otherwise.
        key: where in the file the weights were, a dotted path; empty for the file itself.
        notes: what the user should know about the reading, a line each.
    """

    path: Path
    sha256: str
    format: str
    state_dict: Mapping[str, Tensor]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    norm_epsilon: tuple[Tensor, ...] = ()
    key: str = ""
    notes: tuple[str, ...] = ()


def load_checkpoint(path: Path, key: str | None = None) -> Checkpoint:
    """Read a checkpoint without executing anything in it.

    Args:
        path: of a file, or of a directory of Hugging Face's or torch's distributed format.
        key: which weights of several, or of which part of the network; see
            :func:`~bnsharp_cli.io.checkpoints.state_dicts.choose_weights`.

    Raises:
        CheckpointRefusedError: with one line of reason and one of remedy.
        UsageError: ``key`` names no weights.
    """
    stated: dict[str, Any] = {}
    if is_model_directory(path):
        container, stated = read_model_directory(path)
    else:
        container = read_container(path)
    content = container.content
    weights = choose_weights(path, content, key)
    verify_state_dict(path, weights.tensors)
    known = _format(container)
    return Checkpoint(
        path=path,
        sha256=container.sha256,
        format=known,
        state_dict=weights.tensors,
        metadata=_own_metadata(content) if known == FORMAT else {**_metadata(container, weights.key), **stated},
        norm_epsilon=_norm_epsilon(path, content) if known == FORMAT else (),
        key=weights.key,
        notes=(*container.notes, *weights.notes, *_precision_notes(weights.tensors)),
    )


def save_checkpoint(path: Path, state_dict: Mapping[str, Tensor], **entries: object) -> None:
    """Write our own format atomically; ``entries`` are plain containers, strings, numbers and tensors."""
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in state_dict.items()}
    content = {"format": FORMAT, "state_dict": tensors, **entries}
    write_atomically(path, lambda stream: torch.save(content, stream))


def _format(container: Container) -> str:
    if container.content.get("format") == FORMAT:
        return FORMAT
    if "pytorch-lightning_version" in container.content:
        return "lightning"
    return "state_dict" if container.kind in {"zip", "pickle"} else container.kind


def _precision_notes(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    halves = {
        str(t.dtype).removeprefix("torch.") for t in tensors.values() if t.dtype in (torch.float16, torch.bfloat16)
    }
    return (f"weights stored as {' and '.join(sorted(halves))} are taken as float32",) if halves else ()


def _own_metadata(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry for name, entry in content.items() if name not in _TENSOR_ENTRIES}


def _metadata(container: Container, key: str) -> dict[str, Any]:
    """What a stranger's file says; nothing under the names that mean something in our own format."""
    entries = {**container.metadata, **(plain_entries(container.content) if key else {})}
    return {name: entry for name, entry in entries.items() if name not in _OWN_ENTRIES}


def _norm_epsilon(path: Path, content: Mapping[str, Any]) -> tuple[Tensor, ...]:
    epsilon = content.get("norm_epsilon", [])
    if not isinstance(epsilon, list) or not all(isinstance(entry, Tensor) for entry in epsilon):
        raise CheckpointRefusedError(f"{path}: 'norm_epsilon' is not a list of tensors.", "Write the copy again.")
    verify_state_dict(path, {f"norm_epsilon.{number}": entry for number, entry in enumerate(epsilon)})
    return tuple(epsilon)
