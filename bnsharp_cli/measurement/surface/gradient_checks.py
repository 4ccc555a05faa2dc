"""Whether autograd sees how the loss depends on the weights: parts without gradients would be measured as constants."""

from __future__ import annotations

import math
from contextlib import nullcontext

import torch

from bnsharp_cli.errors import NotMeasurableError, named, shown
from bnsharp_cli.measurement.surface.first_batch import ELSEWHERE, first_loss, moved, same_loss
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.parameter_choice import ParameterChoice
from bnsharp_cli.measurement.surface.random_numbers import nothing_drawn
from bnsharp_cli.measurement.surface.slopes import false_slope

_SAME_RANGE = 0.05
"""How far apart, relative to the largest, outputs in two precisions may be: many layers round to a percent or less."""


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
        f"Take torch.no_grad(), detach(), .data, numpy and reentrant checkpoints out of its forward{instead}.",
        argument="model",
        expected="a loss that autograd can follow back to the weights",
        found=unseen,
    )


def require_range(surface: LossSurface) -> None:
    """Refuse a network whose outputs for the first batch are others in float32 than in float64, and not by rounding.

    Variances of large numbers are infinite in float32, for example, and what is divided by them vanishes.

    Raises:
        NotMeasurableError: they are.
    """
    if surface.dtype == torch.float64:
        return
    inputs, point = surface.few_inputs(), surface.point()
    try:
        with torch.no_grad():
            found, exact = (
                surface.in_precision(dtype).outputs(point, inputs) for dtype in (surface.dtype, torch.float64)
            )
    except NotMeasurableError:  # where the network does not run, the measurement says so
        return
    for rounded, output in zip(found, exact, strict=False):
        if not output.numel() or not bool(torch.isfinite(output).all()):  # of broken data or weights, told elsewhere
            continue
        if not bool((rounded.double() - output).abs().max() <= _SAME_RANGE * output.abs().max()):
            raise NotMeasurableError(
                f"The network's outputs in {str(surface.dtype).removeprefix('torch.')} are not those in float64, and "
                "by more than rounding: numbers inside leave its range.",
                f"Use {named('precision')} float64, or check the scale of the inputs and of the weights.",
                argument="precision",
                expected="the same outputs in either precision, but for rounding",
                found=str(surface.dtype).removeprefix("torch."),
            )


def require_gradient(surface: LossSurface) -> None:
    """Refuse a loss whose gradient is not the one that autograd computes.

    A penalty on detached weights changes with them, and its gradient is zero; rounding with a straight-through
    gradient has a slope where the loss has steps. See :mod:`slopes` for what is compared.

    Raises:
        NotMeasurableError: the gradient is another one; or the network draws random numbers there and none here.
    """
    precise = surface.in_precision(torch.float64)
    with nullcontext() if surface.conduct.draws else nothing_drawn(surface.device):
        found = false_slope(precise)
    if found is None:
        return
    slope, difference = found
    argument = "criterion" if surface.loss_reads_network else "model"
    instead = f", or leave out with {named('parameters')} the weights that it concerns" if argument == "model" else ""
    raise NotMeasurableError(
        f"The loss depends on the network's weights in a way that autograd does not see: its slope along a random "
        f"direction is {difference:.6g}, by autograd {slope:.6g}.",
        "Take detach(), .data, numpy, torch.no_grad() and rounding with a gradient of its own out of what is computed "
        f"of the weights{instead}.",
        argument=argument,
        expected="a loss that autograd can follow back to the weights",
        found=slope,
    )
