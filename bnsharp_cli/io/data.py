"""Data sets by specification, and the fixed batches that a loss surface is made of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from bnsharp_cli.errors import DataRefusedError, UsageError
from bnsharp_cli.io import sources
from bnsharp_cli.io.preprocessing import Preprocessing

Batch = tuple[Tensor, Tensor]

KINDS = "digits, cifar10, cifar100, mnist, fashionmnist, svhn, folder:DIR, npz:FILE, package.module:factory"


class Split(Protocol):
    """One split of a labelled data set; images come as floats, (N, C, H, W), in [0, 1] unless stored otherwise."""

    def __len__(self) -> int:
        """The number of examples."""

    def load(self, indices: Tensor, preprocessing: Preprocessing) -> Batch:
        """The examples at ``indices``, resized but not yet normalised."""


@dataclass(frozen=True)
class Batches:
    """A fixed list of whole mini-batches (batch norm couples the samples of a batch).

    Attributes:
        batches: pairs of inputs and targets, all of ``batch_size``.
        batch_size: samples in each batch.
        sha256: of the inputs and targets as the network sees them.
        notice: what the user must know of how they were drawn, or an empty string.
    """

    batches: tuple[Batch, ...]
    batch_size: int
    sha256: str
    notice: str

    @property
    def samples(self) -> int:
        """All samples of all batches."""
        return self.batch_size * len(self.batches)


def open_data(spec: str, split: str = "train", root: Path | None = None, download: bool = False) -> Split:
    """Open a data set by its specification.

    Args:
        spec: one of ``KINDS``.
        split: ``train`` or ``test``.
        root: where torchvision's data sets lie.
        download: allow torchvision to fetch a data set that is not there.

    Raises:
        UsageError: an unknown specification.
        DataRefusedError: data that cannot be read.
    """
    kind, _, argument = spec.partition(":")
    if spec == "digits":
        return sources.digits(split)
    if kind == "folder" and argument:
        return sources.folder(Path(argument), split)
    if kind == "npz" and argument:
        return sources.npz(Path(argument), split)
    if spec in sources.TORCHVISION:
        return sources.torchvision_split(spec, split, root, download)
    if argument:
        return sources.factory(spec, split)
    raise UsageError(f"Unknown data '{spec}'.", f"Use one of: {KINDS}.")


def draw_batches(
    split: Split, samples: int, batch_size: int, seed: int, preprocessing: Preprocessing | None = None
) -> Batches:
    """Draw a fixed list of batches: the first ``samples`` of a seeded permutation, cut consecutively.

    An incomplete last batch is dropped, and the notice says so.

    Raises:
        DataRefusedError: not one whole batch can be drawn, or a value is not finite.
    """
    preprocessing = preprocessing or Preprocessing()
    generator = torch.Generator().manual_seed(seed)
    indices = torch.randperm(len(split), generator=generator)[:samples]
    whole = len(indices) // batch_size
    if whole == 0:
        raise DataRefusedError(
            f"{len(indices)} samples do not fill one batch of {batch_size}.",
            "Lower --batch-size, raise --samples, or use more data.",
        )
    batches = []
    for part in torch.split(indices[: whole * batch_size], batch_size):
        images, labels = split.load(part, preprocessing)
        batches.append((preprocessing.normalise(images), labels))
    if not all(torch.isfinite(images).all() for images, _ in batches):
        raise DataRefusedError("The data has values that are NaN or infinite.", "Clean the data set.")
    dropped = len(indices) - whole * batch_size
    notices = []
    if samples > len(split):
        notices.append(f"the data has {len(split)} samples, {samples} were asked for")
    if dropped:
        notices.append(f"an incomplete last batch of {dropped} samples is dropped")
    return Batches(tuple(batches), batch_size, _digest(batches), "; ".join(notices))


def channel_statistics(split: Split, limit: int = 10_000) -> Preprocessing:
    """The mean and standard deviation of each channel over the first ``limit`` examples."""
    images, _ = split.load(torch.arange(min(len(split), limit)), Preprocessing())
    channels = images.double().movedim(1, 0).flatten(1)
    std = channels.std(dim=1, correction=0).clamp_min(1e-6)
    return Preprocessing(None, *(tuple(round(float(v), 6) for v in values) for values in (channels.mean(dim=1), std)))


def _digest(batches: list[Batch]) -> str:
    digest = hashlib.sha256()
    for images, labels in batches:
        digest.update(images.contiguous().numpy().tobytes())
        digest.update(labels.contiguous().numpy().tobytes())
    return digest.hexdigest()
