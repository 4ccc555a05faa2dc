"""The size of noise that takes a tenth off the accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from bnsharp_cli.core.halving import last_crossing
from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import UnfitMeasureError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.batch_parts import around
from bnsharp_cli.measurement.measures.measurement import Measurement, Status, Uncertainty
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.perturbation_entries import SIGMA_SEARCH, SigmaOptions
from bnsharp_cli.measurement.measures.relative_radii import AnySpheres, relative_spheres
from bnsharp_cli.measurement.surface.accuracy import NetworkFigures
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

DROP = 0.1
"""What the accuracy loses at σ, on average."""

_ROUNDING = 1e-9
"""Shares of examples that differ by less are equal."""


def pac_bayes_sigma(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions) -> Measurement:
    r"""The largest σ at which noise takes no more than 0.1 off the accuracy, on average over K draws.

    .. math:: \max σ: E_z [A(θ) - A(θ + σz)] ≤ 0.1, \quad z_b \text{ uniform on the sphere } \|z_b\| = \|θ_b\|

    A is the accuracy on the samples. A large σ is flat; the measures of the sources are 1/σ². The directions are the
    same for each σ (common random numbers), so the mean drop over them is a function of σ. It is tried at 1/4, 1/2, … 4
    until it exceeds 0.1, or at 1/8, 1/16, … until it does not, and then the interval is halved five times. The bracket
    is what that leaves; the sampling error is that of the draws, by leaving out one at a time (jackknife) and
    interpolating between the σ that were tried. How far other samples would change the accuracy is not in it; the
    numbers of the batches tell it, by leaving out one batch at a time.

    Sources: Jiang et al. (ICLR 2020), flatness-based measures; Dziugaite et al. (NeurIPS 2020), whose code takes 10
    draws and at most 15 values of σ. There the noise is Gaussian, with a deviation of σ, or σ|θ_j| for each number.

    Cost: 1 forward, and K for each of at most 14 values of σ.

    Invariance: under every rescaling of whole blocks that leaves the predictions unchanged.

    Args:
        surface: L.
        point: θ.
        blocks: of the command; they are used where ``relative_to`` says so.
        options: the number of draws, seed.

    Raises:
        UnfitMeasureError: targets are not numbers of classes, all weights are zero, or the accuracy cannot fall, or
            does not fall, by 0.1.
    """
    before, own = surface.counter.cost, options.of(SigmaOptions)
    spheres, notes = relative_spheres(surface, point, blocks, own.relative_to)
    figures = surface.evaluated(point)
    accuracy = _accuracy_that_can_fall(figures)
    drops = _Drops(surface, point, spheres, figures.batch_accuracies, own.sigma_draws, options.seed)
    crossing = SIGMA_SEARCH.crossing(drops.excess)
    if crossing is None:
        raise UnfitMeasureError(
            f"Noise of up to {SIGMA_SEARCH.largest:g} times the weights takes less than {DROP} off the accuracy of "
            f"{accuracy:.3g}.",
            "Measure more of the parameters.",
            argument="parameters",
            expected="parameters that decide the predictions",
            found=accuracy,
        )
    return Measurement(
        name="pac-bayes-sigma",
        value=crossing.middle,
        status=Status.BRACKETED,
        uncertainty=Uncertainty(sampling=drops.sampling(), bracket=crossing.reach),
        cost=surface.counter.cost - before,
        details={
            "relative_to": own.relative_to,
            "low": crossing.low,
            "high": crossing.high,
            "draws": own.sigma_draws,
            "accuracy": accuracy,
            "drop": DROP,
        },
        notes=notes,
        by_batch=around(crossing.middle, drops.by_batch()),
    )


def _accuracy_that_can_fall(figures: NetworkFigures) -> float:
    """The accuracy without noise.

    Raises:
        UnfitMeasureError: there is none, or it is too near that of a guess.
    """
    accuracy, classes = figures.accuracy, figures.classes
    if accuracy is None:
        raise UnfitMeasureError(
            "There is no accuracy: the targets are not numbers of classes.",
            "Measure a classifier, or take noise instead, which needs only a loss.",
            argument="data",
            expected="numbers of classes as targets",
            found="other targets",
        )
    guess = 1 / classes
    if accuracy - DROP < guess - _ROUNDING:
        raise UnfitMeasureError(
            f"The accuracy is {accuracy:.3g}, and a guess among {classes} classes has {guess:.3g}: noise cannot take "
            f"{DROP} off it.",
            "Measure a trained network, or take noise instead.",
            argument="model",
            expected=f"an accuracy of at least {guess + DROP:.3g}",
            found=accuracy,
        )
    return accuracy


class _Drops:
    """What each draw takes off the accuracy, at every σ that was tried.

    The directions are drawn anew for each σ, from the same seed, so that only one of them is held at a time.
    """

    def __init__(
        self,
        surface: LossSurface,
        point: Point,
        spheres: AnySpheres,
        accuracies: Sequence[float],
        draws: int,
        seed: int,
    ) -> None:
        self._surface, self._point, self._spheres = surface, point, spheres
        self._accuracies, self._draws, self._seed = accuracies, draws, seed
        self._drops: dict[float, list[tuple[float, ...]]] = {}

    def excess(self, sigma: float) -> float:
        """By how much the mean drop exceeds 0.1."""
        generator = torch.Generator().manual_seed(self._seed)
        own = self._drops[sigma] = []
        for _ in range(self._draws):
            coordinates = self._spheres.random(self._point, generator)
            moved = self._spheres.on_segment(self._point, coordinates, sigma)
            found = self._surface.evaluated(moved).batch_accuracies
            own.append(tuple(before - after for before, after in zip(self._accuracies, found, strict=True)))
        return _excess([_mean(drop) for drop in own])

    def sampling(self) -> float:
        """The standard error of σ by the choice of draws, by the jackknife."""
        draws = {sigma: [_mean(drop) for drop in drops] for sigma, drops in self._drops.items()}
        without = _without_each(draws)
        mean = _mean(without)
        squares = math.fsum((one - mean) ** 2 for one in without)
        return math.sqrt((self._draws - 1) / self._draws * squares)

    def by_batch(self) -> list[float]:
        """What each batch says of σ, as the jackknife's pseudo-values: minus B − 1 times σ without it."""
        batches = {sigma: [_mean(each) for each in zip(*drops, strict=True)] for sigma, drops in self._drops.items()}
        if len(self._accuracies) < 2:
            return [0.0]
        return [-(len(self._accuracies) - 1) * one for one in _without_each(batches)]


def _without_each(drops: Mapping[float, Sequence[float]]) -> list[float]:
    """σ where each draw, or each batch, is left out in turn."""
    count = len(next(iter(drops.values())))
    kept = (
        {sigma: _excess([*each[:left_out], *each[left_out + 1 :]]) for sigma, each in drops.items()}
        for left_out in range(count)
    )
    return [last_crossing({0.0: -DROP, **one}) for one in kept]


def _excess(drops: Sequence[float]) -> float:
    return _mean(drops) - DROP - _ROUNDING


def _mean(numbers: Sequence[float]) -> float:
    return math.fsum(numbers) / len(numbers)
