"""Labelled images from elsewhere: scikit-learn, torchvision, or a factory of the user's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.io.data.examples import described
from bnsharp_cli.io.data.naming import NamedDataError
from bnsharp_cli.io.data.splits import ArraySplit, DatasetSplit
from bnsharp_cli.io.data.torchvision_files import require_sound_files, without_old_tensors
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.io.files.printable_text import escaped, kind_and_line
from bnsharp_cli.io.networks.factories import run_factory, users_code

TORCHVISION = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "mnist": "MNIST",
    "fashionmnist": "FashionMNIST",
    "svhn": "SVHN",
}
_DIGITS_TEST_FRACTION = 0.2


def open_digits(split: str) -> ArraySplit:
    """scikit-learn's 1,797 handwritten 8 × 8 digits, a fixed stratified fifth of them for testing."""
    with importing_libraries():
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=_DIGITS_TEST_FRACTION, random_state=0, stratify=labels
    )
    chosen = np.sort(train if split == "train" else test)
    images = torch.from_numpy(pixels[chosen].astype(np.float32)).reshape(-1, 1, 8, 8) / 16
    return ArraySplit(images, torch.from_numpy(labels[chosen].astype(np.int64)), "digits")


def open_torchvision(name: str, split: str, root: Path | None, download: bool) -> DatasetSplit:
    """One of torchvision's data sets, from ``root``.

    Raises:
        UsageError: no root was given.
        NamedDataError: the data is not there and must not be downloaded, or its files are not what they should be.
    """
    with importing_libraries():
        from torchvision import datasets

    if root is None:
        raise UsageError(
            f"{named('data')} {name} needs a folder.",
            f"Name the folder that holds it with {named('data_root')} DIR.",
            argument="data_root",
            expected="the folder of torchvision's data sets",
        )
    which: dict[str, Any] = {"split": split} if name == "svhn" else {"train": split == "train"}
    kind = without_old_tensors(getattr(datasets, TORCHVISION[name]))
    require_sound_files(kind, root, split)
    try:
        dataset = kind(str(root), download=download, **which)
    except Exception as error:  # damaged files end in whatever torchvision's readers stumble over
        raise NamedDataError(
            f"{name} is not in {escaped(root)}: {kind_and_line(error)}",
            f"Check {named('data_root')}, or add {named('download')}.",
        ) from error
    return DatasetSplit(dataset, lambda index: f"{name} example {index}")


def open_factory(spec: str, split: str) -> DatasetSplit:
    """A data set that the user's own ``package.module:factory`` or ``file.py:factory`` returns for ``split``.

    Raises:
        UsageError: the function cannot be imported, or fails.
        NamedDataError: it returns something else, or a data set whose length cannot be told.
    """
    dataset = run_factory("data", spec, split)
    remedy = _remedy_for(dataset, split)
    if remedy or not hasattr(dataset, "__getitem__") or not _has_length(dataset, spec):
        raise NamedDataError(
            f"{escaped(spec)}('{split}') returned {described(dataset)}, expected a map-style data set.",
            remedy or "Return an object with __len__ and __getitem__ giving (image, label).",
            expected="a map-style data set",
            found=described(dataset),
        )
    return DatasetSplit(_UsersDataset(dataset, spec), lambda index: f"{escaped(spec)} example {index}")


@dataclass(frozen=True)
class _UsersDataset:
    """A user's data set, whose own code may import more from the working directory when an example is read.

    Attributes:
        dataset: what the function at ``spec`` returned.
        spec: as the user named it.
    """

    dataset: Any
    spec: str

    def __len__(self) -> int:
        with users_code(self.spec):
            return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        with users_code(self.spec):
            return self.dataset[index]


def _remedy_for(returned: Any, split: str) -> str:
    """What to return instead of something that is often taken for a data set; empty for anything else."""
    if isinstance(returned, torch.utils.data.DataLoader):
        return "Return the data set inside it: loader.dataset."
    if isinstance(returned, torch.utils.data.IterableDataset | Iterator):
        return "Return list(...) of it, if it fits into memory: a measurement reads the same examples again."
    if isinstance(returned, Mapping):
        return f"Return one split of it, such as that under '{split}'."
    arrays = isinstance(returned, tuple | list) and len(returned) == 2
    if arrays and all(isinstance(one, torch.Tensor | np.ndarray) for one in returned):
        return "Return torch.utils.data.TensorDataset of the two, as tensors."
    return ""


def _has_length(dataset: Any, spec: str) -> bool:
    """Whether a user's data set has a length, which is asked for once."""
    if not hasattr(dataset, "__len__"):
        return False
    try:
        with users_code(spec):
            len(dataset)
    except (Exception, SystemExit) as error:  # a user's data set raises whatever it likes
        raise NamedDataError(
            f"The length of {escaped(spec)} cannot be told: {kind_and_line(error)}.", "Mend its __len__."
        ) from error
    return True
