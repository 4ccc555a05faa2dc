"""What a figure measures: the measures and radii of each kind; nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.measures.selection import Selection, read_radii
from bnsharp_cli.option_records import OptionRecord, declared_fields, option

_MEASURE, _RADIUS = declared_fields(Selection)
_SEVERAL_RADII = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)


@dataclass(frozen=True)
class KindSelection:
    """What one kind of figure measures.

    Attributes:
        measures: where none is named.
        radii: where none is given.
        measures_chosen: whether others may be named.
        radii_chosen: whether there may be several.
        test_data: whether it shows what the network does on test data.
        particular: options of single measures that it takes.
    """

    measures: tuple[str, ...] = ("bn",)
    radii: tuple[float, ...] = Selection.delta
    measures_chosen: bool = False
    radii_chosen: bool = False
    test_data: bool = False
    particular: tuple[tuple[str, Any], ...] = ()


AROUND_A_NETWORK = KindSelection()
"""Of the kinds that are drawn around a network, and do not show what was measured."""

SELECTIONS: Mapping[str, KindSelection] = {
    "delta": KindSelection(radii=_SEVERAL_RADII, measures_chosen=True, radii_chosen=True),
    "layers": KindSelection(particular=(("by", "layer"),)),
    "spectrum": KindSelection(("hessian",)),
    "training": KindSelection(measures_chosen=True, radii_chosen=True, test_data=True),
}
"""Those of the kinds that show what was measured."""


@dataclass(frozen=True)
class FigureSelection(OptionRecord):
    """The measures and radii of a figure.

    Attributes:
        measure: names of measures, or ``all``; empty for those of the kind.
        delta: δ; empty for those of the kind.
    """

    measure: tuple[str, ...] = option(
        (),
        "Measures of a figure over δ or along a training; repeatable.",
        shown_default="bn",
        metavar="NAME",
        complete=_MEASURE.declared.complete,
        expected=_MEASURE.declared.expected,
        example=_MEASURE.declared.example,
    )
    delta: tuple[float, ...] = option(
        (),
        _RADIUS.declared.help,
        metavar="NUMBERS",
        read=read_radii,
        repeatable=True,
        shown_default=f"0.001; over δ {', '.join(f'{radius:g}' for radius in _SEVERAL_RADII)}",
        expected=_RADIUS.declared.expected,
        example=_RADIUS.declared.example,
    )

    def of(self, kind: str) -> Selection:
        """What a kind of figure measures.

        >>> FigureSelection(delta=(1e-2,)).of("profile")
        Selection(measure=('bn',), delta=(0.01,))

        Raises:
            UsageError: measures or several radii for a kind that has its own, or a measure without a radius over δ.
        """
        own = SELECTIONS.get(kind, AROUND_A_NETWORK)
        if self.measure and not own.measures_chosen:
            remedy = f"The figure {kind} shows {own.measures[0]}: leave it out."
            raise UsageError.of("measure", f"nothing for the figure {kind}", ", ".join(self.measure), remedy)
        if len(self.delta) > 1 and not own.radii_chosen:
            remedy = "For example 0.001; the figure delta shows several."
            raise UsageError.of("delta", f"one number for the figure {kind}", [*self.delta], remedy)
        chosen = Selection(self.measure or own.measures, self.delta or own.radii)
        without = [name for name in chosen.names if not MEASURES[name].has_radius] if kind == "delta" else []
        if without and "all" not in chosen.measure:
            raise UsageError.of("measure", "measures that have a radius", ", ".join(without), "For example bn.")
        return chosen


def particular_of(kind: str) -> Mapping[str, Any]:
    """The options of single measures that a kind of figure takes, whatever is given."""
    return dict(SELECTIONS.get(kind, AROUND_A_NETWORK).particular)


def require_shown(kind: str, test_data: str | None) -> None:
    """Refuse test data for a figure that shows nothing of it.

    Raises:
        UsageError: any other than a training.
    """
    if test_data is not None and not SELECTIONS.get(kind, AROUND_A_NETWORK).test_data:
        remedy = "The figure training shows it: leave it out."
        raise UsageError.of("test_data", f"nothing for the figure {kind}", test_data, remedy)
