"""What the invariance test found: a record for each copy, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bnsharp_cli.measurement.invariance.copies import Copy
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.options import MeasureOptions


@dataclass(frozen=True)
class CopyReport:
    """What was measured on one copy.

    Attributes:
        name: which copy: ``a = 0.01``, ``random 1``, ``a0``, ``gamma-beta``.
        scale: a, or None where it differs from row to row.
        loss: L of the copy, ε per channel.
        loss_drift: |L(T_a θ) − L(θ)|, ε per channel.
        loss_drift_stored_epsilon: the same, ε as stored.
        measures: by name.
        lower_bound: Theorem 3.1's bound on δ-L∞ for the layer that fits into the ball, if one does.
        deviation: BN-Sharpness relative to the original, minus one.
        tolerance: what ``deviation`` may be.
        floor: what rounding alone may make of ``deviation``.
        tied: tensors whose rows had to share one a, see ``Copy.tied``.
        judged: whether the copy computes the same function, so that its deviation belongs to the verdict.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain containers."""
        bound = None if self.lower_bound is None else {"layer": self.lower_bound[0], "value": self.lower_bound[1]}
        return {
            **{key: value for key, value in vars(self).items() if key not in {"measures", "lower_bound", "tied"}},
            "tied": list(self.tied),
            "theorem_3_1_lower_bound": bound,
            "measures": {name: measurement.to_dict() for name, measurement in self.measures.items()},
        }


@dataclass(frozen=True)
class InvarianceReport:
    """The copies under T_a, the copy with (γ, β) scaled, and the verdict."""

    copies: tuple[CopyReport, ...]
    gamma_beta: CopyReport | None
    reference: CopyReport
    invariant: bool
    verdict: str
    kept: tuple[Copy, ...] = field(default=(), repr=False)


def verdict_sentences(
    copies: Sequence[CopyReport], invariant: bool, options: MeasureOptions, swallowed_bias: bool
) -> str:
    """What the copies say, and what they cannot say."""
    reports = [copy for copy in copies if copy.judged]
    worst = max(reports, key=lambda report: abs(report.deviation) / report.tolerance)
    linf = [report.measures["delta-linf"].value for report in reports]
    spread = max(linf) / min(linf) if min(linf) > 0 else math.inf
    moved = f"δ-L∞ of the same function changes by a factor {spread:.3g}."
    if invariant:
        return (
            f"BN-Sharpness is invariant: it deviates by at most {abs(worst.deviation):.1e} "
            f"(allowed {worst.tolerance:.1e}), while {moved}{_limits(copies)}"
        )
    factor = worst.deviation + 1
    why = ""
    if options.search == "paper":
        why = " Eq. (17) as printed steps in v, whose length belongs to the copy; --search power is invariant."
    elif swallowed_bias:
        why = " With running statistics a bias before a norm acts, and its displacement does not scale with its row."
    return (
        f"BN-Sharpness as computed is NOT invariant: {worst.name} gives {factor:.3g} times the original "
        f"(allowed deviation {worst.tolerance:.1e}).{why}{_limits(copies)}"
    )


def _limits(copies: Sequence[CopyReport]) -> str:
    tied = dict.fromkeys(name for copy in copies for name in copy.tied)
    unjudged = [copy.name for copy in copies if not copy.judged]
    said = ""
    if tied:
        said += f" The rows of {', '.join(tied)} share one a, or keep theirs: no norm's ε or statistics undo more."
    if unjudged:
        said += f" Not judged, for a norm's ε cannot be scaled and they compute something else: {', '.join(unjudged)}."
    return said
