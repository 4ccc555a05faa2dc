"""Points and directions in parameter space: one float64 tensor per parameter name.

Importing this module does not import torch, so that search rules can be listed without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Point = Mapping[str, "Tensor"]
Vector = dict[str, "Tensor"]
"""A point or direction that holds its tensors."""


class LazyPoint(Mapping[str, "Tensor"]):
    """A point whose tensors are computed when they are asked for, each time anew: it takes no memory of its own."""

    def __init__(self, names: Mapping[str, Tensor], compute: Callable[[str], Tensor]) -> None:
        self._names, self._compute = names, compute

    def __getitem__(self, name: str) -> Tensor:
        """The tensor of one parameter."""
        return self._compute(name)

    def __iter__(self) -> Iterator[str]:
        """The names of all parameters, in their order."""
        return iter(self._names)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._names)


def on_segment(point: Point, direction: Point, step: float) -> LazyPoint:
    """``point + step · direction``, tensor by tensor."""
    return LazyPoint(point, lambda name: point[name].add(direction[name], alpha=step))


def add_scaled(point: Point, direction: Point, step: float) -> Vector:
    """``point + step · direction``."""
    return {name: tensor.add(direction[name], alpha=step) for name, tensor in point.items()}


def inner(first: Point, second: Point) -> float:
    """The Euclidean inner product ⟨first, second⟩, in float64."""
    return inner_products((first, second))[0]


def inner_products(*pairs: tuple[Point, Point]) -> list[float]:
    """The inner product of each pair, fetched at once."""
    import torch

    each = torch.stack([inner_by_tensor(first, second) for first, second in pairs])
    return [_exact_sum(parts) for parts in each.tolist()]


def _exact_sum(parts: Sequence[float]) -> float:
    """Their sum without rounding errors; infinite or NaN where parts or the sum are."""
    try:
        return math.fsum(parts)
    except (OverflowError, ValueError):  # of numbers that are too large together, and of inf − inf
        return sum(parts)


def inner_by_tensor(first: Point, second: Point) -> Tensor:
    """What each tensor adds to ⟨first, second⟩, (tensors,) float64, where the points are."""
    import torch

    return torch.stack([(first[name] * second[name]).sum().double() for name in first])


def numbers(scalars: Iterable[Tensor]) -> list[float]:
    """Tensors of one number each as Python's numbers, fetched at once: a device is waited for a single time.

    >>> import torch
    >>> numbers([torch.tensor(1), torch.tensor(0.5)])
    [1.0, 0.5]
    """
    import torch

    held = [scalar.detach().double().reshape(()) for scalar in scalars]
    return torch.stack(held).tolist() if held else []


def usual_sizes(point: Point) -> dict[str, float]:
    """The root mean square of each tensor's entries, 1 where all are zero."""
    sizes = numbers(tensor.square().mean().sqrt() for tensor in point.values())
    return {name: size or 1.0 for name, size in zip(point, sizes, strict=True)}


def norm(vector: Point) -> float:
    """The Euclidean norm ‖vector‖."""
    return math.sqrt(inner(vector, vector))


def scaled(vector: Point, factor: float) -> Vector:
    """The vector times a factor, ``factor · vector``."""
    return {name: tensor * factor for name, tensor in vector.items()}


def random_normal(like: Mapping[str, Tensor], generator: torch.Generator, *, rough: bool = False) -> Vector:
    """Independent standard normal entries, drawn on the CPU so that every device sees the same numbers.

    Args:
        like: names, shapes and devices.
        generator: of the CPU.
        rough: draw with the digits of float32, in a fifth of the time, where a point only has to be a generic one.
    """
    import torch

    digits = torch.float32 if rough else torch.float64
    return {
        name: torch.randn(tensor.shape, generator=generator, dtype=digits).to(tensor.device, torch.float64)
        for name, tensor in like.items()
    }
