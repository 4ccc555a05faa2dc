"""The training loop: seeded batches, a step schedule, and figures for the record."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.errors import NotMeasurableError, UsageError
from bnsharp_cli.measurement.outputs import correct
from bnsharp_cli.training.rules import Closure, Sgd

Examples = tuple[Tensor, Tensor]
Criterion = Callable[[Tensor, Tensor], Tensor]
_EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class TrainingOptions:
    """Everything that decides the outcome of a training run besides data and architecture.

    Attributes:
        rule: sgd.
        epochs: passes over the training data, at least 1.
        batch_size: samples in a batch; an incomplete last batch of an epoch is left out.
        learning_rate: of the first epoch.
        momentum: in [0, 1).
        weight_decay: factor of the L2 penalty.
        nesterov: Nesterov's momentum.
        milestones: epochs (from 0) at whose start the learning rate is multiplied by ``decay``.
        decay: factor at each milestone.
        seed: of the initial weights and of the batches.
    """

    rule: str = "sgd"
    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    nesterov: bool = False
    milestones: tuple[int, ...] = ()
    decay: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rule != "sgd":
            raise UsageError(f"--rule: expected one of sgd, found '{self.rule}'.", "Name a rule.")
        bounds = {
            "--epochs": self.epochs >= 1,
            "--batch-size": self.batch_size >= 2,
            "--learning-rate": self.learning_rate > 0,
            "--momentum": 0 <= self.momentum < 1,
            "--weight-decay": self.weight_decay >= 0,
            "--nesterov": not self.nesterov or self.momentum > 0,
            "--decay": 0 < self.decay <= 1,
        }
        for name, sound in bounds.items():
            if not sound:
                found = getattr(self, name.removeprefix("--").replace("-", "_"))
                raise UsageError(f"{name}: {found} is out of range.", "See `bnsharp train --help`.")

    def to_dict(self) -> dict[str, object]:
        """Plain containers, for the checkpoint."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Figures:
    """Mean loss and accuracy of a network in eval mode; no accuracy where targets are not class indices."""

    loss: float
    accuracy: float | None


Progress = Callable[[int, float], None]


def train(
    module: nn.Module,
    examples: Examples,
    options: TrainingOptions,
    progress: Progress,
    criterion: Criterion = functional.cross_entropy,
) -> None:
    """Train ``module`` in place.

    Args:
        module: a network.
        examples: inputs (N, …) and targets (N, …).
        options: how.
        progress: told the epoch and its mean loss after each epoch.
        criterion: mean loss of a batch from outputs and targets.

    Raises:
        NotMeasurableError: the loss became NaN or infinite.
    """
    rule = Sgd(module, options.learning_rate, options.momentum, options.weight_decay, options.nesterov)
    generator = torch.Generator().manual_seed(options.seed)
    module.train()
    for epoch in range(options.epochs):
        passed = sum(epoch >= milestone for milestone in options.milestones)
        rule.param_groups[0]["lr"] = options.learning_rate * options.decay**passed
        losses = [float(rule.step(closure)) for closure in _closures(module, examples, options, generator, criterion)]
        mean = math.fsum(losses) / len(losses)
        if not math.isfinite(mean):
            raise NotMeasurableError(f"The training loss became {mean} in epoch {epoch + 1}.", "Lower --learning-rate.")
        progress(epoch, mean)


def evaluate(module: nn.Module, examples: Examples, criterion: Criterion = functional.cross_entropy) -> Figures:
    """Mean loss (float64) and accuracy in eval mode."""
    inputs, targets = examples
    module.eval()
    loss, right, counted = 0.0, 0, 0
    with torch.no_grad():
        for images, labels in zip(
            torch.split(inputs, _EVALUATION_BATCH), torch.split(targets, _EVALUATION_BATCH), strict=True
        ):
            outputs = module(images).double()
            loss += float(criterion(outputs, labels)) * len(labels)
            hits, labelled = correct(outputs, labels)
            right, counted = right + int(hits), counted + int(labelled)
    if not math.isfinite(loss):
        raise NotMeasurableError(f"The loss of the trained network is {loss}.", "Lower --learning-rate.")
    return Figures(loss / len(targets), right / counted if counted else None)


def _closures(
    module: nn.Module,
    examples: Examples,
    options: TrainingOptions,
    generator: torch.Generator,
    criterion: Criterion,
) -> list[Closure]:
    inputs, targets = examples
    size = min(options.batch_size, len(targets))
    order = torch.randperm(len(targets), generator=generator)
    batches = [part for part in torch.split(order, size) if len(part) == size]

    def closure_of(indices: Tensor) -> Closure:
        def closure() -> Tensor:
            return criterion(module(inputs[indices]), targets[indices])

        return closure

    return [closure_of(indices) for indices in batches]
