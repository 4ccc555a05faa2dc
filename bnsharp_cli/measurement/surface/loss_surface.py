"""The loss surface: a module, a criterion and fixed mini-batches, seen as a function of the parameters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.core.point import OnDemand, Point
from bnsharp_cli.measurement.surface.conduct import UNREMARKABLE, Conduct
from bnsharp_cli.measurement.surface.cost import Cost, PassCounter
from bnsharp_cli.measurement.surface.data_stream import Batch, Stream, resident
from bnsharp_cli.measurement.surface.execution_plan import ExecutionPlan, ExecutionPlans, choose_plan
from bnsharp_cli.measurement.surface.layouts import LayoutSetting
from bnsharp_cli.measurement.surface.module_pool import ModulePool, private_pair
from bnsharp_cli.measurement.surface.norms import NormObserver, NormTreatment
from bnsharp_cli.measurement.surface.passes import (
    BatchLoss,
    BatchObserver,
    GradientSum,
    Passes,
    as_vector,
)
from bnsharp_cli.measurement.surface.processes import ALONE, Processes
from bnsharp_cli.measurement.surface.random_numbers import common_random_numbers
from bnsharp_cli.measurement.surface.real_pairs import as_real
from bnsharp_cli.measurement.surface.stacked_passes import stacked_gradients, stacked_losses
from bnsharp_cli.measurement.surface.stacking import PointsAtOnce
from bnsharp_cli.measurement.surface.tensor_trees import numbers_in
from bnsharp_cli.measurement.surface.threads import map_in_threads

OfBatch = TypeVar("OfBatch")


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
        processes: the processes that share the batches; batch i belongs to number i mod their count.
        share: the part of all samples that the batches hold, as which a pass over them counts.
        first: the number of the first batch, among those of the whole surface.
        conduct: what the network does in eval mode.
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
    processes: Processes = ALONE
    share: float = 1.0
    first: int = 0
    conduct: Conduct = UNREMARKABLE

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

        Raises:
            UsageError: fewer batches than processes, or an unknown layout.
        """
        private, criterion = private_pair(module, criterion, device)
        placed = batches.on(device) if isinstance(batches, Stream) else resident(batches, device)
        buffers = {name: buffer.detach().clone() for name, buffer in private.named_buffers()}
        processes.require_work(len(placed))
        norms, settings = NormTreatment(batch_statistics=batch_statistics), points_at_once or PointsAtOnce()
        shared = (PassCounter(), ModulePool(private, criterion), ExecutionPlans(layout), settings, processes)
        return cls(private, criterion, placed, buffers, norms, dtype, *shared)

    def point(self) -> Point:
        """The module's own parameters. Each is cast to float64 when it is asked for, so the module must not change."""
        parameters = self._parameters()
        return OnDemand(parameters, lambda name: parameters[name].double())

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
        return replace(self, batches=self.batches[start:stop], share=share, first=self.first + start)

    def in_precision(self, dtype: torch.dtype) -> LossSurface:
        """The same surface, the network computed in ``dtype``; in float64 alone where it draws random numbers."""
        return replace(self, dtype=torch.float64 if self.conduct.draws else dtype)

    def with_conduct(self, conduct: Conduct) -> LossSurface:
        """The same surface of a network of which ``conduct`` is known."""
        return replace(self, conduct=conduct, dtype=torch.float64 if conduct.draws else self.dtype)

    def value(self, point: Point) -> float:
        """L(point)."""
        return self.values([point])[0]

    def values(self, points: Sequence[Point]) -> list[float]:
        """L at several points."""
        return [math.fsum(losses) / len(losses) for losses in self.batch_losses(points)]

    def batch_losses(self, points: Sequence[Point]) -> list[list[float]]:
        """The loss of every batch at several points, one after the other or stacked: see :meth:`stack_size`."""
        size = min(len(points), self.stack_size())
        own = stacked_losses(self._passes(), points, size, self._over_batches) if size > 1 else None
        if own is None:
            own = torch.stack([self._losses(point) for point in points])
        self.counter.cost += Cost(forward=self.share * len(points))
        return cast("list[list[float]]", self.processes.in_order(own, self.count).tolist())

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
        shared = self.processes.in_order(as_vector(losses), self.count).tolist()
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
        """The network's outputs as real numbers, differentiable in ``point``; such a pass is not counted."""
        with self._numbers(0):
            return numbers_in(self._passes(ExecutionPlan()).run(self._cast(point), inputs, observer))

    def outputs_and_loss(self, point: Point, batch: Batch) -> tuple[list[Tensor], Tensor]:
        """The same for the inputs of a batch, and its loss."""
        with self._numbers(0):
            outputs, loss = self._passes(ExecutionPlan()).outputs_and_loss(self._cast(point), batch)
        return numbers_in(outputs), loss

    def plan(self) -> ExecutionPlan:
        """How this surface computes its batches in this precision; chosen once, on a slice of the first batch."""
        return self.plans.of(self.dtype, self._chosen_plan)

    def stack_size(self) -> int:
        """The most points that are evaluated at once; 1 for a loop over points."""
        return 1 if self.conduct.draws else self.points_at_once.most(self.plan(), self.device, self.dtype)

    @property
    def loss_reads_network(self) -> bool:
        """Whether the loss may depend on the parameters otherwise than by the network's outputs."""
        return self.criterion is self.pool.criterion and self.pool.criterion_follows

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next((parameter.device for parameter in self.module.parameters()), torch.device("cpu"))

    def _chosen_plan(self, layout: LayoutSetting) -> ExecutionPlan:
        passes = self._passes(ExecutionPlan())
        return choose_plan(
            lambda leaves, part: passes.run(leaves, part, fast=True),
            self.batches[0][0],
            self._cast(self._parameters()),
            layout,
        )

    def _over_batches(self, function: Callable[[Batch], OfBatch]) -> Iterator[OfBatch]:
        """``function`` of each of this process's batches, in their order."""
        own = self.processes.own(self.batches)
        at_once = 1 if self.conduct.draws else self.plan().batches_at_once(self.device, len(own))
        numbers = itertools.count(self.first + self.processes.rank, self.processes.count)

        def with_numbers(number: int, batch: Batch) -> OfBatch:
            with self._numbers(number):
                return function(batch)

        return map_in_threads(lambda job: with_numbers(*job), zip(numbers, own, strict=False), at_once)

    def _numbers(self, batch: int) -> AbstractContextManager[None]:
        """The random numbers of a batch, where the network draws any."""
        return common_random_numbers(batch) if self.conduct.draws else nullcontext()

    def _cast(self, point: Point) -> Point:
        return {name: tensor.to(self.dtype) for name, tensor in point.items()}

    def _parameters(self) -> dict[str, Tensor]:
        return {name: as_real(parameter.detach()) for name, parameter in self.module.named_parameters()}

    def _passes(self, plan: ExecutionPlan | None = None) -> Passes:
        complex_names = frozenset(name for name, tensor in self.module.named_parameters() if tensor.is_complex())
        network = (self.pool, self.criterion, self.buffers, self.treatment, self.dtype, plan or self.plan())
        return Passes(*network, complex_names, self.conduct.own_norms)

    def _losses(self, point: Point) -> Tensor:
        """Those of this process's batches, on the CPU."""
        passes = self._passes()
        parameters = passes.cast(point)
        return as_vector([*self._over_batches(lambda batch: passes.value(parameters, batch))])

    def _stacked_gradients(self, points: Sequence[Point]) -> list[tuple[float, Point]] | None:
        """L and ∇L at all points by one ``vmap``, or None for a network that it cannot follow."""
        found = stacked_gradients(self._passes(), points, self._over_batches)
        if found is None:
            return None
        self.counter.cost += Cost(forward=self.share * len(points), backward=self.share * len(points))
        shared = self.processes.in_order(found[0], self.count).tolist()
        summed = self.processes.total(found[1])
        return [
            (math.fsum(each) / self.count, {name: tensor[i].div_(self.count) for name, tensor in summed.items()})
            for i, each in enumerate(shared)
        ]
