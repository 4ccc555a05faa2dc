"""Splits of labelled data: what they answer, those in memory, and those that are read example by example."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from bnsharp_cli.errors import named
from bnsharp_cli.io.data.examples import read_example, unit_range
from bnsharp_cli.io.data.naming import NamedDataError
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.files.printable_text import kind_and_line
from bnsharp_cli.measurement.surface.data_stream import Batch


class UnequalSizesError(NamedDataError):
    """Images of several sizes, and nothing that resizes them."""


class Split(Protocol):
    """One split of a labelled data set; images come as floats, (N, C, H, W), in [0, 1] unless stored otherwise.

    Inputs that are stored as whole numbers, but for bytes, come as int64.
    """

    def __len__(self) -> int:
        """The number of examples."""

    def load(self, indices: Tensor, preprocessing: Preprocessing) -> Batch:
        """The examples at ``indices``, resized but not yet normalised."""

    def name_of(self, index: int) -> str:
        """What to call example ``index`` in an error message."""


class ArrayRows(Protocol):
    """The rows of an array, in memory or in a file: as much of a tensor as a split needs."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole array."""

    def __len__(self) -> int:
        """The number of rows."""

    def __getitem__(self, indices: Tensor) -> Tensor:
        """The rows at ``indices``."""


@dataclass(frozen=True)
class ArraySplit:
    """Examples in arrays: images (N, C, H, W), uint8 or floating, or tokens (N, …), and targets (N, …).

    Attributes:
        images: tensor, or rows in a file.
        labels: likewise.
        name: of the data set.
    """

    images: Tensor | ArrayRows
    labels: Tensor | ArrayRows
    name: str = "the data"

    def __len__(self) -> int:
        return len(self.images)

    def load(self, indices: Tensor, preprocessing: Preprocessing) -> Batch:
        """The images or tokens at ``indices``, uint8 scaled to [0, 1].

        Raises:
            NamedDataError: they do not fit into memory, or the file has changed.
        """
        channels, *sides = self.images.shape[1:]
        pixels_each = preprocessing.most_pixels(*sides) if len(sides) == 2 else math.prod(sides)
        require_room(len(indices), channels * pixels_each, self.name)
        labels = self.labels[indices]
        targets = labels if labels.is_floating_point() else labels.long()
        return preprocessing.resize(unit_range(self.images[indices])), targets

    def name_of(self, index: int) -> str:
        """Example ``index`` of the data set."""
        return f"example {index} of {self.name}"


@dataclass(frozen=True)
class DatasetSplit:
    """A map-style data set of (image, label), read example by example.

    Attributes:
        dataset: anything with ``__len__`` and ``__getitem__``; images are tensors (C, H, W) or PIL images.
        example_name: what to call example i in an error message.
    """

    dataset: Any
    example_name: Callable[[int], str]

    def __len__(self) -> int:
        return len(self.dataset)

    def load(self, indices: Tensor, preprocessing: Preprocessing) -> Batch:
        """The images or tokens at ``indices``, stacked.

        Raises:
            NamedDataError: an image that cannot be read or is of another size than the first, or too much for memory.
        """
        numbers = indices.tolist()
        first = self._example(numbers[0], preprocessing)
        require_room(len(numbers), first[0].numel(), f"The data set of {self.name_of(numbers[0])}")
        return stacked([first, *(self._example(index, preprocessing) for index in numbers[1:])], numbers, self.name_of)

    def name_of(self, index: int) -> str:
        """The name that the data set has for example ``index``."""
        return self.example_name(index)

    def _example(self, index: int, preprocessing: Preprocessing) -> Batch:
        try:
            example = self.dataset[index]
        except (Exception, SystemExit) as error:  # the data set may be the user's own, which raises whatever it likes
            raise NamedDataError(
                f"Cannot read {self.name_of(index)}: {kind_and_line(error)}.", "Replace or remove it."
            ) from error
        inputs, target = read_example(example, self.name_of(index))
        if preprocessing.image_size is not None:
            require_image(inputs, self.name_of(index))
        return preprocessing.resize(inputs), target


def stacked(examples: list[Batch], numbers: list[int], name_of: Callable[[int], str]) -> Batch:
    """Examples as one batch.

    Raises:
        NamedDataError: an image or a label of another shape than the first.
    """
    shape, label_shape = (part.shape for part in examples[0])
    for number, (image, label) in zip(numbers, examples, strict=True):
        if label.shape != label_shape:
            raise NamedDataError(
                f"The label of {name_of(number)} is {tuple(label.shape)}, the first {tuple(label_shape)}.",
                "Give every example a label of one shape.",
            )
        require_shape(name_of(number), tuple(image.shape), tuple(shape))
    images, labels = zip(*examples, strict=True)
    return torch.stack(images), torch.stack(labels)


def require_shape(name: str, shape: tuple[int, ...], first: tuple[int, ...]) -> None:
    """Refuse an image of another shape than the first.

    Raises:
        UnequalSizesError: with both shapes.
    """
    if shape != first:
        raise UnequalSizesError(
            f"{name} is {shape}, the first image {first}.",
            f"Have them resized, for example with {named('image_size')} 224, or give all images one size.",
        )


def require_room(count: int, numbers: int, name: str) -> None:
    """Refuse what can only end with the process killed: images that together fill half of this machine's memory.

    Args:
        count: how many images are wanted at once.
        numbers: float32 numbers in each.
        name: of the data.

    Raises:
        NamedDataError: with what is needed and what there is.
    """
    needed, memory = 4 * count * numbers, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > memory // 2:
        raise NamedDataError(
            f"{name}: {count} images at once take {needed / 2**30:.0f} GiB, this machine has {memory / 2**30:.0f}.",
            f"Lower {named('batch_size')}, or use smaller images.",
        )


def require_finite(split: Split, indices: Tensor, tensor: Tensor) -> None:
    """Refuse values that are not finite.

    Args:
        split: where from.
        indices: of the examples.
        tensor: their inputs or targets.

    Raises:
        NamedDataError: naming the first such example.
    """
    finite = torch.isfinite(tensor).reshape(len(tensor), -1).all(1)
    if not bool(finite.all()):
        culprit = int(indices[int(finite.int().argmin())])
        raise NamedDataError(f"{split.name_of(culprit)} has values that are NaN or infinite.", "Clean the data set.")


def require_image(inputs: Tensor, name: str) -> None:
    """Refuse to resize what is no image.

    Raises:
        NamedDataError: with its shape.
    """
    if inputs.ndim != 3 or not inputs.numel():
        found = tuple(inputs.shape)
        raise NamedDataError(
            f"Cannot resize {name}: expected an image (C, H, W), found {found}.",
            f"Give {named('image_size')} 0, or images.",
            expected="an image (C, H, W)",
            found=found,
        )
