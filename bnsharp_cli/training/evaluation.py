"""The loss and the accuracy of a network on a split, in eval mode."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.surface.accuracy import count_correct
from bnsharp_cli.measurement.surface.foreign_errors import accepting
from bnsharp_cli.measurement.surface.processes import ALONE, Processes
from bnsharp_cli.measurement.surface.tensor_trees import as_float64, map_tensors
from bnsharp_cli.training.divergence import LOWER_RATE
from bnsharp_cli.training.examples import Examples, evaluation_parts

LossFunction = Callable[[Any, Tensor], Tensor]
"""From the outputs of a batch and its targets to their mean loss, a scalar."""


@dataclass(frozen=True)
class LossAndAccuracy:
    """The loss and the accuracy that :func:`evaluate` finds.

    Attributes:
        loss: mean over the examples.
        accuracy: share of right answers in [0, 1]; None where targets are not class indices.
    """

    loss: float
    accuracy: float | None

    @property
    def merit(self) -> tuple[float, float]:
        """Larger is better: the accuracy decides, and the loss between equal accuracies."""
        return self.accuracy or 0.0, -self.loss


def outputs_of_batch(module: nn.Module, inputs: Tensor) -> Any:
    """What the network answers to a batch.

    Raises:
        NotMeasurableError: it failed, with its own reason.
    """
    with accepting(f"The network does not accept a batch of {tuple(inputs.shape)}", "Mend the network."):
        return module(inputs)


def batch_loss(criterion: LossFunction, outputs: Any, targets: Tensor) -> Tensor:
    """The loss of a batch from its outputs.

    Raises:
        NotMeasurableError: the criterion failed, with its own reason.
    """
    with accepting(
        f"The criterion does not accept targets of {tuple(targets.shape)}", "Mend the criterion.", "criterion"
    ):
        return criterion(outputs, targets)


def evaluate(
    module: nn.Module,
    examples: Examples,
    criterion: LossFunction = functional.cross_entropy,
    *,
    device: torch.device | None = None,
    processes: Processes = ALONE,
) -> LossAndAccuracy:
    """Mean loss, summed in float64, and accuracy in eval mode; several processes share the work.

    Args:
        module: the network; left in eval mode.
        examples: the split.
        criterion: mean loss of a batch from outputs, which it gets in float64, and targets.
        device: where the module is; None for the CPU.
        processes: the processes that share the batches.

    Raises:
        NotMeasurableError: the loss is not finite, or the network or the criterion failed.

    >>> from bnsharp_cli.training.examples import ExamplesInMemory
    >>> network = nn.Linear(2, 2)
    >>> _ = nn.init.eye_(network.weight), nn.init.zeros_(network.bias)
    >>> found = evaluate(network, ExamplesInMemory(torch.eye(2), torch.tensor([0, 1])))
    >>> found.accuracy, round(found.loss, 3)
    (1.0, 0.313)
    """
    parts = evaluation_parts(examples)
    module.eval()
    own: list[tuple[float, int, int]] = []
    with torch.no_grad(), torch.autocast(torch.device(device or "cpu").type, enabled=False):
        for batch in examples.batches(processes.own(parts)):
            inputs, targets = (tensor.to(device) for tensor in batch)
            outputs = map_tensors(as_float64, outputs_of_batch(module, inputs))
            hits, labelled = count_correct(outputs, targets)
            own.append((float(batch_loss(criterion, outputs, targets)) * len(targets), int(hits), int(labelled)))
    every = processes.in_order(torch.tensor(own, dtype=torch.float64).reshape(-1, 3).T, len(parts))
    loss, right, counted = (math.fsum(row) for row in every.tolist())
    if not math.isfinite(loss):
        raise NotMeasurableError(
            f"The loss of the trained network is {loss}.",
            LOWER_RATE,
            expected="a finite loss",
            found=loss,
        )
    return LossAndAccuracy(loss / len(examples), right / counted if counted else None)
