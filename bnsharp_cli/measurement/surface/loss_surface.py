"""The loss surface: a module, a criterion and fixed mini-batches, seen as a function of the parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.core.point import LazyPoint, Point
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.surface.cost import Cost, PassCounter
from bnsharp_cli.measurement.surface.data_stream import Batch, Stream, resident
from bnsharp_cli.measurement.surface.execution_plan import ExecutionPlan, ExecutionPlans, choose_plan
from bnsharp_cli.measurement.surface.in_place import InPlaceGuard
from bnsharp_cli.measurement.surface.layouts import LayoutSetting
from bnsharp_cli.measurement.surface.module_pool import ModulePool, private_copy
from bnsharp_cli.measurement.surface.narrowing import narrowest_type
from bnsharp_cli.measurement.surface.norms import NormObserver, NormTreatment
from bnsharp_cli.measurement.surface.passes import BatchLoss, GradientSum, Passes
from bnsharp_cli.measurement.surface.population import Population
from bnsharp_cli.measurement.surface.processes import ALONE, Processes
from bnsharp_cli.measurement.surface.stacking import PointsAtOnce, by_point, one_vector
from bnsharp_cli.measurement.surface.threads import map_in_threads

OfBatch = TypeVar("OfBatch")

BatchObserver = Callable[[int, float, Point], None]
"""Told of a batch's number, loss and gradient, in the network's precision."""


@dataclass(frozen=True)
class LossSurface:
    """L as a function of the parameters: the mean over fixed batches of the batch's mean loss.

    The user's module is never touched: passes run on a private copy in eval mode (dropout off), to which parameters
    and buffers are handed in anew for every pass, and whose norms follow ``treatment``. Points are float64; the
    network computes in ``dtype``, everything after it in float64.

    Attributes:
        module: a private copy in eval mode.
        criterion: the loss of one batch.
        batches: inputs and targets, on ``device``, or a stream that brings them there.
        buffers: running statistics and the like, as handed to every pass.
        treatment: how norms are computed.
        dtype: the precision in which the network computes.
        counter: counts the passes.
        pool: copies of the module to run on.
        plans: how batches are computed, by precision.
        points_at_once: how many points :meth:`values` stacks.
        guard: keeps the batches from being changed by passes.
        processes: the processes that share the batches; batch i belongs to number i mod their count.
        share: the part of all samples that the batches hold, as which a pass over them counts.
        population: what is known where the batches hold all the data there is; None where they are a draw from it.
    """

    module: nn.Module
    criterion: BatchLoss
    batches: Sequence[Batch]
    buffers: Mapping[str, Tensor]
    treatment: NormTreatment
    dtype: torch.dtype
    counter: PassCounter
    pool: ModulePool
    plans: ExecutionPlans
    points_at_once: PointsAtOnce
    guard: InPlaceGuard
    processes: Processes = ALONE
    share: float = 1.0
    population: Population | None = None

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
        population: Population | None = None,
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
            population: given where the batches hold all the data there is; then each counts by its size.

        Raises:
            UsageError: fewer batches than processes, or an unknown layout.
        """
        private = private_copy(module, device)
        placed = batches.on(device) if isinstance(batches, Stream) else resident(batches, device)
        buffers = {name: buffer.detach().clone() for name, buffer in private.named_buffers()}
        processes.require_work(len(placed))
        norms, settings = NormTreatment(batch_statistics=batch_statistics), points_at_once or PointsAtOnce()
        shared = (PassCounter(), ModulePool(private), ExecutionPlans(layout), settings, InPlaceGuard(), processes)
        return cls(private, criterion, placed, buffers, norms, dtype, *shared, population=population)

    def point(self) -> Point:
        """The module's own parameters. Each is cast to float64 when it is asked for, so the module must not change."""
        parameters = {name: parameter.detach() for name, parameter in self.module.named_parameters()}
        return LazyPoint(parameters, lambda name: parameters[name].double())

    def with_norms(
        self, *, buffers: Mapping[str, Tensor] | None = None, treatment: NormTreatment | None = None
    ) -> LossSurface:
        """The same surface with other running statistics or another treatment of its norms."""
        return replace(self, buffers=buffers or self.buffers, treatment=treatment or self.treatment)

    @property
    def count(self) -> int:
        """The number of batches."""
        return len(self.batches)

    def activations(self) -> int:
        """About how many numbers all batches keep for a backward pass; 0 where the network does not run on a slice."""
        parameters = sum(parameter.numel() for parameter in self.module.parameters())
        return self.count * max(0, self.plan().held // self.dtype.itemsize - parameters)

    def part(self, start: int, stop: int) -> LossSurface:
        """L on the batches ``start`` to ``stop`` − 1 alone."""
        share = self.share * (stop - start) / self.count
        weighted = self.population and self.population.part(start, stop)
        return replace(self, batches=self.batches[start:stop], share=share, population=weighted)

    def in_precision(self, dtype: torch.dtype) -> LossSurface:
        """The same surface, the network computed in ``dtype``."""
        return replace(self, dtype=dtype)

    def value(self, point: Point) -> float:
        """The loss L(θ) at ``point``."""
        return self.values([point])[0]

    def values(self, points: Sequence[Point]) -> list[float]:
        """L at several points."""
        return [math.fsum(losses) / len(losses) for losses in self.batch_losses(points)]

    def batch_losses(self, points: Sequence[Point]) -> list[list[float]]:
        """The loss of every batch at several points, one after the other or stacked: see :meth:`stack_size`."""
        size = min(len(points), self.stack_size())
        own = self._stacked_losses(points, size) if size > 1 else None
        if own is None:
            own = torch.stack([self._losses(point) for point in points])
        self.counter.cost += Cost(forward=self.share * len(points))
        shared: list[list[float]] = self.processes.in_order(own, self.count).tolist()
        return shared

    def loss_and_accuracy(self, point: Point) -> tuple[float, float | None]:
        """L(point), and the fraction of correct classes where targets are class indices."""
        passes = self._passes()
        parameters = passes.cast(point)
        own = torch.stack([*self._over_batches(lambda batch: passes.loss_and_hits(parameters, batch))], dim=1)
        losses, hits, labelled = self.processes.in_order(own.cpu(), self.count).tolist()
        self.counter.cost += Cost(forward=self.share)
        return math.fsum(losses) / self.count, sum(hits) / sum(labelled) if sum(labelled) else None

    def value_and_gradient(self, point: Point) -> tuple[float, Point]:
        """L(point) and ∇L(point), the gradient summed over batches in float64."""
        return self.value_and_batch_gradients(point, None)

    def value_and_batch_gradients(self, point: Point, observe: BatchObserver | None) -> tuple[float, Point]:
        """Like :meth:`value_and_gradient`, telling ``observe`` of each of this process's batches, in their order.

        Only the sum is kept.
        """
        passes = self._passes()
        parameters = passes.cast(point)
        losses: list[Tensor] = []
        total = GradientSum(parameters)
        for loss, gradients in self._over_batches(lambda batch: passes.gradient(parameters, batch)):
            if observe is not None:
                number = self.processes.rank + len(losses) * self.processes.count
                observe(number, float(loss), dict(zip(parameters, gradients, strict=True)))
            losses.append(loss)
            total.add(gradients)
            del gradients  # or they would live through the next batch (and through enumerate, which keeps its last)
        self.counter.cost += Cost(forward=self.share, backward=self.share)
        shared = self.processes.in_order(one_vector(losses), self.count).tolist()
        gradient = self.processes.total(total.point())
        return math.fsum(shared) / self.count, {name: tensor.div_(self.count) for name, tensor in gradient.items()}

    def values_and_gradients(self, points: Sequence[Point]) -> Iterator[tuple[float, Point]]:
        """L and ∇L at several points, one after the other or stacked like :meth:`values`.

        Each gradient is the caller's to overwrite; those to come are computed when they are asked for.
        """
        size = min(len(points), self.stack_size())
        for first in range(0, len(points), size):
            group = points[first : first + size]
            stacked = self._stacked_gradients(group) if len(group) > 1 else None
            yield from stacked or map(self.value_and_gradient, group)

    def outputs(self, point: Point, inputs: Tensor, observer: NormObserver | None = None) -> list[Tensor]:
        """The network's floating outputs for ``inputs``, differentiable in ``point``; such a pass is not counted.

        Raises:
            NotMeasurableError: the network does not accept ``inputs``; of the whole batch, if it refuses that too.
        """
        passes, parameters = self._passes(ExecutionPlan()), {name: each.to(self.dtype) for name, each in point.items()}
        try:
            return passes.floating_outputs(parameters, inputs, observer)
        except NotMeasurableError:
            passes.run_without_gradient(parameters, self.batches[0][0])
            raise

    def plan(self) -> ExecutionPlan:
        """How this surface computes its batches in this precision; chosen once, on a slice of the first batch."""
        return self.plans.of(self.dtype, self._chosen_plan)

    @property
    def roundoff(self) -> float:
        """The unit in the last place of 1, in the narrowest type that the network's numbers pass through."""
        return torch.finfo(self.plan().narrowest or self.dtype).eps

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of how this surface is computed."""
        told = self.pool.habits.notes(str(self.dtype).removeprefix("torch."))
        return told if self.population is None else (*told, self.population.note(self.treatment.batch_statistics))

    def stack_size(self) -> int:
        """The most points that are evaluated at once; 1 for a loop over points."""
        if self.pool.habits.differentiates:
            return 1
        return self.points_at_once.most(self.plan(), self.device, self.dtype)

    @property
    def device(self) -> torch.device:
        """The device on which the network computes."""
        return next((parameter.device for parameter in self.module.parameters()), torch.device("cpu"))

    def _chosen_plan(self, layout: LayoutSetting) -> ExecutionPlan:
        passes, inputs = self._passes(ExecutionPlan()), self.batches[0][0]
        point = {name: tensor.detach().to(self.dtype) for name, tensor in self.module.named_parameters()}
        plan = choose_plan(lambda leaves, part: passes.run(leaves, part, fast=True), inputs, point, layout)
        return replace(plan, narrowest=narrowest_type(passes.run_without_gradient, point, inputs, self.dtype))

    def _over_batches(self, function: Callable[[Batch], OfBatch]) -> Iterator[OfBatch]:
        """``function`` of each of this process's batches, in their order."""
        own = self.processes.own(self.batches)
        return map_in_threads(function, own, self.plan().batches_at_once(self.device, len(own)))

    def _passes(self, plan: ExecutionPlan | None = None) -> Passes:
        weight_of = None if self.population is None else self.population.weight
        how = (self.treatment, self.dtype, plan or self.plan(), self.guard, weight_of)
        return Passes(self.pool, self.criterion, self.buffers, *how)

    def _losses(self, point: Point) -> Tensor:
        """The losses of this process's batches, on the CPU."""
        passes = self._passes()
        parameters = passes.cast(point)
        return one_vector([*self._over_batches(lambda batch: passes.loss(parameters, batch))])

    def _stacked_losses(self, points: Sequence[Point], chunk: int) -> Tensor | None:
        """The same at all points by ``vmap``, (points, batches), or None for a network that it cannot follow."""
        passes = self._passes()
        stack = passes.stack(points)
        try:
            losses = [*self._over_batches(lambda batch: passes.stacked_losses(stack, batch, chunk))]
        except NotMeasurableError:
            return None
        return by_point(losses, len(points))

    def _stacked_gradients(self, points: Sequence[Point]) -> list[tuple[float, Point]] | None:
        """L and ∇L at all points by one ``vmap``, or None for a network that it cannot follow."""
        passes = self._passes()
        stack = passes.stack(points)
        losses, total = [], GradientSum(stack)
        try:
            for loss, gradients in self._over_batches(lambda b: passes.stacked_gradients(stack, b, len(points))):
                losses.append(loss)
                total.add(gradients)
                del gradients
        except NotMeasurableError:
            return None
        self.counter.cost += Cost(forward=self.share * len(points), backward=self.share * len(points))
        shared = self.processes.in_order(by_point(losses, len(points)), self.count).tolist()
        summed = self.processes.total(total.point())
        return [
            (math.fsum(each) / self.count, {name: tensor[i].div_(self.count) for name, tensor in summed.items()})
            for i, each in enumerate(shared)
        ]
