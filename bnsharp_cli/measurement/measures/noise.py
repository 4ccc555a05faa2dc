"""The loss change by random noise, relative to the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import NotMeasurableError, named
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.measurement import Measurement, Status, Uncertainty
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.perturbation_entries import NoiseOptions
from bnsharp_cli.measurement.measures.relative_radii import AnySpheres, relative_spheres
from bnsharp_cli.measurement.measures.rounding import difference_rounding, loss_rounding
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


def noise(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions) -> Measurement:
    r"""The mean loss change by noise of the size σ, for each of several σ.

    .. math:: E_z ½ [L(θ + σz) + L(θ - σz)] - L(θ), \quad z_b \text{ uniform on the sphere } \|z_b\| = \|θ_b\|

    Both signs of each z are tried, so the linear term, which is mostly the noise of the batches, cancels. What remains
    is ½ σ² E zᵀHz for small σ: by blocks of d_b numbers, ½ σ² Σ_b ‖θ_b‖² tr H_bb / d_b. The directions are those of
    all σ (common random numbers). The value is that of the largest σ, where the change stands farthest above the errors
    of drawing and rounding; the profile is in the details as ``by_sigma``. It may be negative.

    Source: expected sharpness, Neyshabur et al. (NeurIPS 2017), with relative radii.

    Cost: 1 forward, for each σ 2 K, and what it takes to see the rounding at θ and at each σ.

    Invariance: z is drawn in normalised coordinates, so the number, not only its mean, is the same for every rescaling
    of whole blocks that leaves the loss unchanged.

    Args:
        surface: L.
        point: θ.
        blocks: of the command; they are used where ``relative_to`` says so.
        options: the values of σ, the number of draws, seed.

    Raises:
        UnfitMeasureError: all weights are zero.
        NotMeasurableError: a loss is not finite.
    """
    before, own = surface.counter.cost, options.of(NoiseOptions)
    spheres, notes = relative_spheres(surface, point, blocks, own.relative_to)
    (losses,) = surface.batch_losses([point])
    loss = math.fsum(losses) / len(losses)
    generator = torch.Generator().manual_seed(options.seed)
    changes = [_Changes(sigma) for sigma in own.sigmas]
    for _ in range(own.noise_draws):
        coordinates = spheres.random(point, generator)
        for change in changes:
            change.add(surface, point, spheres, coordinates, loss)
    error = loss_rounding(surface, point, losses, options.seed)
    records = [change.record(surface, point, spheres, error, options.seed) for change in changes]
    last = records[-1]
    resolved = abs(last["value"]) > last["rounding"]
    return Measurement(
        name="noise",
        value=last["value"],
        status=Status.SAMPLED if resolved else Status.BELOW_RESOLUTION,
        uncertainty=Uncertainty(rounding=last["rounding"], sampling=last["sampling"]),
        cost=surface.counter.cost - before,
        details={
            "sigma": last["sigma"],
            "draws": own.noise_draws,
            "relative_to": own.relative_to,
            "by_sigma": records,
        },
        notes=notes,
        by_batch=tuple(total / own.noise_draws - at for total, at in zip(changes[-1].by_batch, losses, strict=True)),
    )


@dataclass
class _Changes:
    """The loss changes of all draws at one σ, the losses of the batches added up, and where the loss was largest."""

    sigma: float
    changes: list[float] = field(default_factory=list)
    by_batch: list[float] = field(default_factory=list)
    highest: tuple[float, float, Point, Sequence[float]] | None = None

    def add(self, surface: LossSurface, point: Point, spheres: AnySpheres, coordinates: Point, loss: float) -> None:
        """One draw, on both sides.

        Raises:
            NotMeasurableError: a loss is not finite.
        """
        steps = (self.sigma, -self.sigma)
        both = surface.batch_losses([spheres.on_segment(point, coordinates, step) for step in steps])
        values = [math.fsum(losses) / len(losses) for losses in both]
        if not all(map(math.isfinite, values)):
            raise NotMeasurableError(
                f"The loss is not finite under noise of {named('sigma')} {self.sigma:g}.",
                f"Lower {named('sigma')}, or use {named('precision')} float64.",
                argument="sigma",
                expected="noise under which the loss is finite",
                found=self.sigma,
            )
        means = [(ahead + behind) / 2 for ahead, behind in zip(*both, strict=True)]
        self.by_batch = [sum(pair) for pair in zip(self.by_batch or [0.0] * len(means), means, strict=True)]
        self.changes.append(math.fsum((values[0] - loss, values[1] - loss)) / 2)
        side = values.index(max(values))
        if self.highest is None or values[side] > self.highest[0]:
            self.highest = values[side], steps[side], coordinates, both[side]

    def record(
        self, surface: LossSurface, point: Point, spheres: AnySpheres, error: float, seed: int
    ) -> dict[str, Any]:
        """The mean with its errors.

        The losses round independently at every point, so the mean of both sides of all draws has less of it than each;
        ``error`` is that of L(θ).
        """
        assert self.highest is not None
        count, mean = len(self.changes), math.fsum(self.changes) / len(self.changes)
        variance = math.fsum((change - mean) ** 2 for change in self.changes) / (count - 1)
        _, step, coordinates, losses = self.highest
        moved = spheres.on_segment(point, coordinates, step)
        largest = loss_rounding(surface, moved, losses, seed)
        return {
            "sigma": self.sigma,
            "value": mean,
            "sampling": math.sqrt(variance / count),
            "rounding": difference_rounding(largest / math.sqrt(2 * count), error),
        }
