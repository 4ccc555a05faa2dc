"""What rounding does where a norm's input hardly varies beside its mean, as behind a pruned row with a bias.

Such an input has lost its digits before the norm sees it, and the norm enlarges what is left of them. A ReLU behind it
may then go by the sign of rounding, and the gradient with it. The last bits of parameters, by which
:mod:`rounding` finds the rounding of losses, do not show that: the norm takes a bias out again exactly.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace

import torch

from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.measures.objective import SegmentObjective
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.norm_call import NormCall

_TRIALS = 4
_FACTOR = 2.0
"""Of 72 networks with drowned rows and 10 copies of each, the worst deviates by half of what this allows."""


def drowned_rounding(objective: SegmentObjective, value: float, seed: int) -> float:
    """The error of F^{1/p} by the rounding of norms' inputs that hardly vary beside their means.

    The last bits of these inputs are moved at random, a few times over. The largest change of the limit for δ → 0 is
    what the direction may lose, and that of the loss is what each difference of losses may.

    Args:
        objective: F^{1/p}.
        value: the value of F^{1/p}.
        seed: of the bits.

    Returns:
        0 where there are no such inputs, which a few samples tell at no cost; else it takes four gradients.
    """
    surface, spheres = objective.surface, objective.spheres
    if not _has_drowned_slots(surface, objective):
        return 0.0
    before = float(spheres.norms(spheres.to_coordinates_gradient(objective.gradient)).sum())
    turned, moved = 0.0, 0.0
    for trial in range(_TRIALS):
        noisy = surface.with_norms(treatment=replace(surface.treatment, last_bits=seed % 2**32 + trial))
        loss, gradient = noisy.value_and_gradient(objective.theta)
        after = float(spheres.norms(spheres.to_coordinates_gradient(gradient)).sum())
        turned = max(turned, abs(after - before) / before if before else 0.0)
        moved = max(moved, abs(loss - objective.loss))
    by_losses = math.sqrt(2) * 2 ** (1 / objective.power) * moved / objective.delta
    return _FACTOR * (turned * value + by_losses)


def _has_drowned_slots(surface: LossSurface, objective: SegmentObjective) -> bool:
    seen: list[bool] = []

    def observe(_: int, call: NormCall) -> None:
        seen.append(bool(call.moments().drowned().any()))

    for part in (surface.few_inputs(), surface.batches[0][0]):
        with contextlib.suppress(NotMeasurableError), torch.no_grad():
            surface.outputs(objective.theta, part, observe)
            break
    return any(seen)
