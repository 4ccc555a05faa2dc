"""Several networks, measured alike: each measure of the first beside that of every other, and what it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bnsharp_cli.measurement.comparison.paired_difference import MeanPart, PairedDifference, paired_difference
from bnsharp_cli.measurement.comparison.paired_ratio import PairedRatio, paired_ratio
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.measurements import Measurements
from bnsharp_cli.measurement.measures.registry import entry_of

UNDECIDED = "undecided"
LOSS, TEST_LOSS = "loss", "test-loss"
COMPARED_FIRST = (LOSS, "accuracy", TEST_LOSS, "test-accuracy", "gap", "accuracy-gap")
"""What is compared before the measures, in this order, where both networks have it."""

SHARES = frozenset({"accuracy", "test-accuracy", "accuracy-gap"})
"""Those of them that are shares, shown in percent."""

_DIGITS = 3


@dataclass(frozen=True)
class Subject:
    """One network of a comparison.

    Attributes:
        name: a short one, such as ``A``.
        measured: of the network.
        samples: on how many.
        available: of how many; None where that is not known.
        rtol: what a search within its tolerance leaves, relative to the value.
        tested: on how many test samples; None where there are none.
        means: what is compared by its difference, as it may be zero: accuracies and gaps.
    """

    name: str
    measured: Measurements
    samples: int
    available: int | None
    rtol: float
    tested: int | None = None
    means: Mapping[str, Sequence[MeanPart]] = field(default_factory=dict)

    def drawn(self, measure: str) -> tuple[int, int | None]:
        """The samples that a measure is of, and those that they were drawn from; None for new ones without end."""
        return (self.tested or 0, None) if measure == TEST_LOSS else (self.samples, self.available)


@dataclass(frozen=True)
class NetworkComparison:
    """One measure of two networks.

    Attributes:
        measure: its name.
        delta: δ; None for a measure without.
        networks: the names of both.
        values: of both.
        by: the ratio of the first to the second on more samples than were measured, or their difference.
        large_is_sharp: whether a larger value means a sharper minimum; None for a measure that says nothing of that.
    """

    measure: str
    delta: float | None
    networks: tuple[str, str]
    values: tuple[float, float]
    by: PairedRatio | PairedDifference
    large_is_sharp: bool | None = True

    @property
    def verdict(self) -> str:
        """What the first network is beside the second: ``sharper``, ``flatter`` or ``undecided``.

        Of a measure that says nothing of sharpness ``larger`` or ``smaller``.
        """
        if self.by.larger is None:
            return UNDECIDED
        if self.large_is_sharp is None:
            return "larger" if self.by.larger else "smaller"
        return "sharper" if self.by.larger == self.large_is_sharp else "flatter"

    @property
    def sharper(self) -> str | None:
        """The name of the sharper network; None where that is not decided, or not what the measure says."""
        names = {"sharper": self.networks[0], "flatter": self.networks[1]}
        return names.get(self.verdict)

    @property
    def sentence(self) -> str:
        """The verdict in words, with the interval of the ratio or with what would decide."""
        first, second = self.networks
        if self.verdict == UNDECIDED:
            return f"~ cannot be told apart{self._remedy}"
        if self.verdict in {"larger", "smaller"}:
            return f"{first if self.by.larger else second} is larger: {self._distance}"
        return f"{self.sharper} is sharper: {self._distance}"

    @property
    def ratio(self) -> float | None:
        """The first value over the second; None where they are compared by their difference, or there is none."""
        return self.by.ratio if isinstance(self.by, PairedRatio) else None

    @property
    def difference(self) -> float | None:
        """The first value less the second; None where they are compared by their ratio."""
        return self.by.difference if isinstance(self.by, PairedDifference) else None

    @property
    def _distance(self) -> str:
        """The factor above one, or the difference above zero, and its interval."""
        middle = self.ratio if self.difference is None else self.difference
        assert middle is not None
        assert self.by.low is not None
        assert self.by.high is not None
        ends = (middle, self.by.low, self.by.high)
        if self.difference is None:
            factors = ends if self.by.larger else (1 / middle, 1 / self.by.high, 1 / self.by.low)
            value, low, high = (f"{one:.{_DIGITS}g}" for one in factors)
            return f"{value} × ({low} … {high})"
        distances = ends if self.by.larger else (-middle, -self.by.high, -self.by.low)
        value, low, high = (figure(self.measure, one, _DIGITS) for one in distances)
        return f"by {value} ({low} … {high})"

    @property
    def _remedy(self) -> str:
        if self.by.samples_needed is not None:
            kind = "test samples" if self.measure.startswith("test-") else "samples"
            return f": needs about {self.by.samples_needed:,} {kind}"
        if isinstance(self.by, PairedRatio) and self.by.ratio is None:
            return ": a value is not above its rounding, or not positive"
        if isinstance(self.by, PairedRatio) and self.by.climbing:
            return ": a search was still climbing"
        if self.by.low is None:
            return ": it is not known what more samples would change"
        return ""

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as in the JSON schema ``bnsharp/1``."""
        return {
            "measure": self.measure,
            "delta": self.delta,
            "networks": list(self.networks),
            "values": list(self.values),
            "ratio": self.ratio,
            "difference": self.difference,
            "low": self.by.low,
            "high": self.by.high,
            "samples_needed": self.by.samples_needed,
            "verdict": self.verdict,
        }


def figure(measure: str, value: float, digits: int) -> str:
    """A value as a reader sees it: shares in percent.

    >>> figure("test-accuracy", 0.9944, 4), figure("bn", 0.0123456, 4)
    ('99.44%', '0.01235')
    """
    return f"{100 * value:.{digits}g}%" if measure in SHARES else f"{value:.{digits}g}"


def compared_networks(subjects: Sequence[Subject]) -> list[NetworkComparison]:
    """The first network beside each other one: losses, accuracies and gaps, then every measure at every radius.

    Only what all networks have is compared.
    """
    known = _common([one.measured.profiles for one in subjects])
    means = _common([one.means for one in subjects])
    names = [name for name in COMPARED_FIRST if name in {*known, *means}]
    names += [name for name in known if name not in COMPARED_FIRST]
    return [
        one for name in names for one in (_of_mean(name, subjects) if name in means else _of_measure(name, subjects))
    ]


def order_by_radius(comparisons: Sequence[NetworkComparison]) -> dict[str, dict[float, str]]:
    """The sharper network at each radius, for every measure and pair whose order changes with it."""
    orders: dict[tuple[str, tuple[str, str]], dict[float, str]] = {}
    for one in comparisons:
        if one.delta is not None and one.sharper is not None:
            orders.setdefault((one.measure, one.networks), {})[one.delta] = one.sharper
    return {name: order for (name, _), order in orders.items() if len({*order.values()}) > 1}


def _common(each: Sequence[Mapping[str, Any]]) -> list[str]:
    first, *others = each
    return [name for name in first if all(name in other for other in others)]


def _of_mean(name: str, subjects: Sequence[Subject]) -> Iterator[NetworkComparison]:
    first, *others = subjects
    for other in others:
        parts = (first.means[name], other.means[name])
        values = (sum(part.value for part in parts[0]), sum(part.value for part in parts[1]))
        yield NetworkComparison(name, None, (first.name, other.name), values, paired_difference(*parts), None)


def _of_measure(name: str, subjects: Sequence[Subject]) -> Iterator[NetworkComparison]:
    first, *others = subjects
    for other in others:
        pairs = zip(first.measured.profile(name), other.measured.profile(name), strict=True)
        for own, their in pairs:
            yield _compared(name, (first, other), (own, their))


def _compared(name: str, pair: tuple[Subject, Subject], measured: tuple[Measurement, Measurement]) -> NetworkComparison:
    first, second = measured
    ratio = paired_ratio(first, second, *pair[0].drawn(name), max(one.rtol for one in pair))
    values, names = (first.value, second.value), (pair[0].name, pair[1].name)
    large_is_sharp = None if name in COMPARED_FIRST else entry_of(name).large_is_sharp
    return NetworkComparison(name, _radius(first.details), names, values, ratio, large_is_sharp)


def _radius(details: Mapping[str, Any]) -> float | None:
    delta = details.get("delta")
    return None if delta is None else float(delta)
