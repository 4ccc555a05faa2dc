"""What the loss, the accuracy and the measures of a checkpoint may be; nothing heavy is imported."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.measurement.invariance.options import RescaleOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.measures.selection import require_finite_power
from bnsharp_cli.option_records import OptionRecord, option, same_option
from bnsharp_cli.workflows.limited_names import SHARE, LimitedName, offered_names

INVARIANCE, BUFFERS = "invariance", "buffers"
"""The checks that can be skipped; the others are asked for one by one."""

_LIMIT, _CHANGE = "For example bn=4.5.", "For example noise=10% or bn=0.3abs."
_ABSOLUTE = "abs"


@dataclass(frozen=True)
class Change:
    """How far a number may be from that of the baseline.

    Attributes:
        amount: the difference, or its share of the baseline's.
        absolute: which of the two.

    >>> Change.read("10%", "max_increase"), Change.read("0.3abs", "max_increase")
    (Change(amount=0.1, absolute=False), Change(amount=0.3, absolute=True))
    """

    amount: float
    absolute: bool

    def __str__(self) -> str:
        """The text that is read as it."""
        return f"{self.amount:g}{_ABSOLUTE}" if self.absolute else f"{100 * self.amount:g}%"

    @classmethod
    def read(cls, text: object, argument: str) -> Self:
        """A change from its text, or as it is.

        Raises:
            UsageError: it is neither a share such as ``10%`` nor a difference such as ``0.3abs``, or below zero.
        """
        if isinstance(text, cls):
            return text
        words = text if isinstance(text, str) else ""
        absolute = words.endswith(_ABSOLUTE)
        amount = _number(words.removesuffix(_ABSOLUTE)) if absolute or words.endswith("%") else math.nan
        if not amount >= 0:
            raise UsageError.of(argument, "a share such as 10% or a difference such as 0.3abs", text, _CHANGE)
        return cls(amount, absolute)


def read_limits(pairs: Sequence[str]) -> Mapping[str, str]:
    """``NAME=VALUE`` pairs as a mapping.

    >>> dict(read_limits(["bn=4.5"]))
    {'bn': '4.5'}
    """
    return _pairs(pairs, "limits", _LIMIT)


def read_least(pairs: Sequence[str]) -> Mapping[str, str]:
    """The same for lowest values."""
    return _pairs(pairs, "least", "For example accuracy=90%.")


def read_increases(pairs: Sequence[str]) -> Mapping[str, str]:
    """The same for increases."""
    return _pairs(pairs, "max_increase", _CHANGE)


def read_decreases(pairs: Sequence[str]) -> Mapping[str, str]:
    """The same for decreases."""
    return _pairs(pairs, "max_decrease", _CHANGE)


def _pairs(pairs: Sequence[str], argument: str, example: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.rpartition("=")
        if not equals or not name:
            raise UsageError.of(argument, "NAME=VALUE", pair, example)
        if name in found:
            raise UsageError(f"{named(argument)}: {name} has two limits.", "Give one.", argument=argument)
        found[name] = text
    return found


def _option(words: str, flag: str, read: Any, metavar: str, example: str) -> Any:
    return option(
        None,
        words,
        flag=flag,
        metavar=metavar,
        read=read,
        repeatable=True,
        complete=lambda beginning: (f"{name}=" for name in offered_names(beginning)),
        expected="values by the names of what is limited",
        accept=lambda limits: isinstance(limits, Mapping),
        example=example,
    )


@dataclass(frozen=True)
class Thresholds(OptionRecord):
    """What a checkpoint must satisfy; None for anything.

    A name is that of a measure, ``loss``, ``accuracy``, ``dead-rows`` or ``share:LAYER``, the layer's share of ``bn``.
    With ``@DELTA`` behind it is limited at that δ alone, else at every δ. Values are numbers or texts such as ``40%``.

    Attributes:
        limits: the highest values, by names.
        least: the lowest values, by names.
        max_increase: how far values may be above the baseline's: ``10%`` of it, or ``0.3abs``.
        max_decrease: how far they may be below.
        tolerance: allowed relative deviation of BN-Sharpness on rescaled copies; None for the stated rounding floor.
        skip: checks that are left out: ``invariance``, ``buffers``.

    >>> Thresholds(limits={"share:conv1": "40%"}).limits
    {'share:conv1': 0.4}
    """

    limits: Mapping[str, Any] | None = _option(
        f"Highest value of a measure, loss or {SHARE}LAYER; NAME@DELTA at one radius; repeatable.",
        "max",
        read_limits,
        "NAME=VALUE",
        _LIMIT,
    )
    least: Mapping[str, Any] | None = _option(
        "Lowest value, such as accuracy=90%; repeatable.", "min", read_least, "NAME=VALUE", "For example accuracy=90%."
    )
    max_increase: Mapping[str, Any] | None = _option(
        "Highest increase over the baseline: noise=10%, bn=0.3abs; repeatable.",
        "max-increase",
        read_increases,
        "NAME=CHANGE",
        _CHANGE,
    )
    max_decrease: Mapping[str, Any] | None = _option(
        "Highest decrease: accuracy=1% (of the baseline's), accuracy=0.01abs; repeatable.",
        "max-decrease",
        read_decreases,
        "NAME=CHANGE",
        "For example accuracy=1%.",
    )
    tolerance: float | None = same_option(RescaleOptions, "tolerance")
    skip: tuple[Literal["invariance", "buffers"], ...] = option(
        (), "Leave out the check that BN-Sharpness is invariant, or that of norm buffers; repeatable."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for argument in ("limits", "least"):
            self._set(argument, lambda value, argument=argument: _value(value, argument))
        for argument in ("max_increase", "max_decrease"):
            self._set(argument, lambda value, argument=argument: Change.read(value, argument))
        for argument in ("limits", "max_increase"):
            for name in getattr(self, argument) or ():
                _require_sharp_when_large(LimitedName.read(name, argument), argument)

    @property
    def names(self) -> list[LimitedName]:
        """Everything that is limited, each once."""
        every = (self.limits, self.least, self.max_increase, self.max_decrease)
        texts = dict.fromkeys(text for each in every for text in each or ())
        return [LimitedName.read(text, "limits") for text in texts]

    @property
    def needs_baseline(self) -> bool:
        """Whether a limit is relative to a baseline."""
        return bool(self.max_increase or self.max_decrease)

    def require_measurable(self, power: float, radii: Sequence[float]) -> None:
        """Refuse a limit of what will not be measured.

        Raises:
            UsageError: a limit of δ-L^p for p = ∞, or at a radius that is not measured.
        """
        for name in self.names:
            if name.measure is not None:
                require_finite_power([name.measure], power, "limits")
            if name.delta is not None and name.delta not in radii:
                known = ", ".join(f"{radius:g}" for radius in radii)
                remedy = f"Add {named('delta')} {name.delta:g}."
                raise UsageError.of("limits", f"a radius among {known}", str(name), remedy)

    def _set(self, argument: str, read: Any) -> None:
        """Read the values of a mapping, once its names are known to be right."""
        given = getattr(self, argument)
        if given is not None:
            names = [str(LimitedName.read(name, argument)) for name in given]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise UsageError(f"{named(argument)}: {twice} has two limits.", "Give one.", argument=argument)
            object.__setattr__(self, argument, dict(zip(names, map(read, given.values()), strict=True)))


def _value(value: object, argument: str) -> float:
    """A number, or a text of one, also as a share."""
    if isinstance(value, str):
        number = _number(value)
    else:
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        number = float(value) if plain else math.nan  # type: ignore[arg-type]  # that is what plain says
    if math.isnan(number):
        raise UsageError.of(argument, "a number, or a share such as 40%", value, _LIMIT)
    return number


def _number(text: str) -> float:
    """The number of a text; NaN where it is none."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        return math.nan


def _require_sharp_when_large(name: LimitedName, argument: str) -> None:
    """Refuse a highest value of a measure of which the flattest networks have the highest.

    Raises:
        UsageError: it is such a measure.
    """
    if name.measure is not None and MEASURES[name.measure].large_is_flat:
        instead = "least" if argument == "limits" else "max_decrease"
        raise UsageError(
            f"{named(argument)}: a large {name.measure} is flat, so a highest value would let the sharpest networks "
            "pass.",
            f"Use {named(instead)} instead.",
            argument=argument,
            expected="a measure of which sharp networks have a large value",
            found=str(name),
        )
