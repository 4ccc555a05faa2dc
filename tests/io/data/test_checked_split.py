"""A whole split, read once and checked."""

from __future__ import annotations

import pytest
import torch

from bnsharp_cli.errors import DataRefusedError
from bnsharp_cli.io.data.checked_split import read_checked
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.splits import ArraySplit


@pytest.mark.parametrize("resident", [0, 10**9])
def test_a_whole_split_is_checked_whether_it_stays_or_not(resident: int) -> None:
    images = torch.rand(300, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    split, preprocessing = ArraySplit(images, torch.arange(300) % 7, "mine"), Preprocessing(None, (0.5,), (0.2,))
    whole = read_checked(split, preprocessing, resident)
    assert torch.equal(whole.targets, torch.arange(300) % 7)
    assert whole.shape == (1, 2, 2)
    assert (whole.inputs is None) == (resident == 0)
    inputs, targets = whole.read(torch.tensor([299, 3]))
    assert torch.equal(inputs, preprocessing.normalise(images[[299, 3]]))
    assert targets.tolist() == [5, 3]
    images[290, 0, 1, 1] = torch.nan
    with pytest.raises(DataRefusedError, match="example 290 of mine has values that are NaN"):
        read_checked(split, preprocessing, resident)
    with pytest.raises(DataRefusedError, match="no examples"):
        read_checked(ArraySplit(images[:0], torch.zeros(0)), preprocessing, resident)
