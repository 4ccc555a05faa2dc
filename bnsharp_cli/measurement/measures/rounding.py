"""The rounding floor: what the arithmetic alone contributes to a difference of losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bnsharp_cli.core.point import LazyPoint, Point
from bnsharp_cli.core.quadrature import SegmentMean
from bnsharp_cli.core.row_points import RowPoint
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

_SEEDS = 2**62

_ERRORS = 4
"""Differences that a standard deviation is taken from; a pass gives one for every batch."""

_FACTOR = 1.25
_VALUE_UNITS, _DIRECTION_UNITS, _KINK_UNITS = 12.0, 100.0, 40.0
_DIFFERENCE_FACTOR = 5.0
"""All from ``benchmarks/rounding.py``: the floor holds in more than 95 % of trials, and is not 30 times too high."""

_PASSES = 10
"""Passes that make a direction; in each of them rounding may decide the sign of a unit anew."""


def passes_for_rounding(batches: int) -> int:
    """The number of forwards that :func:`loss_rounding` takes."""
    return math.ceil(_ERRORS / batches)


def loss_rounding(surface: LossSurface, point: Mapping[str, Tensor], losses: Sequence[float], seed: int = 0) -> float:
    """Standard deviation of L(point) by rounding, from an evaluation with every parameter moved by its last bit.

    A backward stable evaluation is the exact one at a point moved by about one unit in the last place, so the
    difference of two such evaluations is the size of the rounding error. Batches round independently, so the
    differences of several batches give that size from a single pass, unless they share a sign. The rounding of the
    criterion, which is always float64, does not show in this; for a sample's loss ℓ it is taken as a unit in the last
    place of 1 + ℓ, as in log-softmax. The cost is one forward for at least four batches, and four for one batch.

    Args:
        surface: L.
        point: where.
        losses: of the batches at ``point``, from ``surface.batch_losses``.
        seed: of the bits.
    """
    generator = torch.Generator().manual_seed(seed)
    epsilon = surface.roundoff
    count = len(losses)
    whole = surface.with_constants(point)  # the constants are rounded in a pass too
    deviations = []
    for _ in range(passes_for_rounding(count)):
        (changed,) = surface.batch_losses([last_bits(whole, epsilon, generator)])
        errors = [after - before for after, before in zip(changed, losses, strict=True)]
        deviations.append(max(abs(math.fsum(errors)), math.hypot(*errors)) / count)
    samples = count * len(surface.batches[0][1])
    by_criterion = math.hypot(*(math.ulp(1 + abs(loss)) for loss in losses)) / math.sqrt(12 * count * samples)
    return math.hypot(math.hypot(*deviations) / math.sqrt(len(deviations)), by_criterion)


def form_rounding(surface: LossSurface, point: Point, direction: Point, forms: Sequence[float], seed: int = 0) -> float:
    """Standard deviation of ⟨v, H v⟩ by rounding, in the same way: from products where every last bit is moved.

    The cost is a product for at least four batches, and four for one batch.

    Args:
        surface: L.
        point: θ.
        direction: v.
        forms: ⟨v, H_b v⟩ of every batch at θ, as the curvature product has them.
        seed: of the bits.
    """
    generator = torch.Generator().manual_seed(seed)
    deviations = []
    for _ in range(passes_for_rounding(len(forms))):
        (moved,) = surface.curvature_products(last_bits(point, surface.roundoff, generator), [direction])
        errors = [after - before for after, before in zip(moved.forms, forms, strict=True)]
        deviations.append(max(abs(math.fsum(errors)), math.hypot(*errors)) / len(forms))
    return math.hypot(*deviations) / math.sqrt(len(deviations))


def difference_rounding(first: float, second: float) -> float:
    """The error of a difference of two losses by rounding.

    Args:
        first: standard deviation of the one, from :func:`loss_rounding`.
        second: that of the other.
    """
    return _DIFFERENCE_FACTOR * math.hypot(first, second)


def last_bits(point: Mapping[str, Tensor], epsilon: float, generator: torch.Generator) -> LazyPoint:
    """``point`` with every number times 1 ± ε, at random; drawn on the CPU, so the same on every device."""
    if isinstance(point, RowPoint):
        return point.last_bits(epsilon, int(torch.randint(_SEEDS, (), generator=generator)))
    ups = {name: torch.rand(tensor.shape, generator=generator) < 0.5 for name, tensor in point.items()}

    def moved(name: str) -> Tensor:
        tensor = point[name]
        signs = ups[name].to(tensor).mul_(2).sub_(1)
        return tensor.mul(signs.mul_(epsilon).add_(1))

    return LazyPoint(point, moved)


def rounding_floor(loss_error: float, delta: float, power: float, value: float, roundoff: float) -> float:
    """The error of F^{1/p} by the rounding of losses.

    F^{1/p} is an L^p norm of ΔL/δ over an interval of length 2δ with weight 1/δ, so by Minkowski's inequality errors
    e(t) of ΔL change it by at most 2^{1/p} max |e| / δ. Each ΔL is a difference of two losses, hence √2. Some units in
    the last place of the value come on top.

    Args:
        loss_error: standard deviation of one loss.
        delta: δ.
        power: p, or ∞.
        value: the value of F^{1/p}.
        roundoff: of the network's arithmetic.
    """
    by_losses = _FACTOR * math.sqrt(2) * 2 ** (1 / power) * loss_error / delta
    return by_losses + _VALUE_UNITS * roundoff * value


def turning_error(change: float, gap: float, roundoff: float) -> float:
    """The error of a loss change because rounded gradients turned the direction along which it was found.

    Where a search has converged, the loss change does not vary with the direction to first order. Where a share ``gap``
    of a linear objective was left, the direction stands at an angle of about √(2 gap) to the gradient, and the loss
    change varies with the sine of that angle.

    Args:
        change: the loss change, or a mean of several.
        gap: the share of a linear objective that was left; ∞ where it is not known.
        roundoff: of the network's arithmetic.
    """
    return _sine(gap) * _DIRECTION_UNITS * roundoff * change


def _sine(gap: float) -> float:
    return math.sqrt(2 * min(1.0, max(0.0, gap)))


def direction_rounding(mean: SegmentMean, gap: float, surface: LossSurface, options: MeasureOptions) -> float:
    """The error of F^{1/p} because rounded gradients turned the direction that a search found with them.

    It is :func:`turning_error`, and the effect of kinks, at which gradients jump. Over many kinks the jumps grow like
    the root of the distance, so the jumps over a unit in the last place are √(ε/δ) of the jumps over δ. The size of the
    latter shows in the integral's error where that could not be made small. They are weighted by the probability that
    rounding decides the sign of a unit at all, which is about ε for every activation and pass. Where that probability
    is small, a single unit can still cause a larger error than is stated here.

    Args:
        mean: F^{1/p} and the integral's error.
        gap: of the search where it last knew its gradient, see ``SearchState``; ∞ where it never did.
        surface: what was searched, in its arithmetic.
        options: δ and the wanted error.
    """
    epsilon = surface.roundoff
    unresolved = mean.error if mean.error > options.rtol * mean.value else 0.0
    likely = min(1.0, _PASSES * epsilon * surface.activations())
    kinks = math.sqrt(epsilon / options.delta) * likely * unresolved
    return turning_error(mean.value, gap, epsilon) + _sine(gap) * _KINK_UNITS * kinks
