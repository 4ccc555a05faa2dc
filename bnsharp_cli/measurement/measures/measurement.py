"""What a measure answers: a value, how far it can be trusted, and what it cost."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import named, spelt
from bnsharp_cli.measurement.measures.tables import as_frame, folded
from bnsharp_cli.measurement.surface.cost import Cost

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Status(StrEnum):
    """How a value came about.

    >>> Status("sampled").meaning
    'a Monte-Carlo mean with its standard error'
    """

    CONVERGED = "converged"
    WITHIN_TOLERANCE = "within-tolerance"
    ITERATION_LIMIT = "iteration-limit"
    AS_PRESCRIBED = "as-prescribed"
    SAMPLED = "sampled"
    BRACKETED = "bracketed"
    COMPUTED = "computed"
    BELOW_RESOLUTION = "below-resolution"

    @property
    def meaning(self) -> str:
        """One line for a reader, with the remedy where there is one; arguments by their names in Python."""
        return spelt(self.marked_meaning)

    @property
    def marked_meaning(self) -> str:
        """The same with arguments marked by :func:`~bnsharp_cli.errors.named`."""
        return _MEANINGS[self]


_MEANINGS = {
    Status.CONVERGED: "the search ended at a vanishing Riemannian gradient: a local supremum",
    Status.WITHIN_TOLERANCE: f"a lower bound: by its steps so far the search would gain less than {named('rtol')}",
    Status.ITERATION_LIMIT: (
        f"a lower bound: the search was still climbing; raise {named('iterations')} or {named('restarts')}"
    ),
    Status.AS_PRESCRIBED: "a lower bound: the direction is what the rule prescribes",
    Status.SAMPLED: "a Monte-Carlo mean with its standard error",
    Status.BRACKETED: "the middle of an interval that a search by halves left, which reaches as far as the bracket",
    Status.COMPUTED: "evaluated by its formula, with neither a search nor random points",
    Status.BELOW_RESOLUTION: (
        f"no more than rounding: use {named('precision')} float64 or a larger {named('delta')}, for noise "
        f"{named('sigma')}"
    ),
}


@dataclass(frozen=True)
class Uncertainty:
    """Absolute errors of a value, each None where it does not apply or was not estimated.

    Attributes:
        quadrature: of the integral.
        rounding: what the arithmetic alone can have contributed.
        sampling: standard error of a mean over samples or random points; for the gradient norm the distance to its
            unbiased estimate for fresh data; for BN-Sharpness how far more samples may lead away from the
            value, which is the distance to the farther end of the interval for the whole split or for fresh data.
        bracket: half the interval that a search by halves left, of which the value is the middle; for ``hessian`` the
            residual, no farther than which from the value there is an eigenvalue.

    >>> Uncertainty(rounding=1e-9)
    Uncertainty(quadrature=None, rounding=1e-09, sampling=None, bracket=None)
    """

    quadrature: float | None = None
    rounding: float | None = None
    sampling: float | None = None
    bracket: float | None = None


@dataclass(frozen=True)
class Search:
    """How a supremum was searched.

    Attributes:
        rule: the name of the search rule or solver.
        starts: the number of starts.
        iterations: the largest number of steps from each start.
        values: the best value of every start.

    >>> max(Search("power", starts=2, iterations=9, values=(0.5, 0.75)).values)
    0.75
    """

    rule: str
    starts: int
    iterations: int
    values: tuple[float, ...]


@dataclass(frozen=True, repr=False)
class Measurement:
    """One measure of one network.

    Attributes:
        name: of the measure, as on the command line.
        value: the number.
        status: how it came about.
        uncertainty: absolute errors.
        cost: passes over all samples, those for ``uncertainty`` among them.
        uncertainty_cost: the passes that only ``uncertainty`` needed.
        search: how the supremum was searched, if there was one.
        details: further plain entries.
        notes: what a reader must know of how the network was computed.
        by_batch: numbers of the single batches whose mean is the value: of means over batches, and to first order; else
            empty. They tell two networks apart that were measured on the same batches.
        direction: the displacement direction that was found, for pictures; not part of the record.
        segment: (t, ΔL(t)) at the quadrature nodes along ``direction``; not part of the record.

    >>> Measurement("bn", 0.5, Status.CONVERGED, Uncertainty(rounding=1e-9), Cost(7, 3))
    Measurement(bn 0.5, ± rounding 1.0e-09, status converged, cost 7F + 3B)
    """

    name: str
    value: float
    status: Status
    uncertainty: Uncertainty
    cost: Cost
    uncertainty_cost: Cost = field(default_factory=Cost)
    search: Search | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    by_batch: tuple[float, ...] = ()
    direction: Point | None = field(default=None, compare=False)
    segment: tuple[tuple[float, float], ...] = field(default=(), compare=False)

    def __repr__(self) -> str:
        """The value, its errors, how it came about and what it cost, within 80 columns."""
        *others, last = (f"{key} {entry}" for key, entry in self._entries().items())
        phrases = [*(f"{phrase}," for phrase in others), f"{last})"]
        return folded([f"Measurement({phrases[0]}", *phrases[1:]], "    ")

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        rows = [f"<tr><th>{key}</th><td>{html.escape(entry)}</td></tr>" for key, entry in self._entries().items()]
        return f"<table>{''.join(rows)}</table>"

    def _entries(self) -> dict[str, str]:
        errors = {f"± {kind}": error for kind, error in vars(self.uncertainty).items() if error is not None}
        options = {key: str(self.details[key]) for key in ("delta", "power") if key in self.details}
        return {
            self.name: f"{self.value:.6g}",
            **{kind: f"{error:.1e}" for kind, error in errors.items()},
            "status": self.status.value,
            **options,
            "cost": self.cost.passes,
            **({"notes": "; ".join(self.notes)} if self.notes else {}),
        }

    @property
    def largest_error(self) -> tuple[str, float] | None:
        """The largest error, behind its kind; None where none is known."""
        known = {kind: error for kind, error in vars(self.uncertainty).items() if error is not None}
        return max(known.items(), key=lambda each: each[1], default=None)

    @property
    def cells(self) -> tuple[str, ...]:
        """What a table shows of it: measure, δ, value, error, status and cost."""
        error, delta = self.largest_error, self.details.get("delta")
        return (
            self.name,
            "" if delta is None else f"{delta:g}",
            f"{self.value:.6g}",
            "–" if error is None else f"{error[1]:.1e} {error[0]}",
            self.status.value,
            self.cost.passes,
        )

    @property
    def row(self) -> dict[str, Any]:
        """What a data frame holds of it, by column; NaN where there is no error of that kind."""
        numbers = {"delta": self.details.get("delta"), "value": self.value, **vars(self.uncertainty), **vars(self.cost)}
        known = {name: math.nan if number is None else number for name, number in numbers.items()}
        return {"measure": self.name, **known, "status": self.status.value}

    @property
    def point_of_profile(self) -> tuple[float, float, float]:
        """δ, the value, and its largest error."""
        return self.details.get("delta", math.nan), self.value, self.largest_error[1] if self.largest_error else 0.0

    def to_frame(self) -> Any:
        """A ``pandas.DataFrame`` of one row.

        Raises:
            BnsharpError: pandas is not installed.
        """
        return as_frame([self.row])

    def plot(self) -> Figure:
        """The loss changes along the direction that was found, or the value alone, as a figure of matplotlib.

        In a notebook it shows itself; ``plot().savefig("sharpness.png")`` writes a file.
        """
        from bnsharp_cli.figures import draw_profiles, draw_segment

        if not self.segment:
            return draw_profiles({self.name: [self.point_of_profile]}, self.name)
        return draw_segment(self.segment, self.details["delta"], f"{self.name} {self.value:.6g}")

    def noted(self, notes: Sequence[str]) -> Measurement:
        """The same with further notes."""
        return replace(self, notes=(*self.notes, *notes))

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as in the JSON schema ``bnsharp/1``."""
        record: dict[str, Any] = {
            "value": self.value,
            "status": self.status.value,
            "uncertainty": vars(self.uncertainty),
            "search": None if self.search is None else {**vars(self.search), "values": list(self.search.values)},
            "cost": {**vars(self.cost), "for_uncertainty": dict(vars(self.uncertainty_cost))},
            "by_batch": list(self.by_batch),
        }
        if self.notes:
            record["notes"] = list(self.notes)
        return {**record, **self.details}

    @classmethod
    def from_dict(cls, name: str, record: Mapping[str, Any]) -> Measurement:
        """The inverse of :meth:`to_dict`."""
        known = {"value", "status", "uncertainty", "search", "cost", "by_batch", "notes"}
        search, cost = record["search"], dict(record["cost"])
        uncertainty_cost = Cost(**cost.pop("for_uncertainty"))
        return cls(
            name=name,
            value=record["value"],
            status=Status(record["status"]),
            uncertainty=Uncertainty(**record["uncertainty"]),
            cost=Cost(**cost),
            uncertainty_cost=uncertainty_cost,
            search=None if search is None else Search(**{**search, "values": tuple(search["values"])}),
            details={key: value for key, value in record.items() if key not in known},
            notes=tuple(record.get("notes", ())),
            by_batch=tuple(record["by_batch"]),
        )
