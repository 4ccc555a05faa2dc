"""Whether autograd sees how the loss depends on the weights: parts without gradients would be measured as constants."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import NotMeasurableError, UsageError, named, shown
from bnsharp_cli.measurement.surface.code_switches import dense
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.measurement.surface.first_batch import ELSEWHERE, SAME, first_loss, moved, same_loss
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.parameter_choice import ParameterChoice
from bnsharp_cli.measurement.surface.surface_state import FEW

_STEP, _SLOPE, _DIRECTIONS = 1e-6, 1e-3, 2
"""Of differences, and how far a slope may be off, relative to itself and to the gradient's norm."""

_BESIDE, _STRIDE = 1e-3, 1e-2
"""How far away slopes are compared again, and the step along weights whose gradient is zero: it passes over steps."""


def require_seen(surface: LossSurface, choice: ParameterChoice) -> None:
    """Refuse parameters that the loss has no gradient in, although it changes with them.

    Raises:
        NotMeasurableError: there are some, such as those of a part that runs without gradients.
    """
    unseen = [name for name in surface.conduct.unseen if name in choice.names]
    point = surface.point()
    if not unseen:
        return
    others, _ = moved({name: point[name] for name in unseen}, ELSEWHERE)
    here = float(first_loss(surface))
    with torch.no_grad():
        there = float(surface.outputs_and_loss({**point, **others}, surface.batches[0])[1])
    if not math.isfinite(there) or same_loss(surface, here, there):
        return
    seen = next((name for name in choice.names if name not in unseen), None)
    more = f" and {len(unseen) - 1} more" if len(unseen) > 1 else ""
    instead = f", or leave them out with {named('parameters')}, for example {shown(seen)}" if seen else ""
    raise NotMeasurableError(
        f"The loss changes with {shown(unseen[0])}{more}, but autograd sees nothing of it: a part of the network runs "
        "without gradients.",
        f"Take torch.no_grad(), detach(), .data and numpy out of its forward{instead}.",
        argument="model",
        expected="a loss that autograd can follow back to the weights",
        found=unseen,
    )


def require_gradient(surface: LossSurface) -> None:
    """Refuse a loss whose gradient is not the one that autograd computes.

    A penalty on detached weights changes with them, and its gradient is zero; rounding with a straight-through
    gradient has a slope where the loss has steps. Slopes along two random directions are compared with differences, in
    float64, where those do not vary with their step. Where they differ, they are compared once more beside the point:
    ReLUs at exactly zero have no slope.

    Raises:
        NotMeasurableError: they differ there too.
    """
    precise = surface.in_precision(torch.float64)
    batch, point = _few(precise), precise.point()
    if _difference(precise, point, batch) is None:
        return
    found = _difference(precise, moved(point, _BESIDE, _DIRECTIONS)[0], batch)
    if found is not None:
        raise _unseen_by_autograd(*found, argument="criterion" if surface.loss_reads_network else "model")


def _few(surface: LossSurface) -> Batch:
    """A few examples of the first batch, or all of it where the network or the loss does not take a part."""
    inputs, targets = batch = surface.batches[0]
    if not surface.conduct.parts or len(inputs) != len(targets):
        return batch
    few = inputs[:FEW], targets[:FEW]
    try:
        with torch.no_grad():
            _, loss = surface.outputs_and_loss(surface.point(), few)
    except (NotMeasurableError, UsageError):
        return batch
    return few if math.isfinite(float(loss)) else batch


def _difference(surface: LossSurface, point: Point, batch: Batch) -> tuple[float, float] | None:
    """The slope by autograd and the one by differences along a random direction; None where both agree on each."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in point.items()}
    with torch.enable_grad():
        _, loss = surface.outputs_and_loss(leaves, batch)
        if not loss.requires_grad:  # of a few parameters that this batch does not use
            return None
        gradient = torch.autograd.grad(loss, [*leaves.values()], allow_unused=True, materialize_grads=True)
    slopes = dict(zip(leaves, dense(gradient), strict=True))
    flat = [name for name, slope in slopes.items() if not bool(slope.any())]
    size = math.sqrt(sum(float(slope.square().sum()) for slope in slopes.values()))
    trials = [([*slopes], _STEP, seed) for seed in range(_DIRECTIONS)] + ([(flat, _STRIDE, 0)] if flat else [])
    for names, step, seed in trials:
        difference, direction, rounding = _central(surface, point, batch, names, step, seed)
        slope = sum(float((slopes[name] * direction[name]).sum()) for name in names)
        allowed = _SLOPE * max(abs(difference), size) + rounding
        if math.isfinite(difference) and abs(difference - slope) > allowed:
            further, *_ = _central(surface, point, batch, names, step / 4, seed)
            if abs(further - slope) > allowed and (names is flat or abs(further - difference) <= allowed):
                return slope, difference
    return None


def _central(
    surface: LossSurface, point: Point, batch: Batch, names: Sequence[str], step: float, seed: int
) -> tuple[float, Point, float]:
    """The central difference along a random direction of some parameters, that direction, and what is rounding."""
    some = {name: point[name] for name in names}
    ahead, direction = moved(some, step, seed)
    behind, _ = moved(some, -step, seed)
    with torch.no_grad():
        one, other = (float(surface.outputs_and_loss({**point, **there}, batch)[1]) for there in (ahead, behind))
    limits = torch.finfo(torch.float64)
    rounding = max(abs(one), abs(other)) * SAME * limits.eps / step + limits.tiny
    return (one - other) / (2 * step), direction, rounding


def _unseen_by_autograd(slope: float, difference: float, argument: str) -> NotMeasurableError:
    instead = f", or leave out with {named('parameters')} the weights that it concerns" if argument == "model" else ""
    return NotMeasurableError(
        f"The loss depends on the network's weights in a way that autograd does not see: its slope along a random "
        f"direction is {difference:.6g}, by autograd {slope:.6g}.",
        "Take detach(), .data, numpy, torch.no_grad() and rounding with a gradient of its own out of what is computed "
        f"of the weights{instead}.",
        argument=argument,
        expected="a loss that autograd can follow back to the weights",
        found=slope,
    )
