"""Where labelled images come from: arrays, folders of images, torchvision, or a factory of the user's."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bnsharp_cli.errors import DataRefusedError, UsageError
from bnsharp_cli.io.factories import run_factory
from bnsharp_cli.io.preprocessing import Preprocessing
from bnsharp_cli.io.text import kind_and_line

TORCHVISION = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "mnist": "MNIST",
    "fashionmnist": "FashionMNIST",
    "svhn": "SVHN",
}
_DIGITS_TEST_FRACTION = 0.2


@dataclass(frozen=True)
class ArraySplit:
    """Examples held in memory: images (N, C, H, W), uint8 or floating, and targets (N, …)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def load(self, indices: Tensor, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
        """Floating images at ``indices``, uint8 scaled to [0, 1]."""
        return preprocessing.resize(_unit_range(self.images[indices])), self.labels[indices]


@dataclass(frozen=True)
class DatasetSplit:
    """A map-style data set of (image, label), read example by example.

    Attributes:
        dataset: anything with ``__len__`` and ``__getitem__``; images are tensors (C, H, W) or PIL images.
        name_of: what to call example i in an error message.
    """

    dataset: Any
    name_of: Callable[[int], str]

    def __len__(self) -> int:
        return len(self.dataset)

    def load(self, indices: Tensor, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
        """Floating images at ``indices``, stacked.

        Raises:
            DataRefusedError: an image that cannot be read, or of another size than the first.
        """
        examples = [self._example(int(index), preprocessing) for index in indices]
        shape, label_shape = (part.shape for part in examples[0])
        for index, (image, label) in zip(indices.tolist(), examples, strict=True):
            if label.shape != label_shape:
                raise DataRefusedError(
                    f"The label of {self.name_of(index)} is {tuple(label.shape)}, the first {tuple(label_shape)}.",
                    "Give every example one class number.",
                )
            if image.shape != shape:
                raise DataRefusedError(
                    f"{self.name_of(index)} is {tuple(image.shape)}, the first image {tuple(shape)}.",
                    "Give all images one size, or a checkpoint whose preprocessing resizes them.",
                )
        images, labels = zip(*examples, strict=True)
        return torch.stack(images), torch.stack(labels)

    def _example(self, index: int, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
        try:
            image, label = self.dataset[index]
            return preprocessing.resize(_unit_range(_pixels(image))), torch.as_tensor(label)
        except (Exception, SystemExit) as error:  # the data set may be the user's own, which raises whatever it likes
            raise DataRefusedError(
                f"Cannot read {self.name_of(index)}: {kind_and_line(error)}.", "Replace or remove it."
            ) from error


def digits(split: str) -> ArraySplit:
    """scikit-learn's 1,797 handwritten 8 × 8 digits, a fixed stratified fifth of them for testing."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=_DIGITS_TEST_FRACTION, random_state=0, stratify=labels
    )
    chosen = np.sort(train if split == "train" else test)
    images = torch.from_numpy(pixels[chosen].astype(np.float32)).reshape(-1, 1, 8, 8) / 16
    return ArraySplit(images, torch.from_numpy(labels[chosen].astype(np.int64)))


def folder(root: Path, split: str) -> DatasetSplit:
    """A folder of class folders of images, or one that has ``train`` and ``test`` folders of that form.

    Raises:
        DataRefusedError: no such folder, split, class or image.
    """
    from torchvision.datasets import ImageFolder

    has_splits = (root / "train").is_dir() or (root / "test").is_dir()
    chosen = root / split if has_splits else root
    if not has_splits and split == "test":
        raise DataRefusedError(f"{root} has no 'test' folder.", "Use --split train, or add DIR/train and DIR/test.")
    try:
        images = ImageFolder(str(chosen))
    except (OSError, FileNotFoundError) as error:
        raise DataRefusedError(
            f"{chosen} is not a folder of class folders with images: {str(error).splitlines()[0]}",
            "Lay it out as DIR/[train|test]/CLASS/IMAGE.",
        ) from error
    return DatasetSplit(images, lambda index: str(images.samples[index][0]))


def npz(path: Path, split: str) -> ArraySplit:
    """Arrays ``x`` (N, C, H, W) and ``y`` (N, …) of a NumPy archive; ``x_test``, ``y_test`` for the test split.

    Raises:
        DataRefusedError: no such file or arrays, wrong shapes, or pickled objects.
    """
    names = ("x", "y") if split == "train" else ("x_test", "y_test")
    remedy = "Save it with numpy.savez(FILE, x=images, y=labels): x of shape (N, C, H, W), y (N,), no objects."
    try:
        with np.load(path, allow_pickle=False) as archive:
            x, y = (np.asarray(archive[name]) for name in names)
    except (OSError, KeyError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise DataRefusedError(f"Cannot read {names[0]}, {names[1]} from {path}: {error}.", remedy) from error
    if x.ndim != 4 or len(x) != len(y) or x.dtype.kind not in "fu" or y.dtype.kind not in "fiu":
        raise DataRefusedError(
            f"{path}: expected x (N, C, H, W) and y (N, …), found {x.dtype}{x.shape} and {y.dtype}{y.shape}.",
            remedy,
        )
    targets = y.astype(np.float32 if y.dtype.kind == "f" else np.int64)
    return ArraySplit(torch.from_numpy(x if x.dtype == np.uint8 else x.astype(np.float32)), torch.from_numpy(targets))


def torchvision_split(name: str, split: str, root: Path | None, download: bool) -> DatasetSplit:
    """One of torchvision's data sets, from ``root``.

    Raises:
        UsageError: no root was given.
        DataRefusedError: the data is not there and must not be downloaded.
    """
    from torchvision import datasets

    if root is None:
        raise UsageError(f"--data {name} needs a folder.", "Name the folder that holds it with --data-root DIR.")
    which: dict[str, Any] = {"split": split} if name == "svhn" else {"train": split == "train"}
    try:
        dataset = getattr(datasets, TORCHVISION[name])(str(root), download=download, **which)
    except (RuntimeError, OSError) as error:
        raise DataRefusedError(
            f"{name} is not in {root}: {str(error).splitlines()[0]}", "Check --data-root, or add --download."
        ) from error
    return DatasetSplit(dataset, lambda index: f"{name} example {index}")


def factory(spec: str, split: str) -> DatasetSplit:
    """A data set that the user's own ``package.module:factory`` or ``file.py:factory`` returns for ``split``."""
    dataset = run_factory(spec, split)
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise DataRefusedError(
            f"{spec}('{split}') returned {type(dataset).__name__}, expected a map-style data set.",
            "Return an object with __len__ and __getitem__ giving (image, label).",
        )
    return DatasetSplit(dataset, lambda index: f"{spec} example {index}")


def _pixels(image: Any) -> Tensor:
    """(C, H, W) of a tensor or of a PIL image."""
    if isinstance(image, Tensor):
        return image
    array = np.array(image)
    return torch.from_numpy(array if array.ndim == 3 else array[..., None]).movedim(-1, 0)


def _unit_range(images: Tensor) -> Tensor:
    if images.dtype == torch.uint8:
        return images.float() / 255
    return images.float()
