"""Whether autograd sees how the loss depends on the weights: parts without gradients would be measured as constants."""

from __future__ import annotations

import math

import torch

from bnsharp_cli.errors import NotMeasurableError, named, shown
from bnsharp_cli.measurement.surface.first_batch import ELSEWHERE, SAME, first_loss, leaves_at, moved, same_loss
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.parameter_choice import ParameterChoice

_STEP, _SLOPE, _DIRECTIONS = 1e-6, 1e-3, 2
"""Of differences, and how far a slope may be off, relative to itself and to the gradient's norm."""


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
    """Refuse a loss of the network's weights whose gradient is not the one that autograd computes.

    A penalty on detached weights changes with them, and its gradient is zero. Slopes along two random directions are
    compared with differences, in float64.

    Raises:
        NotMeasurableError: they differ.
    """
    precise, batch = surface.in_precision(torch.float64), surface.batches[0]
    point, leaves = precise.point(), leaves_at(precise)
    with torch.enable_grad():
        _, loss = precise.outputs_and_loss(leaves, batch)
        gradient = torch.autograd.grad(loss, [*leaves.values()], allow_unused=True, materialize_grads=True)
    size = math.sqrt(sum(float(part.square().sum()) for part in gradient))
    for seed in range(_DIRECTIONS):
        ahead, direction = moved(point, _STEP, seed)
        behind, _ = moved(point, -_STEP, seed)
        with torch.no_grad():
            values = [float(precise.outputs_and_loss(there, batch)[1]) for there in (ahead, behind)]
        slope = sum(float((part * direction[name]).sum()) for name, part in zip(point, gradient, strict=True))
        difference = (values[0] - values[1]) / (2 * _STEP)
        rounding = abs(values[0]) * SAME * torch.finfo(torch.float64).eps / _STEP
        if not abs(difference - slope) <= _SLOPE * max(abs(difference), size) + rounding:
            raise _unseen_by_autograd(slope, difference)


def _unseen_by_autograd(slope: float, difference: float) -> NotMeasurableError:
    return NotMeasurableError(
        f"The loss depends on the network's weights in a way that autograd does not see: its slope along a random "
        f"direction is {difference:.6g}, by autograd {slope:.6g}.",
        "Take detach(), .data, numpy and torch.no_grad() out of what the loss computes of the weights.",
        argument="criterion",
        expected="a loss that autograd can follow back to the weights",
        found=slope,
    )
