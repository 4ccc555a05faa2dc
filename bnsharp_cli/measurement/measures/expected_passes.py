"""How many passes a measure may take, before it is taken: what a user who waits for it is told first."""

from __future__ import annotations

from typing import Protocol

from bnsharp_cli.core.ascent import SearchRule
from bnsharp_cli.measurement.surface.cost import BACKWARD, FORWARD, GRADIENT, Cost

BALL_STEPS, BOX_STEPS = 5, 10
"""Steps in the Euclidean ball from each start, and of the solver in a box."""

AUTO_PGD_STEPS, LANCZOS_STEPS = 20, 20
"""Steps of the ascent in an adaptive ball, and products for one eigenvalue, as long as the user does not say."""

PROBES_AT_ONCE = 4
"""Random vectors that share a forward pass and a gradient; each of them and of its products is held in memory."""

_ROUNDING = 4 * FORWARD
"""The most that it takes to see how the loss rounds."""

_INTEGRAL, _PATIENT_INTEGRAL = 12, 20
"""The most losses of the integral, from one start and from several."""

_PARTS = 1.25
"""Two halves and a quarter of the samples are searched again where the uncertainty is asked for in full."""


class WhatTakesPasses(Protocol):
    """The part of the options of the measures that decides how many passes they take."""

    @property
    def rule(self) -> SearchRule:
        """The search rule."""

    @property
    def steps(self) -> int:
        """The steps that the search may take from each start."""

    @property
    def iterations(self) -> int | None:
        """The same as the user gives it."""

    @property
    def restarts(self) -> int:
        """The random starts besides the gradient."""

    @property
    def search_nodes(self) -> int:
        """The quadrature nodes of the search."""

    @property
    def uncertainty(self) -> str:
        """``full`` where parts of the samples are measured too."""


def of_search(options: WhatTakesPasses) -> Cost:
    """The most that the search takes from one start."""
    values, gradients = options.rule.questions
    step = values * FORWARD + gradients * GRADIENT
    return options.search_nodes * (options.steps * step + FORWARD)


def of_bn_sharpness(options: WhatTakesPasses) -> Cost:
    """The most that BN-Sharpness takes."""
    losses = _PATIENT_INTEGRAL if options.restarts else _INTEGRAL
    once = GRADIENT + (1 + options.restarts) * of_search(options) + losses * FORWARD + _ROUNDING
    return once + _PARTS * once if options.uncertainty == "full" else once


def of_delta_lp(points: int) -> Cost:
    """What δ-L^p takes with so many points in the ball."""
    return (points + 1) * FORWARD + _ROUNDING


def of_delta_linf(options: WhatTakesPasses) -> Cost:
    """The most that δ-L∞ takes."""
    steps = steps_of(options, BALL_STEPS)
    return GRADIENT + (1 + options.restarts) * steps * GRADIENT + 2 * FORWARD + _ROUNDING


def of_keskar(_: WhatTakesPasses) -> Cost:
    """About the most that the measure of Keskar et al. takes: its solver mostly needs two gradients a step."""
    return 2 * FORWARD + 2 * (BOX_STEPS + 1) * GRADIENT + FORWARD + _ROUNDING


def of_gradient(_: WhatTakesPasses) -> Cost:
    """The most that the norm of the gradient takes, with the slopes of the batches."""
    return 2 * GRADIENT


def of_outputs(_: WhatTakesPasses) -> Cost:
    """The most that a measure of the network's answers takes."""
    return FORWARD + _ROUNDING


class WhatAdaptiveTakes(Protocol):
    """The part of the options of adaptive sharpness that decides how many passes it takes."""

    @property
    def adaptive_kind(self) -> str:
        """Worst or average."""

    @property
    def adaptive_samples(self) -> int:
        """The draws of the average."""


def steps_of(options: WhatTakesPasses, usual: int) -> int:
    """The steps that the user asks for, at least one, or the usual ones."""
    return usual if options.iterations is None else max(1, options.iterations)


def of_adaptive(options: WhatTakesPasses, own: WhatAdaptiveTakes) -> Cost:
    """The most that adaptive sharpness takes."""
    if own.adaptive_kind == "average":
        return (2 + own.adaptive_samples) * FORWARD + _ROUNDING
    ascent = steps_of(options, AUTO_PGD_STEPS) * GRADIENT + FORWARD
    return 2 * FORWARD + (1 + options.restarts) * ascent + _ROUNDING


class WhatCurvatureTakes(Protocol):
    """The part of the options of the curvature that decides how many passes it takes."""

    @property
    def hessian_probes(self) -> int:
        """The random vectors of a trace."""

    @property
    def hessian_starts(self) -> int:
        """The Lanczos runs of the density."""


def of_hessian(options: WhatTakesPasses, own: WhatCurvatureTakes) -> Cost:
    """The most that the curvature takes: two eigenvalues, two traces, densities, and products that tell the errors."""
    product = GRADIENT + BACKWARD
    groups = -(-own.hessian_probes // PROBES_AT_ONCE)
    traces = groups * GRADIENT + own.hessian_probes * BACKWARD
    runs = 1 + own.hessian_starts
    return runs * steps_of(options, LANCZOS_STEPS) * product + 2 * traces + 5 * product
