"""How many samples make an interval so much narrower, if samples go on as they are."""

from __future__ import annotations

import math

_MOST = 1e12


def samples_until(narrower: float, measured: float, available: float | None) -> int | None:
    """How many samples have an interval that many times as wide as that of the measured ones.

    It falls as √(1/n − 1/N) does for n of N samples.

    Args:
        narrower: the wanted width over the present one.
        measured: n of the present one.
        available: N; None for samples without end.

    Returns:
        The number; None where no number is enough, or too many are.

    >>> samples_until(0.5, 100, None), samples_until(0.5, 100, 200), samples_until(0.0, 100, None)
    (400, 160, None)
    """
    every = 1 / available if available else 0.0
    wanted = narrower**2 * (1 / measured - every) + every
    needed = 1 / wanted if wanted > 0 else math.inf
    return math.ceil(needed) if needed < _MOST else None
