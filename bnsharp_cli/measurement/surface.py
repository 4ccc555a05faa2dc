"""The loss surface: a module, a criterion and fixed mini-batches, seen as a function of the parameters."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.norms import NormCall, NormInterception, NormTreatment
from bnsharp_cli.measurement.processes import ALONE, Processes

Criterion = Callable[[Tensor, Tensor], Tensor]
"""From outputs (float64) and targets of one batch to their mean loss, a scalar."""


@dataclass(frozen=True)
class Cost:
    """Passes over all samples; a pass over a part of them counts for that part."""

    forward: float = 0.0
    backward: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.forward + other.forward, self.backward + other.backward)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.forward - other.forward, self.backward - other.backward)


class Counter:
    """Counts passes; shared by all surfaces that were derived from one."""

    def __init__(self) -> None:
        self.cost = Cost()


@dataclass(frozen=True)
class LossSurface:
    """L as a function of the parameters: the mean over fixed batches of the batch's mean loss.

    The user's module is never touched: passes run on a private copy in eval mode (dropout off), whose parameters
    and buffers are handed in anew for every pass, and whose norms follow ``treatment``. Points are float64; the
    network computes in ``dtype``, everything after it in float64.

    Attributes:
        module: a private copy in eval mode.
        criterion: the loss of one batch.
        batches: inputs and targets, on ``device``.
        buffers: running statistics and the like, as handed to every pass.
        treatment: how norms are computed.
        dtype: of the network's arithmetic.
        counter: of passes.
        processes: that share the batches.
    """

    module: nn.Module
    criterion: Criterion
    batches: tuple[tuple[Tensor, Tensor], ...]
    buffers: Mapping[str, Tensor]
    treatment: NormTreatment
    dtype: torch.dtype
    counter: Counter
    processes: Processes = ALONE

    @classmethod
    def of(
        cls,
        module: nn.Module,
        batches: Iterable[tuple[Tensor, Tensor]],
        criterion: Criterion = functional.cross_entropy,
        *,
        batch_statistics: bool = True,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        processes: Processes = ALONE,
    ) -> LossSurface:
        """The surface of ``module`` on ``batches``; both are left as they are.

        Args:
            module: a network from inputs to outputs.
            batches: pairs of inputs and targets, each kept whole.
            criterion: see ``Criterion``.
            batch_statistics: norms use the batch's statistics (the paper's L), or else the running ones.
            dtype: float32 or float64.
            device: where to compute.
            processes: that share the batches, all of which each of them is given.
        """
        private = copy.deepcopy(module).eval().to(device=device)
        for parameter in private.parameters():
            parameter.requires_grad_(False)
        placed = tuple((inputs.to(device), targets.to(device)) for inputs, targets in batches)
        buffers = {name: buffer.detach().clone() for name, buffer in private.named_buffers()}
        treatment = NormTreatment(batch_statistics=batch_statistics)
        return cls(private, criterion, placed, buffers, treatment, dtype, Counter(), processes)

    def point(self) -> Point:
        """The module's own parameters, float64."""
        return {name: parameter.detach().double() for name, parameter in self.module.named_parameters()}

    def with_norms(
        self, *, buffers: Mapping[str, Tensor] | None = None, treatment: NormTreatment | None = None
    ) -> LossSurface:
        """The same surface with other running statistics or another treatment of its norms."""
        return replace(self, buffers=buffers or self.buffers, treatment=treatment or self.treatment)

    def in_precision(self, dtype: torch.dtype) -> LossSurface:
        """The same surface, the network computed in ``dtype``."""
        return replace(self, dtype=dtype)

    def value(self, point: Point) -> float:
        """L(point)."""
        return self.values([point])[0]

    def values(self, points: Sequence[Point]) -> list[float]:
        """L at several points, batch after batch."""
        return [_mean(figures) for figures in self._figures(points)]

    def loss_and_accuracy(self, point: Point) -> tuple[float, float | None]:
        """L(point), and the fraction of correct classes where targets are class indices."""
        figures = self._figures([point])[0]
        _, correct, labelled = figures.sum(dim=1).tolist()
        return _mean(figures), correct / labelled if labelled else None

    def value_and_gradient(self, point: Point) -> tuple[float, Point]:
        """L(point) and ∇L(point), the gradient summed over batches in float64."""
        losses = []
        total = {name: torch.zeros_like(tensor) for name, tensor in point.items()}
        cast = {name: tensor.requires_grad_() for name, tensor in self._cast(point).items()}
        for inputs, targets in self.processes.own(self.batches):
            loss = self._loss(self._run(cast, inputs), targets)
            gradients = torch.autograd.grad(loss, list(cast.values()), allow_unused=True)
            for name, gradient in zip(cast, gradients, strict=True):
                if gradient is not None:
                    total[name] += gradient
            losses.append(float(loss.detach()))
        self.counter.cost += Cost(forward=1, backward=1)
        count = len(self.batches)
        figures = self.processes.in_order(torch.tensor([losses], dtype=torch.float64), count)
        total = self.processes.total(total)
        return _mean(figures), {name: tensor / count for name, tensor in total.items()}

    def outputs(
        self, point: Point, inputs: Tensor, observer: Callable[[int, NormCall], None] | None = None
    ) -> list[Tensor]:
        """The network's floating outputs for ``inputs``, differentiable in ``point``; for probes, not counted."""
        cast = {name: tensor.to(self.dtype) for name, tensor in point.items()}
        return _floating(self._run(cast, inputs, observer))

    def _figures(self, points: Sequence[Point]) -> Tensor:
        """Loss, correct classes and labels of each batch at each point: (points, 3, batches), float64."""
        batches = self.processes.own(self.batches)
        own = [[self._batch_figures(cast, *batch) for batch in batches] for cast in map(self._cast, points)]
        figures = torch.tensor(own, dtype=torch.float64).reshape(len(points), len(batches), 3)
        self.counter.cost += Cost(forward=len(points))
        return self.processes.in_order(figures.mT, len(self.batches))

    def _batch_figures(self, cast: Point, inputs: Tensor, targets: Tensor) -> tuple[float, int, int]:
        with torch.no_grad():
            outputs = self._run(cast, inputs)
            loss = float(self._loss(outputs, targets))
        if isinstance(outputs, Tensor) and outputs.ndim == targets.ndim + 1 and not targets.is_floating_point():
            return loss, int((outputs.argmax(1) == targets).sum()), targets.numel()
        return loss, 0, 0

    def _cast(self, point: Point) -> Point:
        return {name: tensor.detach().to(self.dtype, copy=True) for name, tensor in point.items()}

    def _run(self, cast: Point, inputs: Tensor, observer: Callable[[int, NormCall], None] | None = None) -> Any:
        buffers = {
            name: buffer.to(self.dtype, copy=True) if buffer.is_floating_point() else buffer.clone()
            for name, buffer in self.buffers.items()
        }
        local = inputs.to(self.dtype) if inputs.is_floating_point() else inputs
        state = {**cast, **buffers}
        names = {id(tensor): name for name, tensor in state.items()} if observer else None
        with NormInterception(self.treatment, observer, names):
            try:
                return functional_call(self.module, state, (local,))
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
        except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
            raise NotMeasurableError(
                f"The criterion does not accept targets of {tuple(targets.shape)}: {str(error).splitlines()[0]}",
                "Check that the labels belong to the network's classes.",
            ) from error


def _mean(figures: Tensor) -> float:
    """The mean loss of the batches, the first row of ``figures``: the same however many processes computed it."""
    return math.fsum(figures[0].tolist()) / figures.shape[1]


def _floating(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs] if outputs.is_floating_point() else []
    if isinstance(outputs, Mapping):
        return [tensor for value in outputs.values() for tensor in _floating(value)]
    if isinstance(outputs, list | tuple):
        return [tensor for value in outputs for tensor in _floating(value)]
    return []
