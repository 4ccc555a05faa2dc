r"""The value of the whole split and of fresh data, from the batches that a value was measured on.

Near a trained network and for small δ, S = c Σ_i r_i ‖∇_iL‖ with block radii r_i, and the gradients of a batch are
mostly noise. Batch gradients g_b, b = 1 … B, tell how much: pairs of different batches have no noise in common, so

.. math:: U_i = \left(\|Σ_b g_{bi}\|^2 - Σ_b \|g_{bi}\|^2\right) / (B(B-1))

is an unbiased estimate of ‖∇_iL‖² on fresh data, and (1 − 1/M) U_i + (1/M) mean_b ‖g_bi‖² one of the whole split, which
holds M batches. This takes one number for each block and batch, and no pass.

How far S may be off is seen in the slopes of the single batches along v, which the integral knows. An interval with
their standard error alone covers too rarely, since near interpolation a few hard samples carry the gradient and a draw
that misses them does not know it. So the upper end starts from the value in the sample, which is too high on average,
and its error is widened; ``benchmarks/population.py`` shows how often the interval covers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any

import torch
from scipy.stats import t as students_t
from torch import Tensor

from bnsharp_cli.core.pieces import Pieces
from bnsharp_cli.core.point import Point
from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.objective import SegmentObjective, objective_at
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

CONFIDENCE = 0.95

_UPWARDS = 1.7
"""The upper end's error, in units of the lower end's."""

_WIDEST = 10.0
"""No interval is given whose ends differ by more than this factor."""

_WANTED = 0.1
_LARGEST, _MOST_BATCHES = 100.0, 10**9


@dataclass(frozen=True)
class PopulationValue:
    """An estimate for more samples than were measured.

    Attributes:
        value: the estimate.
        low: the lower end of its interval; None where none can be given.
        high: the upper end.
        samples_needed: how many samples would bring both ends within 10 % of the value; None where no number is known.
    """

    value: float
    low: float | None
    high: float | None
    samples_needed: int | None


@dataclass(frozen=True)
class Population:
    """What a value in the linear regime would be on more samples.

    Attributes:
        split: on all examples of the data that the samples were drawn from; None where their number is not known.
        fresh: on new data of the same kind.
        largest_share: the share of the batch that contributes most to Σ_b Σ_i r_i²‖g_bi‖².
        whole: whether the samples are the whole split.
    """

    split: PopulationValue | None
    fresh: PopulationValue
    largest_share: float
    whole: bool

    @property
    def headline(self) -> PopulationValue:
        """The estimate for the split, where it is known."""
        return self.split or self.fresh

    def to_dict(self) -> dict[str, Any]:
        """The figures in plain containers, for JSON."""
        return {
            **vars(self.headline),
            "confidence": CONFIDENCE,
            "of": "split" if self.split else "fresh",
            "fresh": dict(vars(self.fresh)),
            "largest_share": self.largest_share,
        }


class BlockSquares:
    """Adds up Σ_b ‖g_bi‖² block by block, and in each tensor, while the gradients of single batches pass."""

    def __init__(self, spheres: Spheres) -> None:
        self._radii, self._pieces = spheres.radii, Pieces.of(spheres)
        self._total = torch.zeros(len(self._pieces.block), dtype=torch.float64, device=spheres.radii.device)
        self._largest = 0.0

    def observe(self, _: int, __: float, gradient: Point) -> None:
        """Take the gradient of a batch, times the batch's weight."""
        squares = self._pieces.inner(gradient, gradient).to(self._total)
        self._total += squares
        by_block = self._pieces.by_block(squares, len(self._radii))
        self._largest = max(self._largest, float((self._radii.square() * by_block).sum()))

    def noise(self, surface: LossSurface, gradient: Point) -> GradientNoise:
        """What the batches of all processes tell, with ∇L."""
        sizes = surface.sizes or BatchSizes.of(surface.batches)
        total = surface.processes.total({"squares": self._total})["squares"]
        largest = surface.processes.in_order(torch.tensor([self._largest]), surface.processes.count).max()
        return GradientNoise(
            radii=self._radii,
            pieces=self._pieces,
            mean=self._pieces.inner(gradient, gradient),
            squares=total,
            largest=float(largest),
            weights=surface.weights,
            examples=sizes.examples,
            available=sizes.available,
        )


@dataclass(frozen=True)
class GradientNoise:
    """The gradients of the batches, block by block, and for a block in several tensors piece by piece.

    Attributes:
        radii: r_i, (blocks + 1,).
        pieces: which block and tensor each piece belongs to.
        mean: ‖∇_iL‖² on the samples, (pieces,).
        squares: Σ_b ‖g_bi‖², g_b with the batch's weight, (pieces,).
        largest: the largest Σ_i r_i²‖g_bi‖².
        weights: of the batches, 1 on average.
        examples: in all batches.
        available: in the data that they were drawn from; None where that is not known.
    """

    radii: Tensor
    pieces: Pieces
    mean: Tensor
    squares: Tensor
    largest: float
    weights: Sequence[float]
    examples: int
    available: int | None

    def population(self, value: float, slopes: Sequence[float]) -> Population | None:
        """What ``value`` would be on more samples.

        Args:
            value: on the samples.
            slopes: of the loss of each batch along v, times the batch's weight.

        Returns:
            None for a single batch, and where the gradient is zero.
        """
        if len(slopes) < 2 or not self.in_sample:
            return None
        spread = _relative_spread(slopes, self.weights)
        split = None if self.available is None else self._value(value, spread, self.examples / self.available)
        squares = self._by_block(self.squares)
        share = self.largest / max(float((self.radii.square() * squares).sum()), torch.finfo(torch.float64).tiny)
        whole = self.available == self.examples
        return Population(split, self._value(value, spread, 0.0), share, whole)

    @cached_property
    def in_sample(self) -> float:
        """Σ_i r_i‖∇_iL‖ on the samples."""
        return float((self.radii * self._by_block(self.mean).sqrt()).sum())

    def _value(self, value: float, spread: float, fraction: float) -> PopulationValue:
        """The estimate for a population of which the samples are a ``fraction``."""
        interval = _Interval(self.unbiased(fraction) / self.in_sample, spread, len(self.weights), fraction)
        needed = interval.batches_needed()
        samples = None if needed is None else math.ceil(needed * self.examples / len(self.weights))
        samples = min(samples, self.available) if samples and fraction and self.available else samples
        low, high = interval.of(value)
        return PopulationValue(value * interval.share, low, high, samples)

    def ends(self, value: float, expected: float, slopes: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
        """The interval of a part of a value, ``expected`` on the population of :attr:`Population.headline`.

        The slopes are those of each batch's loss along the part of v, times its weight. None where none can be given.
        """
        if not value > 0 or not expected > 0:
            return None, None
        spread, fraction = _relative_spread(slopes, self.weights), self.examples / (self.available or math.inf)
        return _Interval(expected / value, spread, len(slopes), fraction).of(value)

    def unbiased(self, fraction: float) -> float:
        """Σ_i r_i √max(U_i, 0), U_i the unbiased estimate of ‖∇_iL‖² on the population."""
        return float((self.radii * self._by_block(self._estimates(fraction)).clamp_min(0).sqrt()).sum())

    def parts(self) -> Tensor:
        """What each piece adds to Σ_i r_i‖∇_iL‖ on the samples: r_i‖∇_ijL‖²/‖∇_iL‖, (pieces,)."""
        return self._parts(self.mean)

    def unbiased_parts(self) -> Tensor:
        """The same in :meth:`unbiased`, for the population of :attr:`Population.headline`."""
        return self._parts(self._estimates(self.examples / self.available if self.available else 0.0))

    def _parts(self, squares: Tensor) -> Tensor:
        norms = self._by_block(squares).clamp_min(0).sqrt()
        factors = torch.where(norms > 0, self.radii / norms.clamp_min(torch.finfo(norms.dtype).tiny), 0.0)
        return factors[self.pieces.block] * squares

    def _estimates(self, fraction: float) -> Tensor:
        """Unbiased estimates of ‖∇_iL‖² on a population of which the samples are a fraction, piece by piece."""
        if fraction >= 1 or len(self.weights) < 2:
            return self.mean
        count, own = len(self.weights), math.fsum(weight * weight for weight in self.weights)
        pairs = (count * count * self.mean - self.squares) / (count * count - own)
        part = fraction / count  # 1/M
        return (1 - part) * pairs + part * self.squares / own

    def _by_block(self, values: Tensor) -> Tensor:
        return self.pieces.by_block(values, len(self.radii))


@dataclass(frozen=True)
class _Interval:
    """The interval, relative to the value on the samples.

    Attributes:
        share: the estimate.
        spread: the relative standard deviation of a batch's slope.
        batches: how many there are.
        fraction: of the population that they are.
    """

    share: float
    spread: float
    batches: int
    fraction: float

    def ends(self) -> tuple[float, float]:
        """The lower end around the estimate, the upper end around the value on the samples."""
        quantile = float(students_t.ppf((1 + CONFIDENCE) / 2, self.batches - 1))
        error = min(_LARGEST, quantile * self.spread * math.sqrt(max(0.0, 1 - self.fraction) / self.batches))
        return self.share * math.exp(-error), max(1.0, self.share) * math.exp(_UPWARDS * error)

    def of(self, value: float) -> tuple[float, float] | tuple[None, None]:
        """Both ends for a value; None where they are too far apart."""
        low, high = (value * end for end in self.ends())
        return (low, high) if low > 0 and high <= _WIDEST * low else (None, None)

    def batches_needed(self) -> int | None:
        """The least number of batches with both ends near the estimate, if the batches go on as they are."""
        low, high = 2, _MOST_BATCHES
        if self.fraction:
            high = max(2, round(self.batches / self.fraction))
        elif not self._with(high)._near():
            return None
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._with(middle)._near() else (middle + 1, high)
        return low

    def _near(self) -> bool:
        low, high = self.ends()
        return low >= (1 - _WANTED) * self.share > 0 and high <= (1 + _WANTED) * self.share

    def _with(self, batches: int) -> _Interval:
        """The same on another number of batches; the excess of the value on the samples falls with that number."""
        if not self.share:
            return self
        fraction = self.fraction * batches / self.batches
        left = (1 - fraction) / (1 - self.fraction) if self.fraction < 1 else 0.0
        excess = (1 / self.share - 1) * left * self.batches / batches
        return replace(self, batches=batches, fraction=fraction, share=1 / (1 + max(0.0, excess)))


def _relative_spread(slopes: Sequence[float], weights: Sequence[float]) -> float:
    """The standard deviation of a batch's slope over the mean slope."""
    mean = fmean(slopes)
    squares = math.fsum((slope - weight * mean) ** 2 for slope, weight in zip(slopes, weights, strict=True))
    return math.sqrt(squares / (len(slopes) - 1)) / abs(mean) if mean else math.inf


def objective_and_noise(
    surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions
) -> tuple[SegmentObjective, GradientNoise]:
    """The objective at ``point``, and the noise of the batches' gradients, from the same pass.

    Raises:
        NotMeasurableError: the loss or its gradient is not finite.
    """
    squares = BlockSquares(blocks.spheres(point))
    objective = objective_at(surface, point, blocks, options, squares.observe)
    return objective, squares.noise(surface, objective.gradient)
