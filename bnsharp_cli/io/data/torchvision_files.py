"""The files that torchvision opens by their names, looked at before it does: it waits for pipes and reads devices.

CIFAR and SVHN are files of known digests, which torchvision compares before it reads anything else of them. MNIST's
have no digest and are read whole, so their sizes must be what their first numbers say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bnsharp_cli.io.data.naming import NamedDataError
from bnsharp_cli.io.files.printable_text import escaped
from bnsharp_cli.io.files.regular_files import RegularFile, open_regular, reason_of

LARGEST_FILE_OF_TORCHVISION = 2**28
"""Bytes; the largest, SVHN's training split, has 182 million."""

_IDX_BYTES = 8
"""The type of numbers in MNIST's files: bytes."""

_PARTS = {"train": "train", "test": "t10k"}


class UnsoundTorchvisionFileError(Exception):
    """What is wrong with a file, as a predicate."""


def require_sound_files(dataset: Any, root: Path, split: str) -> None:
    """Refuse files that torchvision would read without end, or not as what they say.

    Args:
        dataset: the class of torchvision.
        root: the folder that is given to it.
        split: ``train`` or ``test``.

    Raises:
        NamedDataError: a file that is there and is no regular file, is too large, or contradicts itself.
    """
    counts = set()
    for path in _paths(dataset, root, split):
        try:
            with open_regular(path) as file:
                if file.size > LARGEST_FILE_OF_TORCHVISION:
                    raise UnsoundTorchvisionFileError(f"it takes {file.size / 2**20:.0f} MiB")
                if path.parent.name == "raw":
                    counts.add(_examples(file, 3 if "images" in path.name else 1))
        except FileNotFoundError:
            continue  # torchvision says so
        except (OSError, ValueError, UnsoundTorchvisionFileError) as error:
            raise NamedDataError(
                f"Cannot read {escaped(path)}: {reason_of(error)}.", "Download the data set again."
            ) from error
    if len(counts) > 1:
        raise NamedDataError(
            f"Cannot read {escaped(path.parent)}: it has not as many images as labels.", "Download the data set again."
        )


def without_old_tensors(dataset: Any) -> Any:
    """The class, but never reading the ``processed`` folder of torchvision before 0.9, which holds pickled tensors."""
    if not hasattr(dataset, "_check_legacy_exist"):
        return dataset
    return type(dataset.__name__, (dataset,), {"_check_legacy_exist": lambda _: False})


def _paths(dataset: Any, root: Path, split: str) -> Iterator[Path]:
    """The files that torchvision opens."""
    if hasattr(dataset, "split_list"):
        yield root / dataset.split_list[split][1]
    elif hasattr(dataset, "base_folder"):
        names = [name for name, _ in (*dataset.train_list, *dataset.test_list)]
        yield from (root / dataset.base_folder / name for name in (*names, dataset.meta["filename"]))
    else:
        raw, part = root / dataset.__name__ / "raw", _PARTS[split]
        yield from (raw / f"{part}-{name}" for name in ("images-idx3-ubyte", "labels-idx1-ubyte"))


def _examples(file: RegularFile, dimensions: int) -> int:
    """How many there are in a file of MNIST's format."""
    head = file.read(0, 4 * (1 + dimensions))
    numbers = [int.from_bytes(head[at : at + 4]) for at in range(0, len(head), 4)]
    right = len(head) == 4 * (1 + dimensions) and numbers[0] == 256 * _IDX_BYTES + dimensions
    if not right or math.prod(numbers[1:]) != file.size - len(head) or file.size == len(head):
        raise UnsoundTorchvisionFileError("its size is not what its first numbers say")
    return numbers[1]
