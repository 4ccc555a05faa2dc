"""Adaptive sharpness: how far the loss rises where every weight moves by a share of itself, at worst or on average."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from bnsharp_cli.core.auto_pgd import BALLS, Cube, PgdMaximum, auto_pgd
from bnsharp_cli.core.point import LazyPoint, Point, Vector, numbers, random_normal, scaled
from bnsharp_cli.errors import NotMeasurableError, named
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.batch_error import batch_error, together
from bnsharp_cli.measurement.measures.curvature_entries import AdaptiveOptions
from bnsharp_cli.measurement.measures.expected_passes import AUTO_PGD_STEPS, steps_of
from bnsharp_cli.measurement.measures.measurement import Measurement, Search, Status, Uncertainty
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.relative_radii import nothing_moves
from bnsharp_cli.measurement.measures.rounding import difference_rounding, loss_rounding, turning_error
from bnsharp_cli.measurement.surface.cost import NO_PASSES
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

_SIGN_TURNS = 10.0
"""As of Keskar's box, in which rounding also decides on signs."""


def adaptive_sharpness(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions) -> Measurement:
    r"""Adaptive sharpness of Kwon et al. (2021) as Andriushchenko et al. (2023) measure it, at worst or on average.

    .. math:: \frac1B \sum_b \max_{‖ε ⊘ |θ|‖_p ≤ ρ} L_b(θ + ε) - L_b(θ)

    The average takes E over ε = |θ| ρ z instead, z standard normal for L2 and uniform in [−1, 1] for L∞, as their
    programs do. Each number has a radius of its own, |θ_j|, so the value follows every rescaling of single numbers that
    leaves the loss unchanged, T_a and that of the neurons around a ReLU among them. A weight that is zero stays zero.

    As published, every batch has a worst case of its own, so the value depends on the batch size (theirs was 128). It
    is searched by 20 steps (``iterations``) of Auto-PGD from a random start, and from ``restarts`` further ones. ρ is
    one of theirs, see ``PUBLISHED_RADII``. Two things are otherwise: the ascent runs in z = ε ⊘ |θ|, where the ball is
    one and a zero weight is no trouble; and logits are not normalised.

    Cost: the worst case takes 1 forward, and 21 forwards and 20 backwards for each start; published programs take the
    loss of each step once more. The average takes 101 forwards. At most 5 more tell what rounding does.

    Errors: ``sampling`` is the standard error of the mean over batches, and over draws for the average. The worst case
    is a lower bound, as every search is.

    Raises:
        UnfitMeasureError: all weights are zero.
        NotMeasurableError: a loss is not finite.
    """
    del blocks
    own = options.of(AdaptiveOptions)
    total = sum(tensor.numel() for tensor in point.values())
    zero = int(sum(numbers((tensor == 0).sum() for tensor in point.values())))
    if zero == total:
        raise nothing_moves()
    before = surface.counter.cost
    (losses,) = surface.batch_losses([point])
    measured = (_worst if own.adaptive_kind == "worst" else _average)(surface, point, losses, options)
    details = {"kind": own.adaptive_kind, "norm": own.adaptive_norm, "rho": own.radius, "zero_weights": zero}
    notes = (f"{zero:,} of {total:,} weights are zero and stay zero",) if zero else ()
    return replace(measured, cost=surface.counter.cost - before, details=details, notes=notes)


def _worst(surface: LossSurface, point: Point, losses: Sequence[float], options: MeasureOptions) -> Measurement:
    """The mean over batches of the largest increase that an ascent finds for each."""
    steps, radius = steps_of(options, AUTO_PGD_STEPS), options.of(AdaptiveOptions).radius
    generators = _generators(options)
    starts = [
        [_ascend(surface, point, number, loss, generator, options) for number, loss in enumerate(losses)]
        for generator in generators
    ]
    clean = [loss / weight for loss, weight in zip(losses, surface.weights, strict=True)]
    best = [max(each, key=lambda one: one.loss) for each in zip(*starts, strict=True)]
    _require_finite([one.loss for each in starts for one in each], radius)
    gains = [one.loss - loss for one, loss in zip(best, clean, strict=True)]
    value = _mean(surface, gains)
    turned = [
        _SIGN_TURNS * turning_error(gain, one.gap, surface.roundoff) for gain, one in zip(gains, best, strict=True)
    ]
    floor = _batch_floor(surface, point, best, options.seed) + _mean(surface, turned)
    lately = _mean(surface, [one.gained_lately() for one in best])
    settled = Status.WITHIN_TOLERANCE if lately <= options.rtol * value else Status.ITERATION_LIMIT
    values = [_mean(surface, [one.loss - loss for one, loss in zip(each, clean, strict=True)]) for each in starts]
    weighted = [weight * gain for weight, gain in zip(surface.weights, gains, strict=True)]
    return Measurement(
        name="adaptive",
        value=value,
        status=settled if value > floor else Status.BELOW_RESOLUTION,
        uncertainty=Uncertainty(rounding=floor, sampling=batch_error(surface, weighted)),
        cost=NO_PASSES,
        search=Search("auto-pgd", len(starts), steps, tuple(values)),
        by_batch=tuple(weighted),
    )


def _generators(options: MeasureOptions) -> list[torch.Generator]:
    """One for each start, so that further starts leave the first ones as they are."""
    seeds = torch.Generator().manual_seed(options.seed)
    drawn = [int(torch.randint(2**62, (), generator=seeds)) for _ in range(1 + options.restarts)]
    return [torch.Generator().manual_seed(seed) for seed in drawn]


def _ascend(
    surface: LossSurface, point: Point, number: int, loss: float, generator: torch.Generator, options: MeasureOptions
) -> PgdMaximum:
    """The largest loss of one batch that an ascent from one random start finds.

    Args:
        surface: L.
        point: θ.
        number: of the batch.
        loss: of the batch at θ, with its weight.
        generator: of the start.
        options: the ball and the number of steps.
    """
    own = options.of(AdaptiveOptions)
    part, ball = surface.part(number, number + 1), BALLS[own.adaptive_norm](own.radius)

    def value_and_slope(coordinates: Point) -> tuple[float, Vector]:
        reached, gradient = part.value_and_gradient(_displaced(point, coordinates))
        return reached, {name: slope * point[name].abs() for name, slope in gradient.items()}

    return auto_pgd(
        lambda coordinates: part.value(_displaced(point, coordinates)),
        value_and_slope,
        ball,
        ball.random(point, generator),
        loss / surface.weights[number],  # a batch alone has the weight 1
        steps_of(options, AUTO_PGD_STEPS),
    )


def _batch_floor(surface: LossSurface, point: Point, best: Sequence[PgdMaximum], seed: int) -> float:
    """The error of an increase by rounding, taken at the batch where the loss and so its error is largest."""
    number = max(range(len(best)), key=lambda one: best[one].loss)
    part, highest = surface.part(number, number + 1), _displaced(point, best[number].coordinates)
    (losses,) = part.batch_losses([highest])
    error = loss_rounding(part, highest, losses, seed)
    return difference_rounding(error, error)


def _average(surface: LossSurface, point: Point, losses: Sequence[float], options: MeasureOptions) -> Measurement:
    """The mean increase over random displacements, the same ones for every batch."""
    own = options.of(AdaptiveOptions)
    gains: list[list[float]] = []
    highest = point
    for group in _groups(_drawn(point, options), surface.stack_size()):
        points = [_displaced(point, coordinates) for coordinates in group]
        for moved, after in zip(points, surface.batch_losses(points), strict=True):
            gains.append([one - loss for one, loss in zip(after, losses, strict=True)])
            highest = moved if sum(gains[-1]) == max(map(sum, gains)) else highest
    means = [math.fsum(each) / len(each) for each in gains]
    _require_finite(means, own.radius)
    value = math.fsum(means) / len(means)
    spread = math.sqrt(math.fsum((one - value) ** 2 for one in means) / (len(means) * (len(means) - 1)))
    by_batch = [math.fsum(each) / len(each) for each in zip(*gains, strict=True)]
    (found,) = surface.batch_losses([highest])
    error = loss_rounding(surface, highest, found, options.seed)
    floor = difference_rounding(error, error)
    return Measurement(
        name="adaptive",
        value=value,
        status=Status.SAMPLED if abs(value) > floor else Status.BELOW_RESOLUTION,
        uncertainty=Uncertainty(rounding=floor, sampling=together(spread, batch_error(surface, by_batch))),
        cost=NO_PASSES,
        by_batch=tuple(by_batch),
    )


def _drawn(point: Point, options: MeasureOptions) -> Iterator[Vector]:
    """Random z, as many as the average takes."""
    own = options.of(AdaptiveOptions)
    generator = torch.Generator().manual_seed(options.seed)
    for _ in range(own.adaptive_samples):
        if own.adaptive_norm == "l2":
            yield scaled(random_normal(point, generator), own.radius)
        else:
            yield Cube(own.radius).random(point, generator)


def _groups(each: Iterator[Vector], size: int) -> Iterator[list[Vector]]:
    """So many at a time, that no more than these are held."""
    while group := [*itertools.islice(each, size)]:
        yield group


def _displaced(point: Point, coordinates: Point) -> LazyPoint:
    """Each θ_j + |θ_j| z_j, tensor by tensor."""
    return LazyPoint(point, lambda name: torch.addcmul(point[name], point[name].abs(), coordinates[name]))


def _mean(surface: LossSurface, figures: Sequence[float]) -> float:
    """The mean over batches by their weights."""
    return math.fsum(weight * figure for weight, figure in zip(surface.weights, figures, strict=True)) / len(figures)


def _require_finite(figures: Sequence[float], radius: float) -> None:
    if not all(map(math.isfinite, figures)):
        raise NotMeasurableError(
            f"The loss is not finite where weights move by {radius:g} of themselves.",
            f"Lower {named('adaptive_rho')}, or use {named('precision')} float64.",
            argument="adaptive_rho",
        )
