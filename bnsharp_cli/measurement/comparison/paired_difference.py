r"""The difference of a mean of two networks on more samples than were measured, from the same samples of both.

Accuracies and generalization gaps may be zero, so they are compared by their difference. With figures a_g and b_g of
groups of samples whose means are the values, the difference has the standard error of the mean of a_g − b_g. A gap is a
difference of means over test samples and over measured ones, whose errors are independent; Welch's formula gives the
degrees of freedom of their sum. Errors of losses are widened, since a few hard samples carry a loss, but less than
those of ratios of losses. To that of a share a sample is added on which only one network is right, and one for the
other (Bonett and Price 2012), so networks that differ on no sample are not sure to be equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t as students_t

from bnsharp_cli.measurement.comparison.paired_ratio import WIDENED
from bnsharp_cli.measurement.comparison.samples_needed import samples_until
from bnsharp_cli.measurement.measures.population import CONFIDENCE
from bnsharp_cli.measurement.measures.sample_groups import error_of_mean

_LARGEST = 1e100
"""Figures beyond this are no losses, and their squares are no numbers."""


@dataclass(frozen=True)
class MeanPart:
    """A mean over samples, as a part of a value.

    Attributes:
        figures: means over groups of samples, times each group's part of the samples; the part is their mean.
        sizes: samples in each group.
        fraction: the part of the data that the samples are; 0 where they stand for new samples.
        sign: 1, or −1 for a part that is taken away.
        share: whether it is a share of right answers, where no single sample carries much, as it may carry a loss.
    """

    figures: tuple[float, ...]
    sizes: tuple[int, ...]
    fraction: float = 0.0
    sign: float = 1.0
    share: bool = False

    @property
    def value(self) -> float:
        """The part with its sign."""
        return self.sign * sum(self.figures) / len(self.figures)


@dataclass(frozen=True)
class PairedDifference:
    """The value of a first network less that of a second one.

    Attributes:
        difference: on the samples; NaN or infinite where a stranger's figures are.
        low: the lower end of its interval; None where none can be given.
        high: the upper end.
        samples_needed: about how many samples would tell the two apart; None where they are told apart, or where no
            number is known.
    """

    difference: float
    low: float | None = None
    high: float | None = None
    samples_needed: int | None = None

    @property
    def larger(self) -> bool | None:
        """Whether the first value is the larger one; None where the interval leaves that open."""
        if self.low is not None and self.low > 0:
            return True
        if self.high is not None and self.high < 0:
            return False
        return None


def paired_difference(first: Sequence[MeanPart], second: Sequence[MeanPart]) -> PairedDifference:
    """The difference of two values that are sums of means over the same samples.

    Args:
        first: the parts of the value of one network.
        second: those of the other, on the same samples.
    """
    difference = sum(part.value for part in first) - sum(part.value for part in second)
    variances = []
    for own, their in zip(first, second, strict=True):
        if own.fraction >= 1:
            continue
        error = _paired_error(own, their)
        if error is None:
            return PairedDifference(difference)
        variances.append(((1 - own.fraction) * error**2, len(own.figures) - 1))
    reach = _reach(variances)
    found = PairedDifference(difference, difference - reach, difference + reach)
    if found.larger is not None or not difference or len(first) > 1:
        return found
    samples, fraction = sum(first[0].sizes), first[0].fraction
    needed = samples_until(abs(difference) / reach, samples, samples / fraction if fraction else None)
    return PairedDifference(difference, found.low, found.high, needed)


def _paired_error(own: MeanPart, their: MeanPart) -> float | None:
    """The standard error of the difference of two means, widened; None where they are not of the same groups."""
    if own.sizes != their.sizes or len(own.figures) != len(their.figures):
        return None
    apart = [a - b for a, b in zip(own.figures, their.figures, strict=True)]
    error = error_of_mean(apart, own.sizes) if max(map(abs, apart)) < _LARGEST else None
    if error is None:
        return None
    return math.hypot(error, math.sqrt(2) / (sum(own.sizes) + 2)) if own.share else WIDENED * error


def _reach(variances: Sequence[tuple[float, int]]) -> float:
    """How far the interval reaches, from the variance of each part with its degrees of freedom."""
    total = sum(variance for variance, _ in variances)
    if not total:
        return 0.0
    freedom = 1 / sum((variance / total) ** 2 / each for variance, each in variances)
    return float(students_t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(total)
