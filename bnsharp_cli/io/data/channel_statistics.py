"""The mean and the standard deviation of each colour channel of a data set."""

from __future__ import annotations

from dataclasses import replace

import torch

from bnsharp_cli.errors import DataRefusedError
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.splits import Split

_MOST_EXAMPLES = 10_000
_MOST_NUMBERS = 2**28
_SMALLEST_STD = 1e-6
_DECIMALS = 6


def channel_statistics(
    split: Split, resized: Preprocessing | None = None, limit: int = _MOST_EXAMPLES
) -> Preprocessing:
    """Return ``resized`` with the mean and standard deviation of each colour channel over the first examples.

    Args:
        split: where from.
        resized: what is done to the images' size.
        limit: how many examples at most; fewer of large images.

    Raises:
        DataRefusedError: an example is a single number, which has no channels.
    """
    base = resized or Preprocessing()
    first, _ = split.load(torch.arange(1), base)
    if first.ndim < 2:
        raise DataRefusedError("Each example is a single number.", "Give images (C, H, W), or other arrays (C, …).")
    count = min(len(split), limit, max(1, _MOST_NUMBERS // first.numel()))
    images, _ = split.load(torch.arange(count), base)
    channels = images.double().movedim(1, 0).flatten(1)
    mean, std = channels.mean(dim=1), channels.std(dim=1, correction=0).clamp_min(_SMALLEST_STD)
    return replace(base, mean=_rounded(mean), std=_rounded(std))


def _rounded(values: torch.Tensor) -> tuple[float, ...]:
    return tuple(round(value, _DECIMALS) for value in values.tolist())
