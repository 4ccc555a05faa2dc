"""The loss surface of a network that leaves no room for a second copy of its weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Never

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.row_points import RowPoint
from bnsharp_cli.errors import UnfitMeasureError, named
from bnsharp_cli.measurement.surface.cost import GRADIENT
from bnsharp_cli.measurement.surface.execution_plan import ExecutionPlan
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.narrowing import narrowest_type
from bnsharp_cli.measurement.surface.parameter_choice import is_continuous
from bnsharp_cli.measurement.surface.passes import BatchObserver
from bnsharp_cli.measurement.surface.random_numbers import common_random_numbers, states_kept
from bnsharp_cli.measurement.surface.row_passes import RowPasses, zeros_of
from bnsharp_cli.measurement.surface.row_weights import handed_precision
from bnsharp_cli.measurement.surface.second_order import CurvatureProduct
from bnsharp_cli.measurement.surface.settings import SMALL_MEMORY
from bnsharp_cli.measurement.surface.sums import as_vector
from bnsharp_cli.measurement.surface.weights_watch import rightly_read


@dataclass(frozen=True)
class RowSurface(LossSurface):
    """L as a function of points that are never held whole; see :mod:`row_weights`.

    The network's weights stay where they are, in the precision that they are stored in. The largest thing that is held
    beside them is one gradient, where one is asked for. Batches and points run one after the other.
    """

    def point(self) -> RowPoint:
        """The module's own parameters, as far as they are varied."""
        constants = self.constants()
        return RowPoint.of({name: tensor for name, tensor in self._own().items() if name not in constants})

    def with_constants(self, point: Point) -> Point:
        """``point`` with the parameters that are not varied, in the network's order."""
        assert isinstance(point, RowPoint)
        return point.completed(self._own())

    def stack_size(self) -> int:
        """How many points are evaluated at once: one."""
        return 1

    def used_parameters(self, number: int = 0) -> set[str]:
        """The names of the parameters that any function gets in a pass over the batch of that number."""
        used: set[str] = set()
        with rightly_read():
            passes, point = self._passes(ExecutionPlan(), used), self.point()
        with torch.no_grad(), self._numbers(number):
            passes.outputs_and_loss(point, self.batches[number])
        return used

    def require_fit(self) -> None:
        """Refuse a loss that reads the network, and complex weights.

        Raises:
            UnfitMeasureError: naming which.
        """
        if self.pool.criterion_follows:
            raise _unfit("criterion", "The loss reads the network's weights itself", "a loss of outputs and targets")
        if any(tensor.is_complex() for tensor in self.module.parameters()):
            raise _unfit("model", "The network has complex weights", "real weights")

    def value_and_gradient(self, point: Point) -> tuple[float, Point]:
        """L(point) and ∇L(point), which is held in the precision of the network, at least float32."""
        assert isinstance(point, RowPoint)
        total, passes = zeros_of(point, handed_precision(self.dtype), [*point]), self._passes()
        weighted = [*self._over_batches(lambda batch: passes.add_gradient(point, batch, total), GRADIENT)]
        self.counter.cost += self.share * GRADIENT
        shared = self.processes.in_order(as_vector(weighted), self.count).tolist()
        summed = self.processes.total(total)
        return math.fsum(shared) / self.count, RowPoint.of({n: one.div_(self.count) for n, one in summed.items()})

    def value_and_batch_gradients(self, point: Point, observe: BatchObserver | None) -> Never:
        """Refused, as all that holds several vectors of the size of the network.

        Raises:
            UnfitMeasureError: always.
        """
        del point, observe
        raise needs_memory()

    def gradient_and_squares(self, point: Point) -> Never:
        """Refused as gradients of single batches are."""
        del point
        raise needs_memory()

    def values_and_gradients(self, points: Sequence[Point]) -> Iterator[tuple[float, Point]]:
        """Refused as gradients of single batches are."""
        del points
        raise needs_memory()

    def curvature_products(self, point: Point, vectors: Sequence[Point]) -> list[CurvatureProduct]:
        """Refused as gradients of single batches are."""
        del point, vectors
        raise needs_memory()

    def _own(self) -> dict[str, Tensor]:
        return {name: tensor.detach() for name, tensor in self.module.named_parameters() if is_continuous(tensor)}

    def _cast(self, point: Point) -> Point:
        return point

    def _chosen_plan(self, layout: object) -> ExecutionPlan:
        """Torch's own memory layout, and no batches side by side; only the arithmetic is looked at."""
        del layout
        run: Callable[[Point, Tensor], object] = self._passes(ExecutionPlan()).run_without_gradient
        return ExecutionPlan(narrowest=narrowest_type(run, self.point(), [self.batches[0][0]], self.dtype))

    def loss_beside(self, stand_in: float) -> float:
        """The loss of the first batch while the network has ``stand_in`` wherever a weight is not exchanged."""
        passes = replace(self._passes(ExecutionPlan()), stand_in=stand_in)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.no_grad(), states_kept(), torch.random.fork_rng(devices), common_random_numbers(0):
            return float(passes.outputs_and_loss(self.point(), self.batches[0])[1])

    def _passes(self, plan: ExecutionPlan | None = None, used: set[str] | None = None) -> RowPasses:
        weight_of = self.sizes.weight if self.sizes is not None and self.averages else None
        network = (self.pool, self.criterion, self.buffers, self.treatment, self.dtype, plan or self.plan())
        norms, constants = self.conduct.own_norms, self.constants()
        beside = (self.guard, weight_of, frozenset[str](), norms, constants, self.counter)
        return RowPasses(*network, *beside, weights=self._own(), used=used)


def needs_memory() -> UnfitMeasureError:
    """What is said of a measure that holds several vectors of the size of the network."""
    return UnfitMeasureError(
        f"It holds several copies of the weights, which {named('memory')} {SMALL_MEMORY} leaves no room for.",
        f"Measure noise or critical-radius, or leave out {named('memory')} {SMALL_MEMORY}.",
        argument="memory",
        expected="noise or critical-radius",
        found=SMALL_MEMORY,
    )


def _unfit(argument: str, reason: str, expected: str) -> UnfitMeasureError:
    return UnfitMeasureError(
        f"{reason}, which {named('memory')} {SMALL_MEMORY} does not follow.",
        f"Leave out {named('memory')} {SMALL_MEMORY}.",
        argument=argument,
        expected=expected,
        found=reason,
    )
