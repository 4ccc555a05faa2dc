"""The training loop: one epoch at a time, and everything that another process needs to go on from there."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.errors import NotMeasurableError, UsageError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.measurement.surface.outputs import as_double, converted, correct
from bnsharp_cli.measurement.surface.processes import ALONE, Processes
from bnsharp_cli.training.augmentation import Augmentation
from bnsharp_cli.training.examples import Examples, in_parts
from bnsharp_cli.training.mixed_precision import precision_of
from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.training.registry import registered_rule
from bnsharp_cli.training.rules import Closure, Rule, Weight, with_graph
from bnsharp_cli.training.schedules import SCHEDULES

Criterion = Callable[[Any, Tensor], Tensor]
Progress = Callable[[int, float], None]
"""Told how many steps of the epoch are done, and the loss of the last."""

_REMEDY = "Lower --learning-rate."


def unobserved(_: int, __: float) -> None:
    """No progress."""


class Training:
    """A network in training.

    One generator draws the order of the examples, epoch by epoch. Everything else that is random (dropout, crops, the
    further batches of a rule) starts anew in each epoch from a seed of its own, so that there is nothing of it to keep.

    In several processes each takes an equal share of every batch: batch norm uses the statistics of the share, losses
    and gradients are averaged, and the running statistics are those of the first process, as in torch's
    ``DistributedDataParallel``.

    Args:
        module: a network; trained in place, moved to ``device``.
        examples: what it learns, the same on every process.
        options: how.
        criterion: mean loss of a batch from outputs and targets.
        black: what a black pixel has become by normalisation, (1, C, 1, 1); for crops.
        blocks: finds the scale-invariant rows, for rules that need them.
        device: where to compute.
        processes: that share each batch.

    Raises:
        UsageError: batches that the processes cannot share equally.
    """

    def __init__(
        self,
        module: nn.Module,
        examples: Examples,
        options: TrainingOptions,
        criterion: Criterion = functional.cross_entropy,
        *,
        black: Tensor | None = None,
        blocks: Callable[[], Blocks] | None = None,
        device: torch.device | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.device = device or torch.device("cpu")
        self.module = module.to(self.device)
        self.options = options
        self.rule = _rule(self.module, options, blocks or _unknown)
        self.rule.differentiate = self._differentiate
        self.epoch = 0
        self.gradients = 0
        self._examples, self._criterion, self._processes = examples, criterion, processes
        self.batch_size = min(options.batch_size, len(examples))
        if self.batch_size % processes.count:
            raise UsageError(
                f"--batch-size: {processes.count} processes cannot share {self.batch_size} samples equally.",
                "Name a multiple of their number.",
            )
        self._order = torch.Generator().manual_seed(options.seed)
        self._precision = precision_of(options.amp, self.rule, self.device)
        self._augmentation = Augmentation(options.augment, torch.zeros(1, 1, 1, 1) if black is None else black)
        self._share_first(dict(self.module.state_dict()))

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return len(self._examples) // self.batch_size

    def run_epoch(self, progress: Progress = unobserved) -> float:
        """Train for one more epoch; returns the mean loss of its steps.

        Raises:
            NotMeasurableError: a loss or a weight became NaN or infinite.
        """
        for group in self.rule.param_groups:
            group["lr"] = self.learning_rate
        self.module.train()
        losses: list[float] = []
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(self._seed("network", self._processes.rank))
            for closures in self._steps():
                losses.append(float(self.rule.step(*closures)))
                if not math.isfinite(losses[-1]):
                    raise NotMeasurableError(
                        f"The training loss became {losses[-1]} in epoch {self.epoch + 1}.", _REMEDY
                    )
                progress(len(losses), losses[-1])
            self._refresh()
        self.rule.end_epoch()
        self._share_first(dict(self.module.named_buffers()))
        self._require_finite()
        self.epoch += 1
        return math.fsum(losses) / len(losses)

    @property
    def learning_rate(self) -> float:
        """Of the epoch that comes next."""
        return self.options.learning_rate * SCHEDULES[self.options.schedule](self.options, self.epoch)

    def state_dict(self) -> dict[str, Any]:
        """Plain containers, numbers and tensors on the CPU: all that :meth:`load_state_dict` needs."""
        state = {
            "epoch": self.epoch,
            "gradients": self.gradients,
            "state_dict": dict(self.module.state_dict()),
            "rule": self.rule.state_dict(),
            "order": self._order.get_state(),
            "precision": self._precision.state_dict(),
        }
        return {key: converted(lambda tensor: tensor.detach().cpu(), value) for key, value in state.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another run of the same options was; what does not fit raises whatever it meets."""
        self.module.load_state_dict(state["state_dict"])
        self.rule.load_state_dict(state["rule"])
        for parameter, kept in self.rule.state.items():
            if any(isinstance(entry, Tensor) and entry.shape != parameter.shape for entry in kept.values()):
                raise ValueError("what its rule remembers is of another shape than the weights")
        self._order.set_state(state["order"])
        self._precision.load_state_dict(state["precision"])
        self.epoch, self.gradients = int(state["epoch"]), int(state["gradients"])

    def _steps(self) -> Iterator[tuple[Closure, ...]]:
        """The closures of each step: as many batches as the rule wants, each of a permutation of its own."""
        wanted = self.rule.batches_per_step
        further = torch.Generator().manual_seed(self._seed("batches"))
        orders = [torch.randperm(len(self._examples), generator=self._order)]
        orders += [torch.randperm(len(self._examples), generator=further) for _ in range(wanted - 1)]
        share = self.batch_size // self._processes.count
        begin = share * self._processes.rank
        batches = [[part[begin : begin + share] for part in self._whole(order)] for order in orders]
        augmenting = torch.Generator().manual_seed(self._seed("augmentation", self._processes.rank))
        examples = self._examples.batches([*chain.from_iterable(zip(*batches, strict=True))])
        closures = (self._closure(batch, augmenting) for batch in examples)
        return zip(*[closures] * wanted, strict=True)

    def _whole(self, order: Tensor) -> tuple[Tensor, ...]:
        return torch.split(order, self.batch_size)[: self.steps]

    def _closure(self, batch: Batch, generator: torch.Generator) -> Closure:
        inputs, targets = (tensor.to(self.device, non_blocking=True) for tensor in batch)
        if self.options.augment:
            inputs = self._augmentation(inputs, generator)

        def closure() -> Tensor:
            with self._precision.autocast():
                return self._criterion(self.module(inputs), targets)

        return closure

    def _differentiate(self, closure: Closure, weight: Weight | None = None) -> Tensor:
        """How the rule gets its gradients, see :attr:`~bnsharp_cli.training.rules.Rule.differentiate`."""
        loss = with_graph(closure())
        mean = loss.detach().clone()
        self._average({"loss": mean})
        weighted = loss if weight is None else weight(float(mean)) * loss
        self._precision.backward(weighted, lambda: self._average(self._gradients()))
        self.gradients += 1
        return mean

    def _gradients(self) -> dict[str, Tensor]:
        return {name: p.grad for name, p in self.module.named_parameters() if p.grad is not None}

    def _average(self, tensors: Mapping[str, Tensor]) -> None:
        """Let each tensor be its mean over the processes."""
        if self._processes.count == 1:
            return
        self._processes.agree()
        for tensor, total in zip(tensors.values(), self._processes.total(dict(tensors)).values(), strict=True):
            tensor.copy_(total / self._processes.count)

    def _refresh(self) -> None:
        """Let running statistics follow parameters that have moved since the last pass they have seen."""
        if self.rule.refreshes_statistics:
            batches = self._examples.batches(self._whole(torch.arange(len(self._examples))))
            torch.optim.swa_utils.update_bn(batches, self.module, self.device)

    def _share_first(self, tensors: Mapping[str, Tensor]) -> None:
        """Give every process the tensors of the first."""
        for tensor, first in zip(tensors.values(), self._processes.first(tensors).values(), strict=True):
            if tensor is not first:
                tensor.copy_(first)

    def _require_finite(self) -> None:
        for name, tensor in self.module.state_dict().items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise NotMeasurableError(f"'{name}' became NaN or infinite in epoch {self.epoch + 1}.", _REMEDY)

    def _seed(self, purpose: str, rank: int = 0) -> int:
        """A seed for what is random in the present epoch."""
        text = f"{self.options.seed}/{self.epoch}/{purpose}/{rank}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])


def _rule(module: nn.Module, options: TrainingOptions, blocks: Callable[[], Blocks]) -> Rule:
    return registered_rule(options.rule).rule_class.from_options(
        module,
        options.own_options,
        blocks,
        lr=options.learning_rate,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        nesterov=options.nesterov,
        clip_gradient=options.clip_gradient,
    )


def _unknown() -> Blocks:
    raise UsageError("blocks: this rule has to know which rows are scale-invariant.", "Pass what finds them.")


@dataclass(frozen=True)
class Figures:
    """Mean loss and accuracy of a network in eval mode; no accuracy where targets are not class indices."""

    loss: float
    accuracy: float | None

    @property
    def merit(self) -> tuple[float, float]:
        """Larger is better: the accuracy, then the loss."""
        return self.accuracy or 0.0, -self.loss


def evaluate(
    module: nn.Module,
    examples: Examples,
    criterion: Criterion = functional.cross_entropy,
    *,
    device: torch.device | None = None,
    processes: Processes = ALONE,
) -> Figures:
    """Mean loss (float64) and accuracy in eval mode; several processes share the work.

    Raises:
        NotMeasurableError: the loss is not finite.
    """
    parts = in_parts(examples)
    module.eval()
    own: list[tuple[float, int, int]] = []
    with torch.no_grad():
        for batch in examples.batches(processes.own(parts)):
            inputs, targets = (tensor.to(device) for tensor in batch)
            outputs = converted(as_double, module(inputs))
            hits, labelled = correct(outputs, targets)
            own.append((float(criterion(outputs, targets)) * len(targets), int(hits), int(labelled)))
    every = processes.in_order(torch.tensor(own, dtype=torch.float64).reshape(-1, 3).T, len(parts))
    loss, right, counted = (math.fsum(row) for row in every.tolist())
    if not math.isfinite(loss):
        raise NotMeasurableError(f"The loss of the trained network is {loss}.", _REMEDY)
    return Figures(loss / len(examples), right / counted if counted else None)
