"""What a network predicts, and how many classes it gets right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from bnsharp_cli.measurement.surface.linear_calls import LinearCall, LinearWatch
from bnsharp_cli.measurement.surface.real_pairs import widened
from bnsharp_cli.measurement.surface.tensor_trees import floating_tensors


@dataclass(frozen=True)
class NetworkFigures:
    """A network as it is, on all batches.

    Attributes:
        batch_losses: the loss of every batch, times the batch's weight.
        right: how many targets of every batch are predicted.
        labelled: among how many that are classes.
        classes: among how many classes the network chooses; 0 where targets are not numbers of classes.
    """

    batch_losses: tuple[float, ...]
    right: tuple[int, ...]
    labelled: tuple[int, ...]
    classes: int

    @property
    def loss(self) -> float:
        """The mean L(θ) over batches."""
        return math.fsum(self.batch_losses) / len(self.batch_losses)

    @property
    def accuracy(self) -> float | None:
        """The share of right answers, in [0, 1]; None where there are no classes."""
        labelled = sum(self.labelled)
        return sum(self.right) / labelled if labelled else None

    @property
    def batch_accuracies(self) -> tuple[float, ...]:
        """The share of right answers in every batch, times the batch's part of the labels; their mean is the accuracy.

        Empty where there are no classes.
        """
        labelled = sum(self.labelled)
        return tuple(right * len(self.right) / labelled for right in self.right) if labelled else ()


PREDICTIONS = ("logits", "out")
"""What networks call their prediction among other outputs: transformers, and torchvision's segmentation networks."""


def prediction(outputs: Any) -> Tensor | None:
    """The one tensor that a loss compares with targets, or None where it is not clear which that is."""
    if isinstance(outputs, Tensor):
        return outputs
    by_name = entries_of(outputs)
    for name in PREDICTIONS:
        if isinstance(by_name.get(name), Tensor):
            return cast(Tensor, by_name[name])
    found = floating_tensors(outputs)
    return found[0] if len(found) == 1 else None


def entries_of(outputs: Any) -> Mapping[Any, Any]:
    """What a network's outputs hold, by key, by the name of an attribute or by position."""
    if isinstance(outputs, Mapping):
        return outputs
    if isinstance(outputs, list | tuple):
        names: tuple[str, ...] = getattr(outputs, "_fields", ())
        return {**dict(enumerate(outputs)), **dict(zip(names, outputs, strict=False))}
    return getattr(outputs, "__dict__", {})


def class_count(outputs: Any, targets: Tensor, *, last: bool = False) -> int:
    """Among how many classes a network chooses for each target; 0 where targets are not numbers of classes.

    Args:
        outputs: of the network.
        targets: of the batch.
        last: whether classes are known to be in the last dimension, as tokens are, however the shapes look.
    """
    guess = _scores(outputs, targets, last)
    return guess.shape[-1] if guess is not None and guess.shape[-1] > 1 else 0


def count_correct(outputs: Any, targets: Tensor, *, last: bool = False) -> tuple[Tensor, Tensor]:
    """How many classes are right, and among how many targets: scalars of int64.

    Targets that are no class do not count; nothing counts where targets are not numbers of two or more classes.
    """
    marks = right_and_counted(outputs, targets, last=last)
    if marks is None:
        none = torch.zeros((), dtype=torch.int64, device=targets.device)
        return none, none
    right, counted = marks
    return right.sum(), counted.sum()


def right_and_counted(outputs: Any, targets: Tensor, *, last: bool = False) -> tuple[Tensor, Tensor] | None:
    """Marks of the targets that are predicted, and of those that are classes; None without classes."""
    guess, classes = _scores(outputs, targets, last), class_count(outputs, targets, last=last)
    if guess is None or not classes:
        return None
    counted = (targets >= 0) & (targets < classes)
    return (guess.argmax(-1) == targets) & counted, counted


def _scores(outputs: Any, targets: Tensor, last: bool) -> Tensor | None:
    """A number for each class and target, (…, classes), or None where there is none.

    Classes are in the second dimension, as torch's losses have them, or in the last one, as networks of tokens do.
    """
    guess = prediction(outputs)
    if guess is None or guess.ndim < 2 or targets.is_floating_point():
        return None
    orders = (guess.movedim(axis, -1) for axis in ((-1,) if last else (1, -1)))
    return next((one for one in orders if one.shape[:-1] == targets.shape), None)


@dataclass(frozen=True)
class BatchOutputs:
    """What a network answered to one batch, without a graph.

    Attributes:
        prediction: the tensor that a loss compares with targets, in float64; None where it is not clear which that is.
        targets: of the batch.
        loss: of the batch, not weighted, a scalar.
        linear: the last linear layers of the pass, the last one first.
    """

    prediction: Tensor | None
    targets: Any
    loss: Tensor
    linear: list[LinearCall]

    @classmethod
    def of(cls, outputs: Any, targets: Any, loss: Tensor, watch: LinearWatch) -> BatchOutputs:
        """All that a network returned, as far as it is numbers of one tensor."""
        found = prediction(outputs)
        usable = found is not None and found.is_floating_point()
        precise = widened(found.detach(), torch.float64) if found is not None and usable else None
        return cls(precise, targets, loss, watch.calls())
