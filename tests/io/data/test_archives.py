"""Compressed archives, held against NumPy's own reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bnsharp_cli.io.data.archives import open_archive
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.files.regular_files import CHUNK

_HEADER = 128
"""Bytes of a member before its numbers."""


@pytest.mark.parametrize("beyond", [-1, 0, 1, 2, 100, 257, 258, 259, 1000])
@pytest.mark.parametrize("noisy", [0, 1000])
def test_a_compressed_array_ends_where_numpy_says(tmp_path: Path, beyond: int, noisy: int) -> None:
    """Inside of zlib up to 258 bytes may wait when all that is packed was handed over."""
    labels = np.zeros(2 * CHUNK + beyond - _HEADER, np.uint8)
    labels[:noisy] = np.random.default_rng(0).integers(0, 256, noisy)
    np.savez_compressed(tmp_path / "data.npz", x=labels.reshape(-1, 1, 1, 1), y=labels)
    _, read = open_archive(tmp_path / "data.npz", "train").load(torch.arange(len(labels)), Preprocessing())
    with np.load(tmp_path / "data.npz") as archive:
        assert torch.equal(read, torch.from_numpy(archive["y"]).long())
