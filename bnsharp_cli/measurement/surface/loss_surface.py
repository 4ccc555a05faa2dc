"""The loss surface: a module, a criterion and fixed mini-batches, seen as a function of the parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.surface.accuracy import BatchOutputs, NetworkFigures
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.cost import BACKWARD, FORWARD, GRADIENT, Cost, PassCounter
from bnsharp_cli.measurement.surface.data_stream import Batch, Stream, resident
from bnsharp_cli.measurement.surface.execution_plan import ExecutionPlan, ExecutionPlans
from bnsharp_cli.measurement.surface.in_place import InPlaceGuard
from bnsharp_cli.measurement.surface.module_pool import ModulePool, private_pair
from bnsharp_cli.measurement.surface.norms import NormObserver, NormTreatment
from bnsharp_cli.measurement.surface.passes import BatchLoss, BatchObserver
from bnsharp_cli.measurement.surface.point_memory import Known, PointMemory
from bnsharp_cli.measurement.surface.processes import ALONE, Processes
from bnsharp_cli.measurement.surface.second_order import CurvatureProduct, summed_products
from bnsharp_cli.measurement.surface.settings import LayoutSetting
from bnsharp_cli.measurement.surface.stacked_passes import stacked_gradients, stacked_losses
from bnsharp_cli.measurement.surface.stacking import PointsAtOnce
from bnsharp_cli.measurement.surface.sums import GradientSum, as_vector
from bnsharp_cli.measurement.surface.surface_state import OfBatch, SurfaceState
from bnsharp_cli.measurement.surface.tensor_trees import numbers_in
from bnsharp_cli.measurement.surface.token_loss import averages_over_tokens
from bnsharp_cli.measurement.surface.written_norms import follow_written_norms


@dataclass(frozen=True)
class LossSurface(SurfaceState):
    """L as a function of the parameters: the mean over the examples of fixed batches.

    That is the mean over batches of the batch's mean loss, each weighted by its number of examples, or of tokens where
    the loss is :func:`token_cross_entropy`.

    The user's module is never touched: passes run on a private copy in eval mode (dropout off), to which parameters
    and buffers are handed in anew for every pass, and whose norms follow ``treatment``. Points are float64; the
    network computes in ``dtype``, everything after it in float64.
    """

    @classmethod
    def of(  # noqa: PLR0913  one argument for each choice
        cls,
        module: nn.Module,
        batches: Iterable[Batch],
        criterion: BatchLoss = functional.cross_entropy,
        *,
        batch_statistics: bool = True,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        points_at_once: PointsAtOnce | None = None,
        processes: Processes = ALONE,
        layout: LayoutSetting = "auto",
        sizes: BatchSizes | None = None,
    ) -> LossSurface:
        """The surface of ``module`` on ``batches``; both are left as they are.

        Args:
            module: a network from inputs to outputs.
            batches: pairs of inputs and targets, each kept whole; a stream stays one.
            criterion: the loss of one batch, from outputs and targets.
            batch_statistics: whether norms use the batch's statistics (the paper's L) or the running ones.
            dtype: float32 or float64.
            device: where to compute.
            points_at_once: how many points ``values`` stacks; None for the usual rule.
            processes: the processes that share the batches; each is given all of them.
            layout: the memory layout of convolutions on the CPU; ``plain`` is torch's own, ``auto`` may take channels
                last where that is known to be right.
            sizes: the numbers of examples in the batches; None for those of batches in memory. A stream whose batches
                differ in size needs them.

        Raises:
            UsageError: fewer batches than processes, or an unknown layout.
        """
        by_tokens = averages_over_tokens(criterion)
        private, criterion = private_pair(module, criterion, device)
        follow_written_norms(private)
        placed = batches.on(device) if isinstance(batches, Stream) else resident(batches, device)
        buffers = {name: buffer.detach().clone() for name, buffer in private.named_buffers()}
        processes.require_work(len(placed))
        if sizes is None and not isinstance(placed, Stream):
            sizes = BatchSizes.of(placed, by_tokens=by_tokens)
        norms, settings = NormTreatment(batch_statistics=batch_statistics), points_at_once or PointsAtOnce()
        pool, plans = ModulePool(private, criterion), ExecutionPlans(layout)
        shared = (PassCounter(_inputs(placed, sizes)), pool, plans, settings, InPlaceGuard(), processes)
        return cls(private, criterion, placed, buffers, norms, dtype, *shared, sizes=sizes)

    def on(self, batches: Sequence[Batch], sizes: BatchSizes) -> LossSurface:
        """The same network and criterion on other batches, whose passes are counted apart from these."""
        self.processes.require_work(len(batches))
        placed = batches.on(self.device) if isinstance(batches, Stream) else resident(batches, self.device)
        counter, guard = PassCounter(_inputs(placed, sizes)), InPlaceGuard()
        return replace(self, batches=placed, sizes=sizes, counter=counter, guard=guard, share=1.0, first=0)

    def value(self, point: Point) -> float:
        """The loss L(θ) at ``point``."""
        return self.values([point])[0]

    def values(self, points: Sequence[Point]) -> list[float]:
        """L at several points."""
        return [math.fsum(losses) / len(losses) for losses in self.batch_losses(points)]

    def batch_losses(self, points: Sequence[Point]) -> list[list[float]]:
        """The loss of every batch at several points, one after the other or stacked: see :meth:`stack_size`."""
        if len(points) == 1:
            return self.recalled(points[0], "losses", FORWARD, lambda: self._batch_losses(points))
        return self._batch_losses(points)

    def recalled(self, point: Point, what: str, cost: Cost, compute: Callable[[], Known]) -> Known:
        """What ``compute`` answers, once for all measures where ``point`` is the one that is remembered.

        Args:
            point: θ.
            what: names the answer.
            cost: the passes over these batches that it takes.
            compute: makes them, and counts them.
        """
        memory = self._memory_of(point)
        return compute() if memory is None else memory.recalled(what, self.share * cost, self.counter, compute)

    def _memory_of(self, point: Point) -> PointMemory | None:
        """What is known of ``point``, if that is the one that is remembered."""
        return self.memory if self.memory is not None and point is self.memory.point else None

    def _batch_losses(self, points: Sequence[Point]) -> list[list[float]]:
        size = min(len(points), self.stack_size())
        cost = len(points) * FORWARD
        over_batches = partial(self._over_batches, cost=cost)
        own = stacked_losses(self._passes(), points, size, over_batches) if size > 1 else None
        if own is None:
            own = torch.stack([self._losses(point) for point in points])
        self.counter.cost += self.share * cost
        return cast("list[list[float]]", self.processes.in_order(own, self.count).tolist())

    def evaluated(self, point: Point) -> NetworkFigures:
        """L at ``point`` batch by batch, and how many classes are right where targets are class indices."""
        passes = self._passes()
        parameters = passes.cast(point)
        own = torch.stack([*self._over_batches(lambda batch: passes.loss_and_hits(parameters, batch))], dim=1)
        losses, hits, labelled, classes = self.processes.in_order(own.cpu(), self.count).tolist()
        self.counter.cost += self.share * FORWARD
        return NetworkFigures(tuple(losses), tuple(map(int, hits)), tuple(map(int, labelled)), int(max(classes)))

    def value_and_gradient(self, point: Point) -> tuple[float, Point]:
        """L(point) and ∇L(point), the gradient summed over batches in float64, which is the caller's to overwrite."""
        compute = partial(self.value_and_batch_gradients, point, None)
        loss, gradient = self.recalled(point, "gradient", GRADIENT, compute)
        if self._memory_of(point) is None:
            return loss, gradient
        return loss, {name: tensor.clone() for name, tensor in gradient.items()}

    def value_and_batch_gradients(self, point: Point, observe: BatchObserver | None) -> tuple[float, Point]:
        """Like :meth:`value_and_gradient`, telling ``observe`` of each of this process's batches, in their order.

        Only the sum is kept.
        """
        passes = self._passes()
        parameters = passes.cast(point)
        losses: list[Tensor] = []
        squares: list[Tensor] = []
        total, memory = GradientSum(parameters), self._memory_of(point)
        for own, gradients in self._over_batches(lambda batch: passes.gradient(parameters, batch), GRADIENT):
            if observe is not None:
                number = self.processes.rank + len(losses) * self.processes.count
                observe(number, dict(zip(parameters, gradients, strict=True)))
            losses.append(own)
            squares.append(own.new_zeros(()) if memory is None else _square(gradients))
            total.add(gradients)
            del gradients  # or they would live through the next batch (and through enumerate, which keeps its last)
        self.counter.cost += self.share * GRADIENT
        figures = as_vector([*losses, *squares]).reshape(2, -1)
        shared, each = self.processes.in_order(figures, self.count).tolist()
        summed = self.processes.total(total.point())
        loss, gradient = math.fsum(shared) / self.count, {name: one.div_(self.count) for name, one in summed.items()}
        if memory is not None:
            known = loss, {name: tensor.clone() for name, tensor in gradient.items()}
            memory.answers |= {"gradient": known, "squares": each}
        return loss, gradient

    def gradient_and_squares(self, point: Point) -> tuple[Point, list[float]]:
        """∇L(point), and ‖g_b‖² of the gradient of each batch with the batch's weight."""
        memory = self._memory_of(point)
        if memory is None:
            return self.remembering(point).gradient_and_squares(point)
        _, gradient = self.value_and_gradient(point)
        return gradient, memory.answers["squares"]

    def values_and_gradients(self, points: Sequence[Point]) -> Iterator[tuple[float, Point]]:
        """L and ∇L at several points, one after the other or stacked like :meth:`values`.

        Each gradient is the caller's to overwrite; those to come are computed when they are asked for.
        """
        size = min(len(points), self.stack_size())
        for first in range(0, len(points), size):
            group = points[first : first + size]
            stacked = self._stacked_gradients(group) if len(group) > 1 else None
            yield from stacked or map(self.value_and_gradient, group)

    def curvature_products(self, point: Point, vectors: Sequence[Point]) -> list[CurvatureProduct]:
        """The products of the Hessian of L at ``point`` with each of ``vectors``, summed over batches in float64.

        They cost one forward, one backward pass for the gradient and another one for each vector.

        Raises:
            UnfitMeasureError: torch cannot differentiate the loss twice.
        """
        cost = GRADIENT + len(vectors) * BACKWARD
        own, totals = summed_products(self._passes(), point, vectors, partial(self._over_batches, cost=cost))
        self.counter.cost += self.share * cost
        shared = self.processes.in_order(own, self.count).tolist()
        summed = [self.processes.total(total) for total in totals]
        return [
            CurvatureProduct({name: one.div_(self.count) for name, one in product.items()}, tuple(each))
            for product, each in zip(summed, shared, strict=True)
        ]

    def outputs(self, point: Point, inputs: Tensor, observer: NormObserver | None = None) -> list[Tensor]:
        """The network's outputs as real numbers, differentiable in ``point``; such a pass is not counted.

        Raises:
            NotMeasurableError: the network does not accept ``inputs``; of the whole batch, if it refuses that too.
        """
        passes, parameters = self._passes(ExecutionPlan()), self._cast(point)
        try:
            with self._numbers(0):
                return passes.numbers(parameters, inputs, observer)
        except NotMeasurableError:
            with self._numbers(0):
                passes.run_without_gradient(parameters, self.batches[0][0])
            raise

    def outputs_and_loss(self, point: Point, batch: Batch) -> tuple[list[Tensor], Tensor]:
        """The same for the inputs of a batch, and its loss."""
        with self._numbers(0):
            outputs, loss = self._passes(ExecutionPlan()).outputs_and_loss(self._cast(point), batch)
        return numbers_in(outputs), loss

    def loss_once_and_twice(self, point: Point, number: int) -> tuple[float, float]:
        """The loss of one batch, and that of its outputs and targets when each is there twice; neither is weighted.

        NaN where the first dimension of some output does not count the targets.
        """
        with self._numbers(number):
            passes = self._passes(ExecutionPlan())
            once, twice = passes.loss_once_and_twice(self._cast(point), self.batches[number]).tolist()
        return once, twice

    def over_outputs(self, point: Point, of_batch: Callable[[BatchOutputs], OfBatch]) -> list[OfBatch]:
        """``of_batch`` of what the network answers to each of this process's batches; a forward pass."""
        passes = self._passes()
        parameters = passes.cast(point)
        own = [*self._over_batches(lambda batch: passes.outputs_of(parameters, batch, of_batch))]
        self.counter.cost += self.share * FORWARD
        return own

    def _losses(self, point: Point) -> Tensor:
        """The losses of this process's batches, on the CPU."""
        passes = self._passes()
        parameters = passes.cast(point)
        return as_vector([*self._over_batches(lambda batch: passes.value(parameters, batch))])

    def _stacked_gradients(self, points: Sequence[Point]) -> list[tuple[float, Point]] | None:
        """L and ∇L at all points by one ``vmap``, or None for a network that it cannot follow."""
        cost = len(points) * GRADIENT
        found = stacked_gradients(self._passes(), points, partial(self._over_batches, cost=cost))
        if found is None:
            return None
        self.counter.cost += self.share * cost
        shared = self.processes.in_order(found[0], self.count).tolist()
        summed = self.processes.total(found[1])
        return [
            (math.fsum(each) / self.count, {name: tensor[i].div_(self.count) for name, tensor in summed.items()})
            for i, each in enumerate(shared)
        ]


def _square(gradients: Sequence[Tensor]) -> Tensor:
    """The squared length of a gradient, in float64."""
    return torch.stack([gradient.double().square().sum() for gradient in gradients]).sum()


def _inputs(batches: Sequence[Batch], sizes: BatchSizes | None) -> int:
    """How many examples all inputs are; they need not count as the targets do."""
    if not isinstance(batches, Stream):
        return sum(len(inputs) for inputs, _ in batches)
    return sizes.examples if sizes is not None else len(batches) * len(batches[0][0])
