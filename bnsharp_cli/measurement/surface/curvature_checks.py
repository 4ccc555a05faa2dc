"""Whether the second derivatives that autograd finds are those of the loss.

A function of the network's own may have a backward pass that torch takes for a constant when it differentiates again,
as where that uses numpy or numbers that the forward pass kept. No error tells of it. So the product of the Hessian with
a random vector is held against differences of gradients, in float64, on a few examples and beside the weights
themselves, where ReLUs may stand exactly at a kink. Gradients jump at kinks, which lie between two points the more
often the farther these are apart; rounding grows the nearer they are. So several steps and directions are tried, and
one that agrees is enough: second derivatives that are others are so along every direction and at every step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point, Vector, add_scaled, numbers, random_normal, usual_sizes
from bnsharp_cli.errors import NotMeasurableError, UnfitMeasureError
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.second_order import attention_differentiable_twice, gradient_and_products
from bnsharp_cli.measurement.surface.surface_state import FEW

_BESIDE = 1e-3
"""How far from the weights derivatives are compared, in units of each parameter's size, as the steps are."""

_STEPS, _DIRECTIONS = (1e-4, 1e-6, 1e-8, 1e-9), 3
_CLOSE = 1e-3
"""How far the two may be apart, relative to the larger."""

_UNITS = 100
"""By how many units in the last place a gradient rounds."""


def require_curvature(surface: LossSurface) -> None:
    """Refuse a loss whose second derivatives are not those that autograd computes.

    A network that runs neither on a few examples nor on its first batch is left to whoever measures it.

    Raises:
        UnfitMeasureError: they are others, or there are none.
    """
    precise = surface.in_precision(torch.float64)
    for batch in _parts(precise):
        try:
            agrees = any(_agrees(precise, batch, seed) for seed in range(_DIRECTIONS))
        except UnfitMeasureError:
            raise
        except NotMeasurableError:
            continue
        if agrees:
            return
        raise UnfitMeasureError(
            "The second derivatives that autograd finds are not those of the loss: products with its Hessian differ "
            "from differences of its gradients.",
            "Measure something else, or let torch differentiate the functions that have a backward of their own.",
            argument="model",
            expected="a loss that torch can differentiate twice",
            found="other second derivatives",
        )


def _parts(surface: LossSurface) -> Iterator[Batch]:
    """A few examples of the first batch, and all of it, which is taken where a few do not run."""
    inputs, targets = batch = surface.batches[0]
    if surface.conduct.parts and len(inputs) == len(targets):
        yield inputs[:FEW], targets[:FEW]
    yield batch


def _agrees(surface: LossSurface, batch: Batch, seed: int) -> bool:
    """Whether product and difference are the same along one direction, at some step."""
    sizes = usual_sizes(surface.point())
    aside, direction = (_drawn(surface, sizes, 2 * seed + part) for part in range(2))
    start = add_scaled(surface.point(), aside, _BESIDE)
    gradient, (product,) = _derivatives(surface, start, batch, [direction])
    for step in _STEPS:
        after, before = (
            _derivatives(surface, add_scaled(start, direction, way * step), batch, [])[0] for way in (1, -1)
        )
        difference = [(one - other) / (2 * step) for one, other in zip(after, before, strict=True)]
        apart = _size([one - other for one, other in zip(product, difference, strict=True)], sizes)
        rounding = _UNITS * torch.finfo(torch.float64).eps * _size(gradient, sizes) / step
        if apart <= _CLOSE * max(_size(product, sizes), _size(difference, sizes)) + rounding:
            return True
    return False


def _derivatives(
    surface: LossSurface, point: Point, batch: Batch, directions: Sequence[Point]
) -> tuple[list[Tensor], list[list[Tensor]]]:
    """The gradient at a point, and the products of the Hessian with some directions."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in point.items()}
    with torch.enable_grad(), attention_differentiable_twice():
        _, loss = surface.outputs_and_loss(leaves, batch)
        surface.counter.tried(len(batch[0]), backward=1 + len(directions))
        return gradient_and_products(loss, leaves, directions)


def _size(parts: list[Tensor], sizes: dict[str, float]) -> float:
    """The norm of a gradient in units of the parameters' sizes."""
    lengths = numbers(part.norm() for part in parts)
    return math.hypot(*(length * size for length, size in zip(lengths, sizes.values(), strict=True)))


def _drawn(surface: LossSurface, sizes: dict[str, float], seed: int) -> Vector:
    noise = random_normal(surface.point(), torch.Generator().manual_seed(seed), rough=True)
    return {name: part * sizes[name] for name, part in noise.items()}
