"""One batch through the network: its loss and gradient at one point, or at several that are stacked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vmap

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import named
from bnsharp_cli.measurement.surface.accuracy import BatchOutputs, class_count, count_correct
from bnsharp_cli.measurement.surface.code_switches import dense
from bnsharp_cli.measurement.surface.cost import PassCounter
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.measurement.surface.execution_plan import ExecutionPlan
from bnsharp_cli.measurement.surface.foreign_errors import NO_GRADIENT, accepting, require_graph
from bnsharp_cli.measurement.surface.habits import GraphNeededError
from bnsharp_cli.measurement.surface.in_place import InPlaceGuard
from bnsharp_cli.measurement.surface.layouts import plain
from bnsharp_cli.measurement.surface.linear_calls import LinearWatch
from bnsharp_cli.measurement.surface.module_pool import ModulePool
from bnsharp_cli.measurement.surface.norms import NormInterception, NormObserver, NormTreatment
from bnsharp_cli.measurement.surface.real_pairs import as_complex, widened
from bnsharp_cli.measurement.surface.tensor_trees import (
    counts,
    floating_tensors,
    map_tensors,
    numbers_in,
    repeated,
    unshared,
)
from bnsharp_cli.measurement.surface.token_loss import averages_over_tokens

_UNFIT = f"Check that data, preprocessing and architecture belong together, or change {named('batch_size')}."
_UNFIT_LABELS = "Check that the labels belong to the network's classes."
_UNFIT_CRITERION = "Pass a function of the network's outputs and the targets of a batch that returns their mean loss."

Computed = TypeVar("Computed")
Used = TypeVar("Used")

BatchLoss = Callable[[Tensor, Tensor], Tensor]
"""From outputs (float64) and targets of one batch to their mean loss, a scalar."""


BatchObserver = Callable[[int, Point], None]
"""Told of a batch's number and gradient, in the network's precision."""


@dataclass(frozen=True)
class Passes:
    """Passes of single batches through a network, at parameters that :meth:`cast` or :meth:`stack` prepared.

    Attributes:
        pool: copies of the module to run on.
        criterion: the loss of one batch.
        buffers: running statistics and the like, cloned for every pass.
        treatment: how norms are computed.
        dtype: of the network's arithmetic.
        plan: the memory layout of parameters.
        guard: keeps batches from being changed.
        weight_of: from targets to what the loss of their batch is multiplied by; None for batches that count alike.
        complex_names: parameters that are complex numbers for the network, and pairs of real ones elsewhere.
        own_norms: modules with normalisation code of their own, which their ``training`` switches to batch statistics.
        constants: parameters that are not varied, prepared as those that are.
        counter: counts the passes that no measure asks for.
    """

    pool: ModulePool
    criterion: BatchLoss
    buffers: Mapping[str, Tensor]
    treatment: NormTreatment
    dtype: torch.dtype
    plan: ExecutionPlan
    guard: InPlaceGuard
    weight_of: Callable[[Tensor], float | Tensor] | None = None
    complex_names: frozenset[str] = frozenset()
    own_norms: tuple[str, ...] = ()
    constants: Point = field(default_factory=dict)
    counter: PassCounter = field(default_factory=PassCounter)

    def cast(self, point: Point) -> Point:
        """A copy of ``point`` in the network's precision and layout; each of its tensors is read once."""
        return {name: self._laid_out(tensor) for name, tensor in point.items()}

    def stack(self, points: Sequence[Point]) -> Point:
        """Several points as one, (points, …)."""
        return {name: self._laid_out(torch.stack([point[name] for point in points])) for name in points[0]}

    def loss(self, parameters: Point, batch: Batch, *, fast: bool = True) -> Tensor:
        """The loss of a batch, differentiable where ``parameters`` are and gradients are on; only once if ``fast``."""
        inputs, targets = batch
        return self._used(parameters, inputs, lambda found, own: self._compared(found, targets, own), fast=fast)

    def value(self, parameters: Point, batch: Batch) -> Tensor:
        """The loss of a batch, without gradient."""
        return self._without_gradient(lambda: self.loss(parameters, batch).detach())

    def outputs_of(self, parameters: Point, batch: Batch, use: Callable[[BatchOutputs], Used]) -> Used:
        """``use`` of what the network answers to a batch, and of the linear layers that made it."""

        def observed() -> Used:
            watch = LinearWatch()

            def handed(outputs: Any, criterion: BatchLoss) -> Used:
                loss = self._compared(outputs, batch[1], criterion, weighted=False).detach()
                return use(BatchOutputs.of(outputs, batch[1], loss, watch))

            return self._used(parameters, batch[0], handed, watch=watch)

        return self._without_gradient(observed)

    def loss_and_hits(self, parameters: Point, batch: Batch) -> Tensor:
        """(4,): the batch's loss, how many of its targets are right, among how many, and of how many classes."""
        tokens = averages_over_tokens(self.criterion)

        def found(outputs: Any, criterion: BatchLoss) -> Tensor:
            hits, labelled = count_correct(outputs, batch[1], last=tokens)
            loss = self._compared(outputs, batch[1], criterion).detach()
            figures = (hits, labelled, hits.new_tensor(class_count(outputs, batch[1], last=tokens)))
            return torch.stack([loss, *(figure.double() for figure in figures)])

        return self._without_gradient(lambda: self._used(parameters, batch[0], found))

    def loss_once_and_twice(self, parameters: Point, batch: Batch) -> Tensor:
        """(2,): the batch's loss, and that of its outputs and targets when each is there twice; or NaN.

        NaN stands where the first dimension of some output does not count the targets, so that it cannot be doubled.
        """
        targets, count = batch[1], len(batch[1])

        def both(outputs: Any, criterion: BatchLoss) -> Tensor:
            if not all(counts(tensor, count) for tensor in floating_tensors(outputs)):
                return torch.full((2,), torch.nan)
            again, wanted = (repeated(part, count) for part in (outputs, targets))
            pair = (self._compared(outputs, targets, criterion), self._compared(again, wanted, criterion))
            return torch.stack(pair).detach()

        self.counter.tried(len(batch[0]), forward=1)
        return self._without_gradient(lambda: self._used(parameters, batch[0], both, fast=False))

    def gradient(self, parameters: Point, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """The batch's loss and its gradients, in the order of ``parameters``.

        Raises:
            NotMeasurableError: autograd finds no way from the loss back to the parameters.
        """
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in parameters.items()}
        with torch.enable_grad():
            loss = self.loss(leaves, batch)
        if self.constants and not loss.requires_grad:  # a batch may not use the few parameters that are varied
            return loss.detach(), [torch.zeros_like(leaf) for leaf in leaves.values()]
        require_graph(loss)
        with accepting("The network cannot be differentiated", NO_GRADIENT):
            gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
        return loss.detach(), dense(gradients)

    def stacked_losses(self, stack: Point, batch: Batch, chunk: int) -> Tensor:
        """(points,): the batch's loss at every point, ``chunk`` of them by one ``vmap``, fewer when memory runs out."""
        with torch.no_grad():
            return self.pool.fitting.evaluate(
                "losses", stack, chunk, lambda size: vmap(partial(self._traced, batch), chunk_size=size)(stack)
            )

    def stacked_gradients(self, stack: Point, batch: Batch, chunk: int) -> tuple[Tensor, list[Tensor]]:
        """The same with the gradients, (points, …) each, in the order of ``stack``."""
        differentiated = grad_and_value(partial(self._traced, batch))
        with accepting("The network cannot be differentiated at several points at once", NO_GRADIENT):
            gradients, losses = self.pool.fitting.evaluate(
                "gradients", stack, chunk, lambda size: vmap(differentiated, chunk_size=size)(stack)
            )
        return losses, [gradients[name] for name in stack]

    def run(
        self, parameters: Point, inputs: Tensor, observer: NormObserver | None = None, *, fast: bool = False
    ) -> Any:
        """The network's outputs, differentiable in ``parameters``; ``observer`` is told of every norm."""
        self.counter.tried(len(inputs), forward=1)
        return self._used(parameters, inputs, lambda outputs, _: outputs, observer, fast=fast)

    def numbers(self, parameters: Point, inputs: Tensor, observer: NormObserver | None = None) -> list[Tensor]:
        """The network's outputs as real numbers, with a graph behind them where gradients are on."""
        if torch.is_grad_enabled():
            return numbers_in(self.run(parameters, inputs, observer))
        return self.run_without_gradient(parameters, inputs, observer)

    def run_without_gradient(
        self, parameters: Point, inputs: Tensor, observer: NormObserver | None = None
    ) -> list[Tensor]:
        """The network's outputs as real numbers, without a graph behind them."""
        return self._without_gradient(
            lambda: [output.detach() for output in numbers_in(self.run(parameters, inputs, observer))]
        )

    def outputs_and_loss(self, parameters: Point, batch: Batch) -> tuple[Any, Tensor]:
        """The network's outputs for a batch, and its loss."""

        def both(outputs: Any, criterion: BatchLoss) -> tuple[Any, Tensor]:
            return outputs, self._compared(outputs, batch[1], criterion)

        self.counter.tried(len(batch[0]), forward=1)
        if torch.is_grad_enabled():
            return self._used(parameters, batch[0], both, fast=False)
        outputs, loss = self._without_gradient(lambda: self._used(parameters, batch[0], both, fast=False))
        return map_tensors(Tensor.detach, outputs), loss.detach()

    def _used(
        self,
        parameters: Point,
        inputs: Tensor,
        use: Callable[[Any, BatchLoss], Used],
        observer: NormObserver | None = None,
        watch: LinearWatch | None = None,
        *,
        fast: bool = True,
    ) -> Used:
        """``use`` of the network's outputs and of the loss, which may read the network too."""
        local = unshared(plain(widened(inputs, self.dtype)))
        buffers = {name: widened(buffer, self.dtype, copy=True) for name, buffer in self.buffers.items()}
        state = {**self._state(parameters), **buffers}
        names = {id(tensor): name for name, tensor in state.items()} if observer else None
        if watch is not None:
            watch.begin(state)
        with (
            self.guard.kept(inputs, local, "network") as handed,  # outside the interception, which sees every call
            self.pool.copy() as copy,
            accepting(f"The network does not accept a batch of {tuple(inputs.shape)}", _UNFIT),
        ):
            criterion = copy.criterion if self.criterion is self.pool.criterion else self.criterion

            def run(module: nn.Module) -> Used:
                intercepted = self._intercepted(self.dtype, observer, names, watch, fast_pooling=fast)
                with intercepted, self._handing(module, parameters):
                    outputs = module(handed)
                return use(outputs, criterion)

            for name in self.own_norms:
                copy.module.get_submodule(name).training = self.treatment.batch_statistics
            return copy.with_tensors(state, run)

    def _state(self, parameters: Point) -> Point:
        """The parameters that the network has while it runs."""
        return as_complex({**self.constants, **parameters}, self.complex_names)

    def _handing(self, module: nn.Module, parameters: Point) -> AbstractContextManager[object]:
        """What else hands parameters to the network, inside the interception."""
        del module, parameters
        return nullcontext()

    def _traced(self, batch: Batch, parameters: Point) -> Tensor:
        return self.loss(parameters, batch)

    def _compared(self, outputs: Any, targets: Tensor, criterion: BatchLoss, *, weighted: bool = True) -> Tensor:
        precise = widened(outputs, torch.float64) if isinstance(outputs, Tensor) else outputs
        wanted = widened(targets, torch.float64)
        with (
            self.guard.kept(targets, wanted, "criterion") as handed,  # outside the interception, which sees every call
            self._intercepted(torch.float64),  # norms of a network that the loss runs itself are treated likewise
            accepting(
                f"The criterion does not accept targets of {tuple(targets.shape)}",
                partial(_advice, outputs, targets),
                "criterion",
            ),
        ):
            loss = criterion(precise, handed)
        return loss if self.weight_of is None or not weighted else loss * self.weight_of(targets)

    def _intercepted(self, dtype: torch.dtype, *observing: Any, fast_pooling: bool = False) -> NormInterception:
        """The interception of what the code of the network or of the criterion does."""
        habits = self.pool.habits
        fast = fast_pooling and not habits.differentiates  # it can be differentiated only once
        return NormInterception(self.treatment, *observing, fast_pooling=fast, dtype=dtype, habits=habits)

    def _without_gradient(self, compute: Callable[[], Computed]) -> Computed:
        """``compute()`` without a graph, or with one where the code takes derivatives itself."""
        try:
            with torch.set_grad_enabled(self.pool.habits.differentiates):
                return compute()
        except GraphNeededError:
            with torch.enable_grad():
                return compute()

    def _laid_out(self, tensor: Tensor) -> Tensor:
        return self.plan.lay_out(tensor.detach().to(self.dtype, copy=True))


def _advice(outputs: Any, targets: Any) -> str:
    """What to do about a criterion that failed: labels are only to blame where one names no class of the network."""
    if not isinstance(outputs, Tensor) or outputs.ndim < 2 or not isinstance(targets, Tensor):
        return _UNFIT_CRITERION
    if targets.is_floating_point() or targets.dtype is torch.bool or not targets.numel():
        return _UNFIT_CRITERION
    known = bool((targets >= 0).all()) and bool((targets < outputs.shape[1]).all())
    return _UNFIT_CRITERION if known else _UNFIT_LABELS
