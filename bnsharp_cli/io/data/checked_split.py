"""A split that was read once as a whole and checked: kept where it fits into memory, else read again by batches."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bnsharp_cli.errors import DataRefusedError
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.reading_progress import ReadingProgress, silent
from bnsharp_cli.io.data.splits import DatasetSplit, Split, require_finite
from bnsharp_cli.measurement.surface.data_stream import Batch

_PART = 256


@dataclass(frozen=True)
class CheckedSplit:
    """A split of which every example was read and found finite.

    Attributes:
        targets: (N, …).
        shape: of one example's input.
        inputs: (N, …) as the network sees them, or None where they do not fit.
        read: the examples with given numbers.
        repeatable: whether reading leaves torch's random state alone, whoever wrote the data set.
    """

    targets: Tensor
    shape: tuple[int, ...]
    inputs: Tensor | None
    read: Callable[[Tensor], Batch]
    repeatable: bool


def share_of_memory(processes: int) -> int:
    """Bytes that one of several processes may keep of its data: together a quarter of this machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (4 * processes)


def read_checked(
    split: Split, preprocessing: Preprocessing, resident: int, progress: ReadingProgress = silent
) -> CheckedSplit:
    """Read all of a split and check it.

    Args:
        split: where from.
        preprocessing: what is done to every image.
        resident: bytes of inputs that may stay in memory.
        progress: told how many examples of a split that does not stay were read.

    Raises:
        DataRefusedError: there is nothing in it, or a value is not finite.
    """
    if len(split) == 0:
        raise DataRefusedError("There are no examples in this split.", "Use data with examples.")
    read = partial(_read, split, preprocessing)
    first, _ = read(torch.arange(1))
    repeatable = not isinstance(split, DatasetSplit)
    every = torch.arange(len(split))
    if first.nbytes * len(split) <= resident:
        inputs, targets = read(every)
        return CheckedSplit(targets, tuple(first.shape[1:]), inputs, read, repeatable)
    labels = []
    for part in torch.split(every, _PART):
        progress(f"reading example {int(part[0]):,} of {len(split):,}")
        labels.append(read(part)[1])
    progress("")
    return CheckedSplit(torch.cat(labels), tuple(first.shape[1:]), None, read, repeatable)


def _read(split: Split, preprocessing: Preprocessing, numbers: Tensor) -> Batch:
    images, targets = split.load(numbers, preprocessing)
    inputs = preprocessing.normalise(images).float()
    for tensor in (inputs, targets):
        require_finite(split, numbers, tensor)
    return inputs, targets
