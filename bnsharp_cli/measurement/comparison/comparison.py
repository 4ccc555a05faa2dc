"""Several networks, measured alike: the ratio of each measure of the first to that of every other, and what it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnsharp_cli.measurement.comparison.paired_ratio import PairedRatio, paired_ratio
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.measurements import Measurements
from bnsharp_cli.measurement.measures.registry import entry_of

UNDECIDED = "undecided"
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
    """

    name: str
    measured: Measurements
    samples: int
    available: int | None
    rtol: float


@dataclass(frozen=True)
class NetworkComparison:
    """One measure of two networks.

    Attributes:
        measure: its name.
        delta: δ; None for a measure without.
        networks: the names of both.
        values: of both.
        ratio: of the first to the second, on more samples than were measured.
        large_is_sharp: whether a larger value means a sharper minimum; None for a measure that says nothing of that.
    """

    measure: str
    delta: float | None
    networks: tuple[str, str]
    values: tuple[float, float]
    ratio: PairedRatio
    large_is_sharp: bool | None = True

    @property
    def verdict(self) -> str:
        """What the first network is beside the second: ``sharper``, ``flatter`` or ``undecided``.

        Of a measure that says nothing of sharpness ``larger`` or ``smaller``.
        """
        if self.ratio.larger is None:
            return UNDECIDED
        if self.large_is_sharp is None:
            return "larger" if self.ratio.larger else "smaller"
        return "sharper" if self.ratio.larger == self.large_is_sharp else "flatter"

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
            return f"{first if self.ratio.larger else second} is larger: {self._factor}"
        return f"{self.sharper} is sharper: {self._factor}"

    @property
    def _factor(self) -> str:
        """The factor above one, and its interval."""
        ends = (self.ratio.ratio, self.ratio.low, self.ratio.high)
        assert None not in ends
        middle, low, high = (end or 0.0 for end in ends)
        if not self.ratio.larger:
            middle, low, high = 1 / middle, 1 / high, 1 / low
        return f"{middle:.{_DIGITS}g} × ({low:.{_DIGITS}g} … {high:.{_DIGITS}g})"

    @property
    def _remedy(self) -> str:
        if self.ratio.ratio is None:
            return ": a value is not above its rounding, or not positive"
        if self.ratio.climbing:
            return ": a search was still climbing"
        if self.ratio.samples_needed is not None:
            return f": needs about {self.ratio.samples_needed:,} samples"
        if self.ratio.low is None:
            return ": it is not known what more samples would change"
        return ""

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as in the JSON schema ``bnsharp/1``."""
        return {
            "measure": self.measure,
            "delta": self.delta,
            "networks": list(self.networks),
            "values": list(self.values),
            "ratio": self.ratio.ratio,
            "low": self.ratio.low,
            "high": self.ratio.high,
            "samples_needed": self.ratio.samples_needed,
            "verdict": self.verdict,
        }


def compared_networks(subjects: Sequence[Subject]) -> list[NetworkComparison]:
    """Every measure that all networks have, at every radius: the first network beside each other one."""
    return [one for name in _common(subjects) for one in _of_measure(name, subjects)]


def order_by_radius(comparisons: Sequence[NetworkComparison]) -> dict[str, dict[float, str]]:
    """The sharper network at each radius, for every measure and pair whose order changes with it."""
    orders: dict[tuple[str, tuple[str, str]], dict[float, str]] = {}
    for one in comparisons:
        if one.delta is not None and one.sharper is not None:
            orders.setdefault((one.measure, one.networks), {})[one.delta] = one.sharper
    return {name: order for (name, _), order in orders.items() if len({*order.values()}) > 1}


def _common(subjects: Sequence[Subject]) -> list[str]:
    first, *others = (one.measured.profiles for one in subjects)
    return [name for name in first if all(name in profiles for profiles in others)]


def _of_measure(name: str, subjects: Sequence[Subject]) -> Iterator[NetworkComparison]:
    first, *others = subjects
    for other in others:
        pairs = zip(first.measured.profile(name), other.measured.profile(name), strict=True)
        for own, their in pairs:
            yield _compared(name, (first, other), (own, their))


def _compared(name: str, pair: tuple[Subject, Subject], measured: tuple[Measurement, Measurement]) -> NetworkComparison:
    first, second = measured
    ratio = paired_ratio(first, second, pair[0].samples, pair[0].available, max(one.rtol for one in pair))
    values, names = (first.value, second.value), (pair[0].name, pair[1].name)
    return NetworkComparison(name, _radius(first.details), names, values, ratio, entry_of(name).large_is_sharp)


def _radius(details: Mapping[str, Any]) -> float | None:
    delta = details.get("delta")
    return None if delta is None else float(delta)
