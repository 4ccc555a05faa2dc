"""Checkpoints in and out, whatever their format: nothing in them is executed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsharp_cli.io.checkpoints.common_formats import (
    is_distributed,
    is_from_torch_save,
    is_lightning,
    is_safetensors,
    read_common,
)
from bnsharp_cli.io.checkpoints.formats import CheckpointFormat, Source
from bnsharp_cli.io.checkpoints.model_directory import (
    HUGGINGFACE,
    is_folder_of_weights,
    is_model_directory,
    read_folder_of_weights,
    read_model_directory,
)
from bnsharp_cli.io.checkpoints.own_format import OWN_FORMAT, is_own, own_content, read_own
from bnsharp_cli.io.checkpoints.sound_weights import verify_state_dict
from bnsharp_cli.io.checkpoints.state_dicts import NamedTensors, choose_weights
from bnsharp_cli.io.checkpoints.unread_objects import Unread
from bnsharp_cli.io.files.atomic_writing import write_atomically

CHECKPOINT_FORMATS = (
    CheckpointFormat(HUGGINGFACE, "Directory of save_pretrained.", is_model_directory, read_model_directory),
    CheckpointFormat(
        "folder", "Folder of Accelerate's with weights alone.", is_folder_of_weights, read_folder_of_weights
    ),
    CheckpointFormat(OWN_FORMAT, "File of bnsharp's own.", is_own, read_own),
    CheckpointFormat("lightning", "File of Lightning's Trainer.", is_lightning, read_common),
    CheckpointFormat("distributed", "Folder of torch.distributed.checkpoint.", is_distributed, read_common),
    CheckpointFormat("safetensors", "File of safetensors.", is_safetensors, read_common),
    CheckpointFormat("state_dict", "File of torch.save with weights in it.", is_from_torch_save, read_common),
)
"""Every format, in the order in which a source is held against them: the first that recognises it reads it.

A new format is a module with its recogniser and its reader, and a line here. Formats that a path alone tells come
before those that ask for ``source.container``, which refuses what it does not know.
"""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says, verified but not yet put into a network.

    Attributes:
        path: the file or directory.
        sha256: of its bytes.
        format: the name of one of ``CHECKPOINT_FORMATS``.
        state_dict: parameters and buffers by name, without the marks of DDP and ``torch.compile``.
        metadata: plain entries beside the weights. Our own format has architecture, data, preprocessing, training, …;
            others what they hold under other names than these (``epoch``, ``arch``, ``hyper_parameters``, …).
        norm_epsilon: ε per channel of each norm call, for copies made by ``rescale-test``; empty otherwise.
        key: where in the file the weights were, a dotted path; empty for the file itself.
        notes: what the user should know about the reading, a line each, with arguments marked by ``errors.named``.
        unread: objects in the file whose classes are not read.
    """

    path: Path
    sha256: str
    format: str
    state_dict: NamedTensors
    metadata: Mapping[str, Any] = field(default_factory=dict)
    norm_epsilon: tuple[Tensor, ...] = ()
    key: str = ""
    notes: tuple[str, ...] = ()
    unread: tuple[Unread, ...] = ()


class OpenedCheckpoint:
    """A checkpoint that is open: what it says is known, and its weights are read when somebody asks for them.

    Attributes:
        outline: the checkpoint with weights on the meta device, which have names, types and shapes but no values; its
            digest is empty.
    """

    def __init__(self, source: Source, key: str | None) -> None:
        self._source, self._key = source, key
        self._format = next(one for one in CHECKPOINT_FORMATS if one.recognises(source))
        self.outline = self._checkpoint()

    def read(self) -> Checkpoint:
        """The whole checkpoint, its weights sound.

        Raises:
            CheckpointRefusedError: with one line of reason and one of remedy.
        """
        self._source.outline = False
        return self._checkpoint()

    def _checkpoint(self) -> Checkpoint:
        path, outline = self._source.path, self._source.outline
        content = self._format.read(self._source)
        weights = choose_weights(path, content.entries, self._key)
        verify_state_dict(path, weights.tensors, outline=outline)
        return Checkpoint(
            path=path,
            sha256="" if outline else content.sha256,
            format=self._format.name,
            state_dict=weights.tensors,
            metadata=content.metadata,
            norm_epsilon=content.norm_epsilon,
            key=weights.key,
            notes=(*content.notes, *weights.notes, *_precision_notes(weights.tensors)),
            unread=weights.unread,
        )


@contextmanager
def opened_checkpoint(path: Path, key: str | None = None) -> Iterator[OpenedCheckpoint]:
    """Open a checkpoint without executing anything in it, and without reading a byte of a tensor.

    Args:
        path: of a file, or of a directory of Hugging Face's or torch's distributed format.
        key: which weights of several, or of which part of the network; see
            :func:`~bnsharp_cli.io.checkpoints.state_dicts.choose_weights`.

    Raises:
        CheckpointRefusedError: with one line of reason and one of remedy.
        UsageError: ``key`` names no weights.
    """
    with ExitStack() as stack:
        yield OpenedCheckpoint(Source(path, stack), key)


def load_checkpoint(path: Path, key: str | None = None) -> Checkpoint:
    """Read a checkpoint without executing anything in it. Arguments and refusals as of :func:`opened_checkpoint`."""
    with opened_checkpoint(path, key) as opened:
        return opened.read()


def save_checkpoint(path: Path, state_dict: NamedTensors, **entries: object) -> None:
    """Write a checkpoint of our own format, whole or not at all.

    Args:
        path: of the file.
        state_dict: parameters and buffers by name.
        **entries: plain containers, strings, numbers and tensors to keep beside them, such as ``architecture``.
    """
    content = own_content(state_dict, entries)
    write_atomically(path, lambda stream: torch.save(content, stream), "path")


def _precision_notes(tensors: NamedTensors) -> tuple[str, ...]:
    halves = {
        str(t.dtype).removeprefix("torch.") for t in tensors.values() if t.dtype in (torch.float16, torch.bfloat16)
    }
    return (f"weights stored as {' and '.join(sorted(halves))} are taken as float32",) if halves else ()
