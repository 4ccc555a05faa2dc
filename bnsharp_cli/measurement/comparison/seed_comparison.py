"""Comparisons of two networks with several seeds: how often one is the sharper, and how far their ratio moves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bnsharp_cli.measurement.comparison.comparison import UNDECIDED, NetworkComparison, figure
from bnsharp_cli.measurement.comparison.paired_difference import PairedDifference
from bnsharp_cli.measurement.comparison.paired_ratio import PairedRatio
from bnsharp_cli.measurement.measures.seed_spread import deviation_of, mean_of

_DIGITS = 3


@dataclass(frozen=True)
class SeedComparison(NetworkComparison):
    """One measure of two networks, compared with several seeds.

    The values are means over the seeds. ``by`` is the geometric mean of the ratios, or the mean of the differences,
    with the smallest and the largest one for its ends.

    Attributes:
        each: the comparison with each seed.
    """

    each: tuple[NetworkComparison, ...] = ()

    @classmethod
    def of(cls, each: Sequence[NetworkComparison]) -> SeedComparison:
        """The same measure and networks with each seed."""
        first = each[0]
        values = mean_of([one.values[0] for one in each]), mean_of([one.values[1] for one in each])
        found = sorted(_distances(each))
        ends = (found[0], found[-1]) if found else (None, None)
        by: PairedRatio | PairedDifference
        if isinstance(first.by, PairedRatio):
            by = PairedRatio(math.exp(mean_of([*map(math.log, found)])) if found else None, *ends)
        else:
            by = PairedDifference(mean_of(found) if found else math.nan, *ends)
        return cls(first.measure, first.delta, first.networks, values, by, first.large_is_sharp, tuple(each))

    @property
    def verdicts(self) -> Counter[str]:
        """How often each verdict was reached."""
        return Counter(one.verdict for one in self.each)

    @property
    def verdict(self) -> str:
        """The verdict that all seeds share, or ``undecided``."""
        (first, count), *_ = self.verdicts.most_common()
        return first if count == len(self.each) else UNDECIDED

    @property
    def sentence(self) -> str:
        """How often which network is sharper, or larger, and how far the ratio or the difference moves."""
        counts = self.verdicts
        if counts[UNDECIDED] == len(self.each):
            return f"~ cannot be told apart with any of {len(self.each)} seeds{self._distance}"
        verb = "sharper" if counts["sharper"] + counts["flatter"] else "larger"
        wins = [counts["sharper"] + counts["larger"], counts["flatter"] + counts["smaller"]]
        named = sorted(zip(wins, self.networks, strict=True), key=lambda each: -each[0])
        said = [f"{name} is {verb} with {count}" for count, name in named if count]
        said += [f"undecided with {counts[UNDECIDED]}"] if counts[UNDECIDED] else []
        return f"{', '.join(said)} of {len(self.each)} seeds{self._distance}"

    @property
    def _distance(self) -> str:
        first, second = self.networks
        if self.by.low is None or self.by.high is None:
            return ""
        if self.difference is None:
            middle, low, high = (f"{one:.{_DIGITS}g}" for one in (self.ratio, self.by.low, self.by.high))
            return f"; {first}/{second} {middle} ({low} … {high})"
        middle, low, high = (figure(self.measure, one, _DIGITS) for one in (self.difference, self.by.low, self.by.high))
        return f"; {first} − {second} {middle} ({low} … {high})"

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as in the JSON schema ``bnsharp/1``."""
        found = _distances(self.each)
        logarithms = [math.log(one) for one in found] if self.difference is None else found
        return {
            "measure": self.measure,
            "delta": self.delta,
            "networks": list(self.networks),
            "values": list(self.values),
            "ratio": self.ratio,
            "difference": self.difference,
            "deviation": deviation_of(logarithms),
            "lowest": self.by.low,
            "highest": self.by.high,
            "seeds": len(self.each),
            "verdicts": dict(self.verdicts),
            "sentence": self.sentence,
        }


def compared_over_seeds(every: Sequence[Sequence[NetworkComparison]]) -> list[SeedComparison]:
    """The comparisons that there are with every seed, in their order.

    Args:
        every: the comparisons with each seed.
    """
    found: dict[tuple[Any, ...], list[NetworkComparison]] = {}
    for comparisons in every:
        for one in comparisons:
            found.setdefault((one.measure, one.delta, one.networks), []).append(one)
    return [SeedComparison.of(each) for each in found.values() if len(each) == len(every)]


def _distances(each: Sequence[NetworkComparison]) -> list[float]:
    """The ratios or the differences that are known; ratios are positive."""
    found = [one.ratio if one.difference is None else one.difference for one in each]
    return [one for one in found if one is not None and math.isfinite(one)]
