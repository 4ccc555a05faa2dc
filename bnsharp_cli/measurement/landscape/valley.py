r"""A curved way between two networks: a quadratic Bézier curve whose bend is trained (Garipov et al., NeurIPS 2018).

.. math:: θ_w(t) = (1 - t)^2 a + 2 t (1 - t) w + t^2 b

The ends stay, and w is trained to make :math:`E_t L(θ_w(t))` small, t uniform in [0, 1]. With w in the middle between
a and b the curve is the straight line, and that is where training begins. Copies T_a of either network have the same
curve, as they have the same line.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.landscape.bend import bend_cost, curve, train_bend
from bnsharp_cli.measurement.landscape.between import BETWEEN_STEPS, Between, along
from bnsharp_cli.measurement.surface.cost import FORWARD, Cost
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

BEND_STEPS = 50
"""Steps of training that a bend gets."""

_INNER = slice(2, -2, 2)
"""Every second point of a curve, without its ends."""

_ENDED = 0.95


@dataclass(frozen=True)
class Valley:
    """The loss along a curved way.

    Attributes:
        between: L along it.
        steps: of training that were taken.
        halfway: mean of L over the inner points of the curve after half of the steps.
        trained: the same after all of them.
        bent: whether it is the trained curve; otherwise the barrier of that was no lower than the line's, and it is
            the line.
    """

    between: Between
    steps: int
    halfway: float
    trained: float
    bent: bool

    @property
    def still_falling(self) -> bool:
        """Whether the second half of the steps made the loss smaller by more than a twentieth."""
        return self.trained < _ENDED * self.halfway


def valley_cost(surface: LossSurface, steps: int, points: int = BETWEEN_STEPS) -> Cost:
    """What :func:`valley_from` costs: training, the curve, and every second inner point of it halfway.

    Args:
        surface: L.
        steps: of training.
        points: of the curve.
    """
    return bend_cost(surface, steps) + (points + len(range(points)[_INNER])) * FORWARD


def valley_from(
    surface: LossSurface, ends: tuple[Point, Point], blocks: Blocks, line: Between, steps: int, seed: int = 0
) -> Valley:
    """Train the bend between two networks, and L along the curve, which is never worse than the line.

    Args:
        surface: L, with batch statistics.
        ends: a; and b with rows as long as those of a, see :func:`~bnsharp_cli.measurement.landscape.between.matched`.
        blocks: the scale-invariant rows.
        line: L along the straight line between them.
        steps: of training, each a gradient on one batch.
        seed: of t.
    """
    first, second = ends
    training = train_bend(surface, first, second, blocks, steps, seed)
    found = along(surface, line.steps, [curve(first, training.point, second, t) for t in line.steps])
    before = surface.values([curve(first, training.halfway, second, t) for t in line.steps[_INNER]])
    bent = found.barrier < line.barrier
    chosen = found if bent else line
    return Valley(chosen, training.steps, fmean(before), fmean(found.losses[_INNER]), bent)
