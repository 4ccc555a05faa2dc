"""The loss surface: a module, a criterion and fixed mini-batches, seen as a function of the parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.cost import Cost, Counter
from bnsharp_cli.measurement.execution import (
    Batch,
    Plan,
    Stream,
    Workshop,
    in_order,
    private_copy,
    resident,
    settled,
)
from bnsharp_cli.measurement.norms import NormCall, NormInterception, NormTreatment
from bnsharp_cli.measurement.outputs import accepting, correct, floating, row
from bnsharp_cli.measurement.processes import ALONE, Processes
from bnsharp_cli.measurement.stacking import CHUNK, PointsAtOnce, faster, smaller_on_out_of_memory

Result = TypeVar("Result")

_UNFIT = "Check that data, preprocessing and architecture belong together, or change --batch-size."
_UNFIT_LABELS = "Check that the labels belong to the network's classes."

Criterion = Callable[[Tensor, Tensor], Tensor]
"""From outputs (float64) and targets of one batch to their mean loss, a scalar."""

BatchObserver = Callable[[int, float, Point], None]
"""Told of a batch's number, loss and float64 gradient; the gradient is its own to keep."""


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
        dtype: of the network's arithmetic.
        counter: of passes.
        workshop: what all surfaces of one module share: copies of it to run on, and plans.
        points_at_once: how many points :meth:`values` stacks.
        processes: that share the batches; batch i belongs to number i mod their count.
        share: of all samples that the batches are; a pass over a part counts for that part.
    """

    module: nn.Module
    criterion: Criterion
    batches: Sequence[Batch]
    buffers: Mapping[str, Tensor]
    treatment: NormTreatment
    dtype: torch.dtype
    counter: Counter
    workshop: Workshop
    points_at_once: PointsAtOnce
    processes: Processes = ALONE
    share: float = 1.0

    @classmethod
    def of(
        cls,
        module: nn.Module,
        batches: Iterable[Batch],
        criterion: Criterion = functional.cross_entropy,
        *,
        batch_statistics: bool = True,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        points_at_once: PointsAtOnce | None = None,
        processes: Processes = ALONE,
    ) -> LossSurface:
        """The surface of ``module`` on ``batches``; both are left as they are.

        Args:
            module: a network from inputs to outputs.
            batches: pairs of inputs and targets, each kept whole; a stream stays one.
            criterion: see ``Criterion``.
            batch_statistics: norms use the batch's statistics (the paper's L), or else the running ones.
            dtype: float32 or float64.
            device: where to compute.
            points_at_once: how many points ``values`` stacks; None for the usual rule.
            processes: that share the batches, all of which each of them is given.

        Raises:
            UsageError: fewer batches than processes.
        """
        private = private_copy(module, device)
        placed = batches.on(device) if isinstance(batches, Stream) else resident(batches, device)
        buffers = {name: buffer.detach().clone() for name, buffer in private.named_buffers()}
        processes.require_work(len(placed))
        norms, settings = NormTreatment(batch_statistics=batch_statistics), points_at_once or PointsAtOnce()
        shared = (Counter(), Workshop(private), settings, processes)
        return cls(private, criterion, placed, buffers, norms, dtype, *shared)

    def point(self) -> Point:
        """The module's own parameters as they are now, float64."""
        return {name: parameter.detach().double() for name, parameter in self.module.named_parameters()}

    def with_norms(
        self, *, buffers: Mapping[str, Tensor] | None = None, treatment: NormTreatment | None = None
    ) -> LossSurface:
        """The same surface with other running statistics or another treatment of its norms."""
        return replace(self, buffers=buffers or self.buffers, treatment=treatment or self.treatment)

    @property
    def count(self) -> int:
        """The number of batches."""
        return len(self.batches)

    def part(self, start: int, stop: int) -> LossSurface:
        """L on the batches ``start`` to ``stop`` − 1 alone."""
        share = self.share * (stop - start) / self.count
        return replace(self, batches=self.batches[start:stop], share=share)

    def in_precision(self, dtype: torch.dtype) -> LossSurface:
        """The same surface, the network computed in ``dtype``."""
        return replace(self, dtype=dtype)

    def value(self, point: Point) -> float:
        """L(point)."""
        return self.values([point])[0]

    def values(self, points: Sequence[Point]) -> list[float]:
        """L at several points."""
        return [math.fsum(losses) / len(losses) for losses in self.batch_losses(points)]

    def batch_losses(self, points: Sequence[Point]) -> list[list[float]]:
        """The loss of every batch at several points, one after the other or stacked: see ``points_at_once``."""
        size = min(len(points), self._points_at_once(points))
        own = self._stacked_losses(points, size) if size > 1 else None
        if own is None:
            own = torch.stack([self._losses(point) for point in points])
        self.counter.cost += Cost(forward=self.share * len(points))
        shared: list[list[float]] = self.processes.in_order(own, self.count).tolist()
        return shared

    def loss_and_accuracy(self, point: Point) -> tuple[float, float | None]:
        """L(point), and the fraction of correct classes where targets are class indices."""
        cast = self._cast(point)

        def evaluate(batch: Batch) -> Tensor:
            with torch.no_grad():
                outputs = self._run(cast, batch[0], fast=True)
                hits, labelled = correct(outputs, batch[1])
                return torch.stack([self._loss(outputs, batch[1]), hits.double(), labelled.double()])

        own = torch.stack([*self._over_batches(evaluate)], dim=1)
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
        cast = self._cast(point)

        def differentiate(batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
            leaves = {name: tensor.detach().requires_grad_() for name, tensor in cast.items()}
            with torch.enable_grad():
                loss = self._loss(self._run(leaves, batch[0], fast=True), batch[1])
            gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
            return loss.detach(), gradients

        losses = []
        total = {name: torch.zeros_like(tensor) for name, tensor in point.items()}
        for index, (loss, gradients) in enumerate(self._over_batches(differentiate)):
            losses.append(loss)
            if observe is not None:
                gradients = tuple(gradient.double() for gradient in gradients)
                number = self.processes.rank + index * self.processes.count
                observe(number, float(loss), dict(zip(cast, gradients, strict=True)))
            for name, gradient in zip(cast, gradients, strict=True):
                total[name] += gradient
            del gradients, gradient  # or they would live through the next batch
        self.counter.cost += Cost(forward=self.share, backward=self.share)
        shared = self.processes.in_order(row(losses), self.count).tolist()
        total = self.processes.total(total)
        return math.fsum(shared) / self.count, {name: tensor.div_(self.count) for name, tensor in total.items()}

    def outputs(
        self, point: Point, inputs: Tensor, observer: Callable[[int, NormCall], None] | None = None
    ) -> list[Tensor]:
        """The network's floating outputs for ``inputs``, differentiable in ``point``; for probes, not counted."""
        cast = {name: tensor.to(self.dtype) for name, tensor in point.items()}
        return floating(self._run(cast, inputs, observer))

    def plan(self) -> Plan:
        """How this surface runs its batches in this precision; settled once, on a slice of the first batch."""
        if self.dtype not in self.workshop.plans:
            self.workshop.plans[self.dtype] = settled(
                lambda leaves, part: self._run(leaves, part, fast=True),
                self.batches[0][0],
                {name: tensor.detach().to(self.dtype) for name, tensor in self.module.named_parameters()},
            )
        return self.workshop.plans[self.dtype]

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next((parameter.device for parameter in self.module.parameters()), torch.device("cpu"))

    def _over_batches(self, function: Callable[[Batch], Result]) -> Iterator[Result]:
        """``function`` of each of this process's batches, in their order."""
        own = self.processes.own(self.batches)
        return in_order(function, own, self.plan().batches_at_once(self.device, len(own)))

    def _points_at_once(self, points: Sequence[Point]) -> int:
        if self.points_at_once.setting != "calibrate" or len(points) == 1:
            return self.points_at_once.most(self.plan(), self.device, self.dtype)
        if self.dtype not in self.workshop.stacks:
            trial = replace(self, batches=self.batches[:1], processes=ALONE)
            some = points[:CHUNK]
            wins = faster(lambda: [trial._losses(point) for point in some], lambda: trial._stacked_losses(some, CHUNK))
            self.workshop.stacks[self.dtype] = CHUNK if wins else 1
        return self.workshop.stacks[self.dtype]

    def _losses(self, point: Point) -> Tensor:
        """Those of this process's batches, on the CPU."""
        cast = self._cast(point)

        def evaluate(batch: Batch) -> Tensor:
            with torch.no_grad():
                return self._loss(self._run(cast, batch[0], fast=True), batch[1])

        return row([*self._over_batches(evaluate)])

    def _stacked_losses(self, points: Sequence[Point], chunk: int) -> Tensor | None:
        """The same at all points by ``vmap``, (points, batches), or None for a network that it cannot follow."""
        stacked = self._cast({name: torch.stack([point[name] for point in points]) for name in points[0]})

        def evaluate(batch: Batch) -> Tensor:
            def loss(cast: Point) -> Tensor:
                return self._loss(self._run(cast, batch[0], fast=True), batch[1])

            with torch.no_grad():
                return smaller_on_out_of_memory(lambda size: vmap(loss, chunk_size=size)(stacked), chunk)

        try:
            losses = [*self._over_batches(evaluate)]
        except NotMeasurableError:
            return None
        return torch.stack(losses, dim=1).cpu() if losses else torch.zeros(len(points), 0, dtype=torch.float64)

    def _cast(self, point: Point) -> Point:
        plan = self.plan()
        return {name: plan.lay_out(tensor.detach().to(self.dtype, copy=True)) for name, tensor in point.items()}

    def _run(
        self,
        cast: Point,
        inputs: Tensor,
        observer: Callable[[int, NormCall], None] | None = None,
        *,
        fast: bool = False,
    ) -> Any:
        buffers = {
            name: buffer.to(self.dtype, copy=True) if buffer.is_floating_point() else buffer.clone()
            for name, buffer in self.buffers.items()
        }
        local = inputs.to(self.dtype) if inputs.is_floating_point() else inputs
        state = {**cast, **buffers}
        names = {id(tensor): name for name, tensor in state.items()} if observer else None
        with (
            self.workshop.module() as module,
            NormInterception(self.treatment, observer, names, fast_pooling=fast),
            accepting(f"The network does not accept a batch of {tuple(inputs.shape)}", _UNFIT),
        ):
            return functional_call(module, state, (local,))

    def _loss(self, outputs: Any, targets: Tensor) -> Tensor:
        precise = outputs.double() if isinstance(outputs, Tensor) and outputs.is_floating_point() else outputs
        wanted = targets.double() if targets.is_floating_point() else targets
        with accepting(f"The criterion does not accept targets of {tuple(targets.shape)}", _UNFIT_LABELS):
            return self.criterion(precise, wanted)
