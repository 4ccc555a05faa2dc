"""Data sets by specification, and the fixed batches that a loss surface is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from bnsharp_cli.errors import DataRefusedError, UsageError
from bnsharp_cli.io.data import archives as npz
from bnsharp_cli.io.data import images, sources
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.splits import Split
from bnsharp_cli.io.files.printable_text import escaped
from bnsharp_cli.measurement.surface.data_stream import Batch, Stream

RESIDENT = 2**30
"""Bytes of batches that are kept; more are read anew in every pass, the next one while the last is used."""

KINDS = "digits, cifar10, cifar100, mnist, fashionmnist, svhn, folder:DIR, npz:FILE, package.module:factory"


_MOST_NUMBERS = 2**28
"""Of the images that channel statistics are taken over."""

IGNORED = -100
"""The label of pixels that torch's cross entropy leaves out."""


@dataclass(frozen=True)
class Batches:
    """A fixed list of whole mini-batches (batch norm couples the samples of a batch).

    Attributes:
        batches: pairs of inputs and targets, all of ``batch_size``; a stream where they exceed the memory budget.
        batch_size: samples in each batch.
        sha256: of the inputs and targets as the network sees them.
        labels: the smallest and the largest label, or None where targets are not class indices.
        notice: what the user must know of how they were drawn, or an empty string.
    """

    batches: Sequence[Batch]
    batch_size: int
    sha256: str
    labels: tuple[int, int] | None
    notice: str

    @property
    def samples(self) -> int:
        """All samples of all batches."""
        return self.batch_size * len(self.batches)


Progress = Callable[[str], None]


def silent(_: str) -> None:
    """No progress."""


@contextmanager
def naming(spec: str) -> Iterator[None]:
    """Whatever is refused inside names the data set that it is about.

    Raises:
        DataRefusedError: with ``spec`` before a reason that does not name its file.
    """
    try:
        yield
    except DataRefusedError as error:
        if escaped(spec.partition(":")[2] or spec) in error.reason:
            raise
        raise DataRefusedError(f"{escaped(spec)}: {error.reason}", error.remedy) from error


def open_data(
    spec: str,
    split: str = "train",
    root: Path | None = None,
    download: bool = False,
    progress: Progress = silent,
) -> Split:
    """Open a data set by its specification.

    Args:
        spec: one of ``KINDS``.
        split: ``train`` or ``test``.
        root: where torchvision's data sets lie.
        download: allow torchvision to fetch a data set that is not there.
        progress: told now and then how far the search of a large folder is.

    Raises:
        UsageError: an unknown specification.
        DataRefusedError: data that cannot be read.
    """
    kind, _, argument = spec.partition(":")
    if spec == "digits":
        return sources.digits(split)
    if kind == "folder" and argument:
        return images.folder(Path(argument), split, progress)
    if kind == "npz" and argument:
        return npz.npz(Path(argument), split)
    if spec in sources.TORCHVISION:
        return sources.torchvision_split(spec, split, root, download)
    if argument:
        return sources.factory(spec, split)
    raise UsageError(f"Unknown data '{spec}'.", f"Use one of: {KINDS}.")


def draw_batches(
    split: Split,
    samples: int | None,
    batch_size: int,
    seed: int,
    preprocessing: Preprocessing | None = None,
    *,
    resident: int = RESIDENT,
    progress: Progress = silent,
) -> Batches:
    """Draw a fixed list of batches: the first ``samples`` of a seeded permutation, cut consecutively.

    An incomplete last batch is dropped, and the notice says so. All batches are read and checked once.

    Args:
        split: where from.
        samples: how many; None for all there are.
        batch_size: samples in a batch.
        seed: of the permutation.
        preprocessing: what is done to every image.
        resident: bytes of batches that may stay in memory; beyond, they stream.
        progress: told which batch is being read.

    Raises:
        DataRefusedError: not one whole batch can be drawn, a value is not finite, or a second reading differs.
    """
    generator = torch.Generator().manual_seed(seed)
    indices = torch.randperm(len(split), generator=generator)[:samples]
    whole = len(indices) // batch_size
    if len(split) == 0:
        raise DataRefusedError("There are no examples in this split.", "Use data with examples, or another --split.")
    if whole == 0:
        raise DataRefusedError(
            f"{len(indices)} samples do not fill one batch of {batch_size}.",
            "Lower --batch-size, raise --samples, or use more data.",
        )
    parts = torch.split(indices[: whole * batch_size], batch_size)
    stream = Stream(_Reader(split, parts, preprocessing or Preprocessing()), whole)
    batches, sha256, labels = _read_once(stream, resident, split, parts, progress)
    dropped = len(indices) - whole * batch_size
    notices = []
    if samples is not None and samples > len(split):
        notices.append(f"the data has {len(split)} samples, {samples} were asked for")
    if dropped:
        notices.append(f"an incomplete last batch of {dropped} samples is dropped")
    return Batches(batches, batch_size, sha256, labels, "; ".join(notices))


@dataclass(frozen=True)
class _Reader:
    split: Split
    parts: Sequence[Tensor]
    preprocessing: Preprocessing

    def __call__(self, index: int) -> Batch:
        images, labels = self.split.load(self.parts[index], self.preprocessing)
        return self.preprocessing.normalise(images), labels


def _read_once(
    stream: Stream, resident: int, split: Split, parts: Sequence[Tensor], progress: Progress
) -> tuple[Sequence[Batch], str, tuple[int, int] | None]:
    """The checked batches, kept if they fit, with their digest and the range of their labels."""
    digest, kept, ranges = hashlib.sha256(), [], []
    progress(f"reading batch 1 of {len(stream)}")
    first = stream[0]
    fits = len(stream) * sum(tensor.nbytes for tensor in first) <= resident
    for index, (inputs, labels) in enumerate(stream):
        progress(f"reading batch {index + 1} of {len(stream)}")
        for tensor in (inputs, labels):
            require_finite(split, parts[index], tensor)
        if index == 0 and not fits and not all(map(torch.equal, first, (inputs, labels))):
            raise DataRefusedError(
                "The data changes from one reading to the next.", "Switch its random augmentation off to measure."
            )
        digest.update(inputs.contiguous().numpy().tobytes())
        digest.update(labels.contiguous().numpy().tobytes())
        ranges.append(label_range(labels))
        if fits:
            kept.append((inputs, labels))
    progress("")
    known = [pair for pair in ranges if pair is not None]
    labels_range = (min(low for low, _ in known), max(high for _, high in known)) if known else None
    return tuple(kept) if fits else stream, digest.hexdigest(), labels_range


def require_finite(split: Split, indices: Tensor, tensor: Tensor) -> None:
    """Refuse values that are not finite.

    Args:
        split: where from.
        indices: of the examples.
        tensor: their inputs or targets.

    Raises:
        DataRefusedError: naming the first such example.
    """
    finite = torch.isfinite(tensor).reshape(len(tensor), -1).all(1)
    if not bool(finite.all()):
        culprit = int(indices[int(finite.int().argmin())])
        raise DataRefusedError(f"{split.name_of(culprit)} has values that are NaN or infinite.", "Clean the data set.")


def label_range(labels: Tensor) -> tuple[int, int] | None:
    """The smallest and the largest class number, or None where labels are none."""
    counted = labels[labels != IGNORED]
    return None if labels.is_floating_point() or not len(counted) else (int(counted.min()), int(counted.max()))


def channel_statistics(split: Split, resized: Preprocessing | None = None, limit: int = 10_000) -> Preprocessing:
    """``resized`` with the mean and standard deviation of each channel over the first examples.

    Args:
        split: where from.
        resized: what is done to the images' size.
        limit: how many examples at most; of large images fewer.
    """
    base = resized or Preprocessing()
    first, _ = split.load(torch.arange(1), base)
    count = min(len(split), limit, max(1, _MOST_NUMBERS // first.numel()))
    images, _ = split.load(torch.arange(count), base)
    channels = images.double().movedim(1, 0).flatten(1)
    std = channels.std(dim=1, correction=0).clamp_min(1e-6)
    mean, spread = (tuple(round(float(v), 6) for v in values) for values in (channels.mean(dim=1), std))
    return replace(base, mean=mean, std=spread)
