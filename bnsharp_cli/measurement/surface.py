"""The loss surface: a module, a criterion and fixed mini-batches, seen as a function of the parameters."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call, vmap
from torch.nn import functional

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.cost import Cost, Counter
from bnsharp_cli.measurement.execution import (
    Batch,
    Plan,
    SavedBytes,
    Stream,
    Workshop,
    candidates,
    in_order,
    private_copy,
    resident,
)
from bnsharp_cli.measurement.norms import NormCall, NormInterception, NormTreatment
from bnsharp_cli.measurement.outputs import correct, floating
from bnsharp_cli.measurement.stacking import CHUNK, PointsAtOnce, faster, smaller_on_out_of_memory

Result = TypeVar("Result")

_TRIAL = 8

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
        """
        private = private_copy(module, device)
        placed = batches.on(device) if isinstance(batches, Stream) else resident(batches, device)
        buffers = {name: buffer.detach().clone() for name, buffer in private.named_buffers()}
        treatment = NormTreatment(batch_statistics=batch_statistics)
        settings = points_at_once or PointsAtOnce()
        return cls(private, criterion, placed, buffers, treatment, dtype, Counter(), Workshop(private), settings)

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
        stacked = self._stacked_losses(points, size) if size > 1 else None
        return [self._losses(point) for point in points] if stacked is None else stacked

    def loss_and_accuracy(self, point: Point) -> tuple[float, float | None]:
        """L(point), and the fraction of correct classes where targets are class indices."""
        cast = self._cast(point)

        def evaluate(batch: Batch) -> tuple[Tensor, Tensor, int]:
            with torch.no_grad():
                outputs = self._run(cast, batch[0], fast=True)
                return self._loss(outputs, batch[1]), *correct(outputs, batch[1])

        losses, hits, labelled = zip(*self._over_batches(evaluate), strict=True)
        self.counter.cost += Cost(forward=self.share)
        right, among = int(torch.stack(hits).sum()), sum(labelled)
        return self._mean(losses), right / among if among else None

    def value_and_gradient(self, point: Point) -> tuple[float, Point]:
        """L(point) and ∇L(point), the gradient summed over batches in float64."""
        return self.value_and_batch_gradients(point, None)

    def value_and_batch_gradients(self, point: Point, observe: BatchObserver | None) -> tuple[float, Point]:
        """Like :meth:`value_and_gradient`, telling ``observe`` of every batch in order; only the sum is kept."""
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
                observe(index, float(loss), dict(zip(cast, gradients, strict=True)))
            for name, gradient in zip(cast, gradients, strict=True):
                total[name] += gradient
            del gradients, gradient  # or they would live through the next batch
        self.counter.cost += Cost(forward=self.share, backward=self.share)
        return self._mean(losses), {name: tensor.div_(len(losses)) for name, tensor in total.items()}

    def outputs(
        self, point: Point, inputs: Tensor, observer: Callable[[int, NormCall], None] | None = None
    ) -> list[Tensor]:
        """The network's floating outputs for ``inputs``, differentiable in ``point``; for probes, not counted."""
        cast = {name: tensor.to(self.dtype) for name, tensor in point.items()}
        return floating(self._run(cast, inputs, observer))

    def plan(self) -> Plan:
        """How this surface runs its batches in this precision; settled once, on a slice of the first batch."""
        if self.dtype not in self.workshop.plans:
            self.workshop.plans[self.dtype] = self._settle()
        return self.workshop.plans[self.dtype]

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next((parameter.device for parameter in self.module.parameters()), torch.device("cpu"))

    def _settle(self) -> Plan:
        inputs = self.batches[0][0]
        part = inputs[:_TRIAL]
        point = {name: tensor.to(self.dtype) for name, tensor in self.module.named_parameters()}
        for plan in candidates(self.device, self.dtype, point.values()):
            leaves = {name: plan.lay_out(tensor.detach()).requires_grad_() for name, tensor in point.items()}
            saved = SavedBytes([*leaves.values(), *self.module.parameters(), part])
            with contextlib.suppress(NotMeasurableError), torch.enable_grad():
                with saved_tensors_hooks(saved, lambda tensor: tensor):
                    self._run(leaves, part, fast=True)
                gradient = sum(leaf.nbytes for leaf in leaves.values())
                return replace(plan, held=gradient + saved.total * len(inputs) // len(part), tried=True)
        return Plan()

    def _over_batches(self, function: Callable[[Batch], Result]) -> Iterator[Result]:
        """``function`` of every batch, in their order."""
        return in_order(function, self.batches, self.plan().batches_at_once(self.device, len(self.batches)))

    def _mean(self, losses: Sequence[Tensor]) -> float:
        return math.fsum(torch.stack(list(losses)).tolist()) / len(losses)

    def _points_at_once(self, points: Sequence[Point]) -> int:
        if self.points_at_once.setting != "calibrate" or len(points) == 1:
            return self.points_at_once.most(self.plan(), self.device, self.dtype)
        if self.dtype not in self.workshop.stacks:
            trial = replace(self, batches=self.batches[:1], counter=Counter())
            some = points[:CHUNK]
            wins = faster(lambda: [trial._losses(point) for point in some], lambda: trial._stacked_losses(some, CHUNK))
            self.workshop.stacks[self.dtype] = CHUNK if wins else 1
        return self.workshop.stacks[self.dtype]

    def _losses(self, point: Point) -> list[float]:
        cast = self._cast(point)

        def evaluate(batch: Batch) -> Tensor:
            with torch.no_grad():
                return self._loss(self._run(cast, batch[0], fast=True), batch[1])

        losses = list(self._over_batches(evaluate))
        self.counter.cost += Cost(forward=self.share)
        return [float(loss) for loss in torch.stack(losses)]

    def _stacked_losses(self, points: Sequence[Point], chunk: int) -> list[list[float]] | None:
        """The same at all points by ``vmap``, or None for a network that ``vmap`` cannot follow."""
        stacked = self._cast({name: torch.stack([point[name] for point in points]) for name in points[0]})

        def evaluate(batch: Batch) -> Tensor:
            def loss(cast: Point) -> Tensor:
                return self._loss(self._run(cast, batch[0], fast=True), batch[1])

            with torch.no_grad():
                return smaller_on_out_of_memory(lambda size: vmap(loss, chunk_size=size)(stacked), chunk)

        try:
            losses = list(self._over_batches(evaluate))
        except NotMeasurableError:
            return None
        self.counter.cost += Cost(forward=self.share * len(points))
        return [[float(loss) for loss in at_point] for at_point in torch.stack(losses, dim=1)]

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
        with self.workshop.module() as module, NormInterception(self.treatment, observer, names, fast_pooling=fast):
            try:
                return functional_call(module, state, (local,))
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, ValueError, IndexError) as error:
                raise NotMeasurableError(
                    f"The network does not accept a batch of {tuple(inputs.shape)}: {str(error).splitlines()[0]}",
                    "Check that data, preprocessing and architecture belong together, or change --batch-size.",
                ) from error

    def _loss(self, outputs: Any, targets: Tensor) -> Tensor:
        precise = outputs.double() if isinstance(outputs, Tensor) and outputs.is_floating_point() else outputs
        wanted = targets.double() if targets.is_floating_point() else targets
        try:
            return self.criterion(precise, wanted)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
            raise NotMeasurableError(
                f"The criterion does not accept targets of {tuple(targets.shape)}: {str(error).splitlines()[0]}",
                "Check that the labels belong to the network's classes.",
            ) from error
