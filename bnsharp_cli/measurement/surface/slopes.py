"""The slope of the loss along a random direction, by autograd and by differences, in float64.

Both are taken on a few examples and beside the weights themselves, where ReLUs may stand exactly at a kink. Each
parameter moves by a share of its own size. Nearly always slope and difference agree, and that is all. Where they do
not, a kink may lie between the two points, or rounding hide the slope. So other directions and steps are tried: a
gradient that is not the loss's disagrees along most directions at every step.

Parameters without any slope are moved further, so that the loss passes over steps such as those of a sign function.
Units that were off may wake up there. Those have a slope then, which a step has nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bnsharp_cli.core.point import LazyPoint, Point, Vector, numbers, random_normal, usual_sizes
from bnsharp_cli.errors import BnsharpError, NotMeasurableError
from bnsharp_cli.measurement.surface.code_switches import dense
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.measurement.surface.first_batch import SAME
from bnsharp_cli.measurement.surface.foreign_errors import NO_GRADIENT, accepting
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.narrowing import narrowest_type
from bnsharp_cli.measurement.surface.recomputation import outputs_with_whole_graph
from bnsharp_cli.measurement.surface.surface_state import FEW

_BESIDE = 1e-3
"""How far from the weights slopes are compared, in units of each parameter's size, as the steps are."""

_CLOSE = 1e-4
"""How far a slope may be off, relative to the difference, and to what slopes along random directions are."""

_SMALLEST_STEP, _LARGEST_STEP, _FACTORS = 1e-12, 1e-3, (1, 0.1, 0.01, 10, 100, 1000)
"""The first step is the smallest one in which rounding is no larger than that. The second look takes others: in smaller
ones rounding hides up to a hundredth of the slope, but fewer kinks lie within."""

_DIRECTIONS, _ENOUGH = 3, 2
"""So many directions are looked at a second time, and slope and difference must agree along so many."""

_STRIDE, _PLACES, _JUMP = 0.1, 8, 1e-9
"""How far parameters without a slope are moved, at how many places one is looked for, and what change is a jump."""


def false_slope(surface: LossSurface) -> tuple[float, float] | None:
    """A slope by autograd that is not the loss's, and the one by differences; None where there is none.

    A network that does not run beside its weights has none either, and one whose numbers pass through a type that is
    narrower than float64: the steps of its loss are rounding.

    Args:
        surface: in float64.
    """
    for batch in _parts(surface):
        with suppress(BnsharpError):
            line = _Line(surface, batch, seed=0)
            found = _false_slope(line) or _jump(line)
            return None if found is None or line.narrow() else found
    return None


def _parts(surface: LossSurface) -> Iterator[Batch]:
    """A few examples of the first batch, and all of it, which is taken where a few do not run."""
    inputs, targets = batch = surface.batches[0]
    if surface.conduct.parts and len(inputs) == len(targets):
        yield inputs[:FEW], targets[:FEW]
    yield batch


def _false_slope(line: _Line) -> tuple[float, float] | None:
    if line.agrees():
        return None
    lines = (line, *(_Line(line.surface, line.batch, seed) for seed in range(1, _DIRECTIONS)))
    agreeing = sum(any(each.agrees(factor) for factor in _FACTORS) for each in lines)
    return None if agreeing >= _ENOUGH else (line.slope, line.difference(line.step))


def _jump(line: _Line) -> tuple[float, float] | None:
    """The slope of zero of parameters that have one everywhere along the line, although the loss changes along it."""
    sloping = numbers(slope.any() for slope in line.gradient.values())
    flat = [name for name, any_slope in zip(line.gradient, sloping, strict=True) if not any_slope]
    if not flat:
        return None
    change = line.value(_STRIDE, flat) - line.start
    if abs(change) <= _JUMP * line.size:
        return None
    for place in range(_PLACES, 0, -1):
        slopes = line.gradient_at(_STRIDE * place / _PLACES, flat)
        if any(bool(slope.any()) for slope in slopes.values()):
            return None
    return 0.0, change / _STRIDE


@dataclass(frozen=True)
class _Line:
    """The loss on a line beside the weights, whose direction is drawn at random.

    Attributes:
        surface: the loss surface.
        batch: some examples.
        seed: of the line.
    """

    surface: LossSurface
    batch: Batch
    seed: int

    @property
    def start(self) -> float:
        """L at the start of the line."""
        return self._first[0]

    @property
    def size(self) -> float:
        """The largest of the loss and the outputs, of which rounding is a share."""
        return self._first[1]

    @property
    def gradient(self) -> Vector:
        """∇L at the start of the line, by autograd."""
        return self._first[2]

    @cached_property
    def slope(self) -> float:
        """⟨∇L, direction⟩, by autograd."""
        return sum(numbers((slope * self._direction[name]).sum() for name, slope in self.gradient.items()))

    @cached_property
    def usual(self) -> float:
        """What slopes along random directions are, by autograd.

        Raises:
            NotMeasurableError: a number too large for float64.
        """
        lengths = numbers(slope.norm() for slope in self.gradient.values())
        parts = [length * self._sizes[name] for name, length in zip(self.gradient, lengths, strict=True)]
        return _finite(torch.tensor(math.hypot(*parts), dtype=torch.float64))

    @property
    def rounding(self) -> float:
        """The same for a difference of two losses."""
        return SAME * torch.finfo(torch.float64).eps * self.size

    @property
    def step(self) -> float:
        """The smallest one that rounding allows: the smaller it is, the fewer kinks lie within."""
        least = _CLOSE * self.usual
        return max(_SMALLEST_STEP, min(_LARGEST_STEP, self.rounding / least)) if least else _LARGEST_STEP

    def agrees(self, factor: float = 1) -> bool:
        """Whether slope and difference are the same within what rounding and curvature may make of them."""
        step = factor * self.step
        difference = self.difference(step)
        return abs(difference - self.slope) <= _CLOSE * max(abs(difference), self.usual) + self.rounding / step

    def difference(self, step: float) -> float:
        """The slope by a central difference."""
        return (self.value(step) - self.value(-step)) / (2 * step)

    def value(self, step: float, names: Collection[str] | None = None) -> float:
        """L where some parameters, or all, are moved along the line.

        Raises:
            NotMeasurableError: it is not finite, or the network does not run there.
        """
        with torch.no_grad():
            return _finite(self.surface.outputs_and_loss(self._at(step, names), self.batch)[1])

    def gradient_at(self, step: float, names: Collection[str]) -> Vector:
        """The gradient in some parameters that are moved along the line."""
        return self._with_gradient(step, names)[2]

    def narrow(self) -> bool:
        """Whether numbers of the network or the loss pass through a type that is narrower than float64."""

        def run(point: Point, _: Tensor) -> object:
            return self.surface.outputs_and_loss(point, self.batch)

        return narrowest_type(run, self._at(0.0), (self.batch[0],), torch.float64) is not None

    @cached_property
    def _first(self) -> tuple[float, float, Vector]:
        return self._with_gradient(0.0, None)

    def _with_gradient(self, step: float, names: Collection[str] | None) -> tuple[float, float, Vector]:
        """L, the size of what it is computed from, and its gradient."""
        point = dict(self._at(step, names))
        leaves = {name: point[name].requires_grad_() for name in (point if names is None else names)}

        def run() -> list[Tensor]:
            outputs, loss = self.surface.outputs_and_loss({**point, **leaves}, self.batch)
            return [*outputs, loss]

        with torch.enable_grad():
            *outputs, loss = outputs_with_whole_graph(run)
            value = _finite(loss)
            size = max(abs(value), *(float(output.detach().abs().max()) for output in outputs if output.numel()))
            if not loss.requires_grad:  # of a few parameters that this batch does not use
                return value, size, {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
            self.surface.counter.tried(len(self.batch[0]), backward=1)
            with accepting("The network cannot be differentiated", NO_GRADIENT):
                found = torch.autograd.grad(loss, [*leaves.values()], allow_unused=True, materialize_grads=True)
        return value, size, dict(zip(leaves, dense(found), strict=True))

    def _at(self, step: float, names: Collection[str] | None = None) -> Point:
        start, moved = self._start, self._start if names is None else names
        return LazyPoint(
            start, lambda name: start[name].add(self._direction[name], alpha=step if name in moved else 0.0)
        )

    @cached_property
    def _sizes(self) -> dict[str, float]:
        """The root mean square of each parameter, 1 for zeros."""
        return usual_sizes(self.surface.point())

    @cached_property
    def _start(self) -> Vector:
        point = self.surface.point()
        return {name: point[name] + _BESIDE * part for name, part in self._drawn(2 * self.seed).items()}

    @cached_property
    def _direction(self) -> Vector:
        return self._drawn(2 * self.seed + 1)

    def _drawn(self, seed: int) -> Vector:
        noise = random_normal(self.surface.point(), torch.Generator().manual_seed(seed), rough=True)
        return {name: part * self._sizes[name] for name, part in noise.items()}


def _finite(loss: Tensor) -> float:
    if not math.isfinite(value := float(loss.detach())):
        raise NotMeasurableError("The loss is not finite beside the weights.", "Lower the weights.")
    return value
