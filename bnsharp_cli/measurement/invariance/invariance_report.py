"""The records of the invariance test: one for each copy, and one for the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnsharp_cli.errors import spelt
from bnsharp_cli.measurement.invariance.copies import RescaledCopy
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.tables import aligned, as_frame, as_html, folded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_IN_A_ROW = {"delta-l2": "δ-L2", "delta-linf": "δ-L∞", "bn": "bn"}
"""Measures of a copy that a table shows, and its headings."""

_IN_THE_PICTURE = {
    "delta-linf": "δ-L∞ sharpness (classical)",
    "delta-l2": "δ-L² sharpness (classical)",
    "bn": "BN-Sharpness",
}
"""Measures of a copy that the picture shows, and their labels."""


@dataclass(frozen=True)
class CopyReport:
    """The measurements of one copy.

    Attributes:
        name: the copy: ``a = 0.01``, ``random 1``, ``a0`` or ``gamma-beta``.
        scale: a, or None where it differs from row to row.
        loss: L of the copy, with ε per channel.
        loss_drift: |L(T_a θ) − L(θ)|, with ε per channel.
        loss_drift_stored_epsilon: the same with ε as stored in the modules.
        measures: the measurements by name.
        lower_bound: a layer that fits into the ball, and Theorem 3.1's lower bound on δ-L∞ for it; None if no layer
            fits.
        deviation: BN-Sharpness of the copy divided by that of the original, minus one.
        tolerance: the largest ``deviation`` that passes.
        floor: the largest ``deviation`` that rounding alone can explain.
        tied: tensors whose rows had to share one a; see ``RescaledCopy.tied``.
        judged: whether the copy computes the same function; if not, the verdict leaves it out.

    >>> CopyReport("a = 2", 2.0, 0.5, loss_drift=0.0, loss_drift_stored_epsilon=1e-6, measures={}).judged
    True
    """

    name: str
    scale: float | None
    loss: float
    loss_drift: float
    loss_drift_stored_epsilon: float
    measures: Mapping[str, Measurement]
    lower_bound: tuple[str, float] | None = None
    deviation: float = 0.0
    tolerance: float = 0.0
    floor: float = 0.0
    tied: tuple[str, ...] = ()
    judged: bool = True

    @property
    def cells(self) -> tuple[str, ...]:
        """What a table shows of it: name, drift of the loss, measures and deviation."""
        found = (self.measures.get(name) for name in _IN_A_ROW)
        values = ("–" if each is None else f"{each.value:.6g}" for each in found)
        return self.name, f"{self.loss_drift:.0e}", *values, f"{self.deviation:.0e}"

    @property
    def row(self) -> dict[str, Any]:
        """What a data frame holds of it, by column; ``scale`` is NaN where it differs from row to row."""
        return {
            "copy": self.name,
            "scale": math.nan if self.scale is None else self.scale,
            "loss": self.loss,
            "loss_drift": self.loss_drift,
            "loss_drift_stored_epsilon": self.loss_drift_stored_epsilon,
            **{name: measured.value for name, measured in self.measures.items()},
            "deviation": self.deviation,
            "tolerance": self.tolerance,
            "judged": self.judged,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as in the JSON schema ``bnsharp/1``."""
        bound = None if self.lower_bound is None else {"layer": self.lower_bound[0], "value": self.lower_bound[1]}
        return {
            **{key: value for key, value in vars(self).items() if key not in {"measures", "lower_bound", "tied"}},
            "tied": list(self.tied),
            "theorem_3_1_lower_bound": bound,
            "measures": {name: measurement.to_dict() for name, measurement in self.measures.items()},
        }


@dataclass(frozen=True, repr=False)
class InvarianceReport:
    """The result of the invariance test; it shows itself as a table and the verdict.

    Attributes:
        copies: the copies under T_a.
        gamma_beta: the copy with (γ, β) scaled, which does not count for the verdict; None if the network has no such
            pairs.
        reference: the original.
        invariant: whether BN-Sharpness deviates on no judged copy by more than is allowed.
        marked_verdict: the verdict in sentences, with arguments marked by :func:`~bnsharp_cli.errors.named`.
        kept: the copies themselves, for whoever saves them.
        notes: what a reader should know of the network.

    >>> original = CopyReport("a = 1", 1.0, 0.5, loss_drift=0.0, loss_drift_stored_epsilon=0.0, measures={})
    >>> InvarianceReport((original,), None, original, True, "BN-Sharpness is invariant.").verdict
    'BN-Sharpness is invariant.'
    """

    copies: tuple[CopyReport, ...]
    gamma_beta: CopyReport | None
    reference: CopyReport
    invariant: bool
    marked_verdict: str
    kept: tuple[RescaledCopy, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """The verdict in sentences; arguments by their names in Python."""
        return spelt(self.marked_verdict)

    def plot(self, title: str = "one function, rescaled") -> Figure:
        """Sharpness against a, of BN-Sharpness and the classical measures, as a figure of matplotlib.

        In a notebook it shows itself; ``plot().savefig("copies.png")`` writes a file.

        Args:
            title: above the picture.
        """
        from bnsharp_cli.figures import draw_invariance

        uniform = {copy.scale: copy for copy in self.copies if copy.scale is not None}
        values = {
            label: [copy.measures[name].value for copy in uniform.values()] for name, label in _IN_THE_PICTURE.items()
        }
        deviation = max(abs(copy.deviation) for copy in uniform.values() if copy.judged)
        return draw_invariance([*uniform], values, f"constant within {deviation:.0e}", title)

    def to_frame(self) -> Any:
        """A ``pandas.DataFrame`` with a row for each copy under T_a.

        Raises:
            BnsharpError: pandas is not installed.
        """
        return as_frame([copy.row for copy in self.copies], "the to_dict() of each of its copies")

    def __repr__(self) -> str:
        """A row for each copy and the verdict, within 80 columns."""
        sentences = (self.verdict, *self.notes)
        return "\n".join([aligned(self._rows), *(folded(sentence.split(), "") for sentence in sentences)])

    def _repr_html_(self) -> str:
        """The same as tables, for notebooks."""
        notes = as_html([["notes"], *([note] for note in self.notes)]) if self.notes else ""
        return as_html(self._rows) + as_html([["verdict"], [self.verdict]]) + notes

    @property
    def _rows(self) -> list[Sequence[str]]:
        return [["copy", "loss drift", *_IN_A_ROW.values(), "deviation"], *(copy.cells for copy in self.copies)]


def verdict_sentences(
    copies: Sequence[CopyReport], invariant: bool, options: MeasureOptions, swallowed_bias: bool
) -> str:
    """The verdict, its reason if it is negative, and what it does not cover; arguments are marked.

    Args:
        copies: the copies under T_a.
        invariant: the verdict.
        options: of the measurements.
        swallowed_bias: whether a bias before a norm acts, as it does with running statistics.
    """
    judged = [copy for copy in copies if copy.judged]
    worst = max(judged, key=lambda copy: abs(copy.deviation) / copy.tolerance)
    if invariant:
        return (
            f"BN-Sharpness is invariant: it deviates by at most {abs(worst.deviation):.1e} "
            f"(allowed {worst.tolerance:.1e}), while {_classical_spread(judged)}{_limits(copies)}"
        )
    why = ""
    if options.rule.copy_dependence:
        why = f" {options.rule.copy_dependence}"
    elif swallowed_bias:
        why = " With running statistics a bias before a norm acts, and its displacement does not scale with its row."
    return (
        f"BN-Sharpness as computed is NOT invariant: {worst.name} gives {worst.deviation + 1:.3g} times the original "
        f"(allowed deviation {worst.tolerance:.1e}).{why}{_limits(copies)}"
    )


def _classical_spread(judged: Sequence[CopyReport]) -> str:
    """By how much δ-L∞ differs between copies that compute the same function."""
    values = [copy.measures["delta-linf"].value for copy in judged]
    factor = max(values) / min(values) if min(values) > 0 else math.inf
    return f"δ-L∞ of the same function changes by a factor {factor:.3g}."


def _limits(copies: Sequence[CopyReport]) -> str:
    """The rows that share a scale, and the copies that were not judged."""
    tied = dict.fromkeys(name for copy in copies for name in copy.tied)
    unjudged = [copy.name for copy in copies if not copy.judged]
    said = ""
    if tied:
        said += f" The rows of {', '.join(tied)} share one a, or keep theirs: no norm's ε or statistics undo more."
    if unjudged:
        said += f" Not judged, for a norm's ε cannot be scaled and they compute something else: {', '.join(unjudged)}."
    return said
