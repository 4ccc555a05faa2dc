"""The measures to take of a network, and the radii; nothing heavy is imported."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.measures.shared_options import read_numbers
from bnsharp_cli.option_records import OptionRecord, declared_fields, option

EVERY_MEASURE = "all"
"""Stands for the names of all measures."""

_WORDS = (*MEASURES, EVERY_MEASURE)
_RADIUS = next(one for one in declared_fields(MeasureOptions) if one.name == "delta")


def read_radii(texts: Sequence[str]) -> tuple[float, ...]:
    """The radii of all texts, several in one with commas between.

    >>> read_radii(["1e-3,1e-2", "0.1"])
    (0.001, 0.01, 0.1)

    Raises:
        UsageError: a text that is no number.
    """
    return read_numbers(texts, "delta", "positive numbers", "For example 1e-3,1e-2.")


@dataclass(frozen=True)
class Selection(OptionRecord):
    """The measurements of one network: every measure at every radius.

    Attributes:
        measure: names of measures, or ``all``.
        delta: δ of each measurement; ``MeasureOptions.delta`` declares it, and here it may be repeated.

    >>> Selection(("bn", "bn", "keskar")).names
    ('bn', 'keskar')
    """

    measure: tuple[str, ...] = option(
        ("bn",),
        f"{', '.join(_WORDS[:-1])} or {_WORDS[-1]}; repeatable.",
        shown_default="bn",
        metavar="NAME",
        complete=lambda _: _WORDS,
        expected=f"names of {', '.join(_WORDS)}",
        accept=bool,
        example=f"For example {_WORDS[0]}.",
    )
    delta: tuple[float, ...] = option(
        (_RADIUS.default,),
        f"{_RADIUS.declared.help.rstrip('.')}; for a profile several, with commas or repeated.",
        metavar="NUMBERS",
        read=read_radii,
        repeatable=True,
        shown_default=f"{_RADIUS.default:g}",
        expected="positive numbers",
        accept=bool,
        example=_RADIUS.declared.example,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.measure:
            require_measure(name, "measure", EVERY_MEASURE)

    @property
    def names(self) -> tuple[str, ...]:
        """The measures, each once."""
        return measures_named(self.measure)

    def runs(self, options: MeasureOptions) -> tuple[MeasureOptions, ...]:
        """The options of the measurements at each radius.

        Raises:
            UsageError: a radius out of range, or a measure that does not exist for this p.
        """
        if EVERY_MEASURE not in self.measure:
            require_finite_power(self.names, options.power, "measure")
        return tuple(replace(options, delta=radius) for radius in self.delta)


def column_name(measure: str, delta: float | None, several: bool) -> str:
    """What the column of a measure is called in a table of networks.

    Args:
        measure: its name.
        delta: the radius, if it has one.
        several: whether there are several radii.

    >>> column_name("bn", 0.01, several=True), column_name("bn", 0.01, several=False)
    ('bn@0.01', 'bn')
    """
    return f"{measure}@{delta:g}" if several and delta is not None else measure


def measures_named(words: Sequence[str]) -> tuple[str, ...]:
    """The measures that some words name, each once.

    >>> measures_named(["keskar", "bn", "keskar"])
    ('keskar', 'bn')
    """
    return tuple(MEASURES) if EVERY_MEASURE in words else tuple(dict.fromkeys(words))


def require_measure(name: str, argument: str, *further: str) -> None:
    """Refuse what is not the name of a measure.

    Raises:
        UsageError: with the names that are known, and ``further`` ones.
    """
    known = [*MEASURES, *further]
    if name not in known:
        raise UsageError.of(argument, f"one of {', '.join(known)}", name, f"For example {known[0]}.")


def require_finite_power(measures: Iterable[str], power: float, argument: str) -> None:
    """Refuse a measure that does not exist for p = ∞, such as δ-L^p.

    Raises:
        UsageError: it is among ``measures``, which were chosen by ``argument``.
    """
    for name in measures:
        if math.isinf(power) and name in MEASURES and MEASURES[name].finite_power_only:
            raise UsageError(
                f"{named(argument)} {name} needs a finite {named('power')}.",
                "For p = inf name the other measures.",
                argument="power",
                expected="a finite number",
                found=power,
            )
