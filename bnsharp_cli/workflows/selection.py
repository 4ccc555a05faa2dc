"""The measures to take of a checkpoint, and the radii; nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.option_records import OptionRecord, bracketed, declared_fields, option
from bnsharp_cli.workflows.thresholds import require_finite_power, require_measure

_ALL = "all"
_WORDS = (*MEASURES, _ALL)
_RADIUS = next(one for one in declared_fields(MeasureOptions) if one.name == "delta")


@dataclass(frozen=True)
class Selection(OptionRecord):
    """The measurements of one checkpoint: every measure at every radius.

    Attributes:
        measures: names of measures, or ``all``.
        radii: δ of each measurement; ``MeasureOptions.delta`` declares it, and here it may be repeated.

    >>> Selection(("bn", "bn", "keskar")).names
    ('bn', 'keskar')
    """

    measures: tuple[str, ...] = option(
        ("bn",),
        f"{', '.join(_WORDS[:-1])} or {_WORDS[-1]}; repeatable.",
        flag="measure",
        shown_default="bn",
        metavar=bracketed(_WORDS),
        complete=lambda: _WORDS,
    )
    radii: tuple[float, ...] = option(
        (_RADIUS.default,),
        f"{_RADIUS.declared.help.rstrip('.')}; repeatable for a profile.",
        flag=_RADIUS.flag,
        shown_default=f"{_RADIUS.default:g}",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.measures:
            require_measure(name, "measures", _ALL)

    @property
    def names(self) -> tuple[str, ...]:
        """The measures, each once."""
        return tuple(MEASURES) if _ALL in self.measures else tuple(dict.fromkeys(self.measures))

    def runs(self, options: MeasureOptions) -> tuple[MeasureOptions, ...]:
        """The options of the measurements at each radius.

        Raises:
            UsageError: a radius out of range, or a measure that does not exist for this p.
        """
        require_finite_power(self.names, options.power, "measures")
        return tuple(replace(options, delta=radius) for radius in self.radii)
