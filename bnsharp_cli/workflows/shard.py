"""A share of many checkpoints, for the array jobs of a cluster."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bnsharp_cli.errors import UsageError

_FORM = re.compile(r"(\d+)/(\d+)")


def shard_of(checkpoints: Sequence[Path], shard: str) -> list[Path]:
    """The checkpoints i, i + n, i + 2n, … of the sorted list, counted from 1, for ``shard`` = ``i/n``.

    Raises:
        UsageError: not of that form, or not 1 ≤ i ≤ n.
    """
    match = _FORM.fullmatch(shard)
    index, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= index <= count:
        raise UsageError.of("shard", "i/n with 1 ≤ i ≤ n", shard, "For example 1/8, 2/8, … 8/8.")
    return sorted(checkpoints)[index - 1 :: count]
