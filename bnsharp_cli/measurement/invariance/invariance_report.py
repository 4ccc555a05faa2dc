"""The records of the invariance test: one for each copy, and one for the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bnsharp_cli.errors import spelt
from bnsharp_cli.measurement.invariance.copies import RescaledCopy
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.options import MeasureOptions


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

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as in the JSON schema ``bnsharp/1``."""
        bound = None if self.lower_bound is None else {"layer": self.lower_bound[0], "value": self.lower_bound[1]}
        return {
            **{key: value for key, value in vars(self).items() if key not in {"measures", "lower_bound", "tied"}},
            "tied": list(self.tied),
            "theorem_3_1_lower_bound": bound,
            "measures": {name: measurement.to_dict() for name, measurement in self.measures.items()},
        }


@dataclass(frozen=True)
class InvarianceReport:
    """The result of the invariance test.

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
    kept: tuple[RescaledCopy, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """The verdict in sentences; arguments by their names in Python."""
        return spelt(self.marked_verdict)


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
