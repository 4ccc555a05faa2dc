"""Numbers of an archive that do not fit into the types that networks take."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from bnsharp_cli.io.data.archives import open_archive
from bnsharp_cli.io.data.naming import NamedDataError
from bnsharp_cli.io.data.preprocessing import Preprocessing


def write(folder: Path, x: np.ndarray, y: np.ndarray) -> Path:
    np.savez(folder / "data.npz", x=x, y=y, x_test=x, y_test=y)
    return folder / "data.npz"


def test_an_unsigned_label_never_becomes_a_negative_one(tmp_path: Path) -> None:
    """2^64 - 100 would be -100, the label that cross entropy leaves out."""
    path = write(tmp_path, np.zeros((4, 1, 8, 8), np.uint8), np.full(4, 2**64 - 100, np.uint64))
    with pytest.raises(NamedDataError, match="more than a label"):
        open_archive(path, "train").load(torch.arange(4), Preprocessing())


def test_small_unsigned_labels_are_labels(tmp_path: Path) -> None:
    path = write(tmp_path, np.zeros((4, 1, 8, 8), np.uint8), np.arange(4, dtype=np.uint64))
    labels = open_archive(path, "train").load(torch.arange(4), Preprocessing())[1]
    assert labels.tolist() == [0, 1, 2, 3]


def test_numbers_beyond_float64_bring_no_warning(tmp_path: Path) -> None:
    x = np.full((4, 1, 8, 8), np.finfo(np.longdouble).max)
    path = write(tmp_path, x, np.arange(4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = open_archive(path, "train").load(torch.arange(4), Preprocessing())[0]
    assert bool(torch.isinf(images).all())
