"""What the loss, the accuracy and the measures of a checkpoint may be; nothing heavy is imported."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.measurement.invariance.options import RescaleOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.measures.selection import require_finite_power, require_measure
from bnsharp_cli.option_records import OptionRecord, option, same_option

INVARIANCE = "invariance"
"""The check that can be skipped; the others are asked for one by one."""

_EXAMPLE = "For example bn=4.5."


def read_limits(pairs: Sequence[str]) -> Mapping[str, float]:
    """``MEASURE=VALUE`` pairs as a mapping.

    >>> dict(read_limits(["bn=4.5"]))
    {'bn': 4.5}

    Raises:
        UsageError: a pair that is none, an unknown measure, or one with two limits.
    """
    limits: dict[str, float] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        require_measure(name, "limits")
        _require_sharp_when_large(name)
        if name in limits:
            raise UsageError(f"{named('limits')}: {name} has two limits.", "Give one.", argument="limits")
        try:
            limits[name] = float(text)
        except ValueError as error:
            raise UsageError.of("limits", "MEASURE=NUMBER", pair, _EXAMPLE) from error
        if math.isnan(limits[name]):
            raise UsageError.of("limits", "a number", pair, _EXAMPLE)
    return limits


@dataclass(frozen=True)
class Thresholds(OptionRecord):
    """What a checkpoint must satisfy; None for anything.

    Attributes:
        max_loss: the highest loss.
        min_accuracy: the lowest accuracy, in [0, 1].
        limits: the highest value of measures, by their names.
        tolerance: allowed relative deviation of BN-Sharpness on rescaled copies; None for the stated rounding floor.
        skip: a check that is left out: ``invariance``; None for none.
    """

    max_loss: float | None = option(
        None,
        "Fail above this loss.",
        expected="a number",
        accept=lambda loss: not math.isnan(loss),
        example="For example 0.1.",
    )
    min_accuracy: float | None = option(
        None,
        "Fail below this accuracy, in [0, 1].",
        expected="a number in [0, 1]",
        accept=lambda accuracy: 0 <= accuracy <= 1,
        example="For example 0.9.",
    )
    limits: Mapping[str, float] | None = option(
        None,
        "Fail above this value of a measure; repeatable.",
        flag="max",
        metavar="MEASURE=VALUE",
        read=read_limits,
        repeatable=True,
        complete=lambda _: (f"{name}=" for name, entry in MEASURES.items() if not entry.large_is_flat),
        expected="numbers by the names of measures",
        accept=lambda limits: all(name in MEASURES and not math.isnan(limit) for name, limit in limits.items()),
        example="For example {'bn': 4.5}.",
    )
    tolerance: float | None = same_option(RescaleOptions, "tolerance")
    skip: Literal["invariance"] | None = option(None, "Leave out the check that BN-Sharpness is invariant.")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.limits or ():
            _require_sharp_when_large(name)

    def require_power(self, power: float) -> None:
        """Refuse a limit of a measure that does not exist for this p.

        Raises:
            UsageError: a limit of δ-L^p for p = ∞.
        """
        require_finite_power(self.limits or (), power, "limits")


def _require_sharp_when_large(name: str) -> None:
    """Refuse a highest value of a measure of which the flattest networks have the highest.

    Raises:
        UsageError: it is such a measure.
    """
    if MEASURES[name].large_is_flat:
        raise UsageError(
            f"{named('limits')}: a large {name} is flat, so a highest value would let the sharpest networks pass.",
            "Limit another measure, such as noise.",
            argument="limits",
            expected="a measure of which sharp networks have a large value",
            found=name,
        )
