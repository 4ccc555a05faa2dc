"""Drawing the fixed mini-batches that a loss surface is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bnsharp_cli.errors import DataRefusedError, counted, named
from bnsharp_cli.io.data.images import ImageFolder
from bnsharp_cli.io.data.labels import label_range
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.reading_progress import ReadingProgress, silent
from bnsharp_cli.io.data.splits import Split, require_finite, require_shape
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.data_stream import Batch, Stream
from bnsharp_cli.measurement.surface.tensor_trees import tensors_of
from bnsharp_cli.measurement.surface.token_loss import counted_tokens

RESIDENT = 2**30
"""Bytes of batches that are kept; more are read anew in every pass, the next one while the last is used."""


@dataclass(frozen=True)
class DrawnBatches:
    """A fixed list of whole mini-batches (batch norm couples the samples of a batch).

    Attributes:
        batches: pairs of inputs and targets; a stream where they exceed the memory budget.
        batch_size: samples in each batch, but for the last one of a whole split.
        sha256: of the inputs and targets as the network sees them.
        labels: the smallest and the largest label, or None where targets are not class indices.
        notice: what the user must know of how they were drawn, or an empty string.
        sizes: samples in each batch and in the split.
        counted: how many targets of each batch count, as those at padding do not.
    """

    batches: Sequence[Batch]
    batch_size: int
    sha256: str
    labels: tuple[int, int] | None
    notice: str
    sizes: BatchSizes
    counted: tuple[int, ...]

    def by_tokens(self) -> DrawnBatches:
        """The same batches, for a loss that is a mean over tokens."""
        return replace(self, sizes=replace(self.sizes, tokens=self.counted))

    @property
    def samples(self) -> int:
        """All samples of all batches."""
        return self.sizes.examples


def draw_batches(
    split: Split,
    samples: int | None,
    batch_size: int,
    seed: int,
    preprocessing: Preprocessing | None = None,
    *,
    whole_numbers: bool = False,
    resident: int = RESIDENT,
    progress: ReadingProgress = silent,
) -> DrawnBatches:
    """Draw a fixed list of batches: the first ``samples`` of a seeded permutation, cut consecutively.

    An incomplete last batch is dropped, and the notice says so. Of the whole split it is kept, because then the loss is
    that of the split; a single sample, of which norms make no statistics, joins the batch before. All batches are read
    and checked once.

    Args:
        split: where from.
        samples: how many; None for all there are.
        batch_size: samples in a batch.
        seed: of the permutation.
        preprocessing: what is done to every image.
        whole_numbers: whether inputs that are stored as whole numbers stay so, as tokens must; else they become floats.
        resident: bytes of batches that may stay in memory; beyond, they stream.
        progress: told which batch is being read.

    Raises:
        DataRefusedError: not one whole batch can be drawn, a value is not finite, or a second reading differs.
    """
    generator = torch.Generator().manual_seed(seed)
    indices = torch.randperm(len(split), generator=generator)[:samples]
    _require_a_batch(len(split), len(indices), 2 if samples is None else batch_size)
    parts = _cut(indices, batch_size, keep_rest=samples is None)
    stream = Stream(_Reader(split, parts, preprocessing or Preprocessing(), whole_numbers), len(parts))
    batches, sha256, labels, counted = _read_once(stream, resident, split, parts, progress)
    sizes = tuple(map(len, parts))
    notice = _notice(samples, len(split), len(indices) - sum(sizes), sizes[-1] if sizes[-1] != batch_size else 0)
    return DrawnBatches(batches, batch_size, sha256, labels, notice, BatchSizes(sizes, len(split)), counted)


def _cut(indices: Tensor, batch_size: int, keep_rest: bool) -> tuple[Tensor, ...]:
    """The indices of each batch."""
    parts = torch.split(indices, batch_size)
    if len(parts[-1]) == batch_size:
        return parts
    if keep_rest and len(parts[-1]) == 1 and len(parts) > 1:
        return (*parts[:-2], torch.cat(parts[-2:]))
    return parts if keep_rest else parts[:-1]


@dataclass(frozen=True)
class _Reader:
    """Reads one batch by its number."""

    split: Split
    parts: Sequence[Tensor]
    preprocessing: Preprocessing
    whole_numbers: bool

    def __call__(self, index: int) -> Batch:
        images, labels = self.split.load(self.parts[index], self.preprocessing)
        inputs = self.preprocessing.normalise(images)
        return inputs if self.whole_numbers or inputs.is_floating_point() else inputs.float(), labels


def _require_a_batch(available: int, drawn: int, batch_size: int) -> None:
    if available == 0:
        raise DataRefusedError(
            "There are no examples in this split.", f"Use data with examples, or another {named('split')}."
        )
    if drawn < batch_size:
        raise DataRefusedError(
            f"{counted(drawn, 'sample')} cannot fill one batch of {batch_size}.",
            f"Lower {named('batch_size')}, raise {named('samples')}, or use more data.",
            expected=f"at least {batch_size} samples",
            found=drawn,
        )


def _notice(samples: int | None, available: int, dropped: int, rest: int) -> str:
    notices = []
    if samples is not None and samples > available:
        notices.append(f"the data has {counted(available, 'sample')}, {samples:,} were asked for")
    if dropped:
        notices.append(f"an incomplete last batch of {counted(dropped, 'sample')} is dropped")
    if rest:
        notices.append(f"the last batch has {counted(rest, 'sample')}")
    return "; ".join(notices)


def _read_once(
    stream: Stream, resident: int, split: Split, parts: Sequence[Tensor], progress: ReadingProgress
) -> tuple[Sequence[Batch], str, tuple[int, int] | None, tuple[int, ...]]:
    """The checked batches, kept if they fit, with their digest, the range of their labels, and how many count."""
    digest, kept, ranges, counts = hashlib.sha256(), [], [], []
    progress(f"reading batch 1 of {len(stream)}")
    first = stream[0]
    one = sum(tensor.nbytes for part in first for tensor in tensors_of(part))
    fits = one * sum(map(len, parts)) <= resident * len(parts[0])
    for index, (inputs, labels) in enumerate(stream):
        progress(f"reading batch {index + 1} of {len(stream)}")
        if isinstance(split, ImageFolder):  # data sets of users and sequences may vary from batch to batch
            require_shape(split.name_of(int(parts[index][0])), tuple(inputs.shape[1:]), tuple(first[0].shape[1:]))
        tensors = [*tensors_of(inputs), labels]
        for tensor in tensors:
            require_finite(split, parts[index], tensor)
        if index == 0 and not fits and not all(map(torch.equal, [*tensors_of(first[0]), first[1]], tensors)):
            raise DataRefusedError(
                "The data changes from one reading to the next.", "Switch its random augmentation off to measure."
            )
        for tensor in tensors:
            digest.update(tensor.contiguous().numpy().tobytes())
        ranges.append(label_range(labels))
        counts.append(int(counted_tokens(labels)))
        if fits:
            kept.append((inputs, labels))
    progress("")
    known = [pair for pair in ranges if pair is not None]
    labels_range = (min(low for low, _ in known), max(high for _, high in known)) if known else None
    return tuple(kept) if fits else stream, digest.hexdigest(), labels_range, tuple(counts)
