r"""Outputs as scores of classes, and the part of each in a loss that is found to be their cross entropy.

Torch's cross entropy of scores z is linear in log-probabilities, with the weights of classes, label smoothing and the
probabilities of classes in its factors q alone: ℓ = −Σ_c q_c log p_c, p = softmax(z). With Q = Σ_c q_c its second
derivative by the scores is Q (diag p − p pᵀ), whatever the label is. So Q is all that has to be known of it.

Whether the loss is one is not believed but computed: on every batch it must be what the formula says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.core.point import numbers
from bnsharp_cli.measurement.surface.accuracy import BatchOutputs
from bnsharp_cli.measurement.surface.adapters import CheckedCriterion
from bnsharp_cli.measurement.surface.token_loss import IGNORED, token_cross_entropy

_SAME, _SAME_OF_LOSS, _NORMALISED = 1e-12, 1e-3, 1e-5
"""Relative to 1 + the largest score, which is more than rounding; and to the loss, since many losses are near 0.

The last is for log-probabilities, which a network in float32 normalises to its own precision.
"""


@dataclass(frozen=True)
class CrossEntropy:
    """The settings of torch's cross entropy; each has torch's default.

    Attributes:
        weight: of each class, or None.
        ignore_index: the label that does not count.
        label_smoothing: ε.
        reduction: ``mean``, or anything else for ``sum``.
        known: whether the loss is torch's own; else it has to be seen that it is one.
        same: how far the loss may be from it, relative to 1 + the largest score.
    """

    weight: Tensor | None = field(default=None, compare=False)
    ignore_index: int = IGNORED
    label_smoothing: float = 0.0
    reduction: str = "mean"
    known: bool = False
    same: float = _SAME

    @classmethod
    def of(cls, criterion: Callable[..., Any]) -> CrossEntropy:
        """The settings of a criterion, if it is torch's own, and else torch's defaults.

        That of tokens is one of them, and that of log-probabilities, since these are the logarithm of their softmax.
        """
        function = criterion.function if isinstance(criterion, CheckedCriterion) else criterion
        names = ("weight", "ignore_index", "label_smoothing", "reduction")
        if isinstance(function, nn.CrossEntropyLoss):
            return cls(**{name: getattr(function, name) for name in names}, known=True)
        if isinstance(function, nn.NLLLoss):
            return cls(function.weight, function.ignore_index, 0.0, function.reduction, True, _NORMALISED)
        if function is functional.nll_loss:
            return cls(known=True, same=_NORMALISED)
        if isinstance(function, partial) and function.func is functional.cross_entropy:
            return cls(**{name: each for name, each in function.keywords.items() if name in names}, known=True)
        return cls(known=function in (functional.cross_entropy, token_cross_entropy))

    def says(self, found: float, loss: float, largest: float) -> bool:
        """Whether a loss is what this cross entropy was ``found`` to be, for scores up to ``largest``."""
        apart = abs(found - loss)
        return apart <= self.same * (1 + largest) and (self.known or apart < _SAME_OF_LOSS * abs(loss))

    def factors(self, targets: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """(rows,): Q of each row, before the loss divides by their number; and what a mean counts each row for.

        Args:
            targets: classes (rows,), or their probabilities (rows, classes).
            classes: how many there are.
        """
        weight = torch.ones(classes, device=targets.device) if self.weight is None else self.weight
        weight = weight.to(targets.device, torch.float64)
        if targets.is_floating_point():
            smoothed = targets.double() * (1 - self.label_smoothing) + self.label_smoothing / classes
            return smoothed @ weight, torch.ones(len(targets), dtype=torch.float64, device=targets.device)
        counted = targets != self.ignore_index
        own = weight[torch.where(counted, targets, 0)] * counted
        uniform = weight.sum() / classes * counted
        return (1 - self.label_smoothing) * own + self.label_smoothing * uniform, own

    def of_rows(self, scores: Tensor, targets: Tensor) -> Tensor:
        """(rows,): the loss of each row, before a mean divides."""
        weight = None if self.weight is None else self.weight.to(scores)
        settings = {"ignore_index": self.ignore_index, "label_smoothing": self.label_smoothing}
        return functional.cross_entropy(scores, targets, weight, reduction="none", **settings)  # type: ignore[arg-type]


@dataclass(frozen=True)
class ClassScores:
    """Scores of the classes, a row for each label.

    Attributes:
        scores: z, (rows, classes), float64.
        labels: (rows,), negative where a row does not count; None where targets are no class numbers.
        losses: (rows,), what each row adds to the mean loss of the batch; None where the loss is no cross entropy.
        factors: (rows,), Q of each row as the mean of the batch has it; None likewise.
        counted: (rows,), whether a row counts.
    """

    scores: Tensor
    labels: Tensor | None
    losses: Tensor | None
    factors: Tensor | None
    counted: Tensor


def class_scores(outputs: BatchOutputs, cross_entropy: CrossEntropy) -> ClassScores | None:
    """The scores of a batch; None where what the network predicts is not known to be scores of classes.

    They are, where the loss is their cross entropy, whose classes are in the second dimension as torch has it or in the
    last one; and where there is one class number for each row of a matrix.

    Args:
        outputs: of the batch.
        cross_entropy: what the loss is, if it is a cross entropy.
    """
    for scores, given in _layouts(outputs.prediction, outputs.targets):
        probable = given.is_floating_point()
        known = None if probable else _in_range(given, scores.shape[1], cross_entropy.ignore_index)
        targets = given if known is None else torch.where(known, given, cross_entropy.ignore_index)
        losses = cross_entropy.of_rows(scores, targets)
        factors, own = cross_entropy.factors(targets, scores.shape[1])
        divisor = own.sum() if cross_entropy.reduction == "mean" else torch.ones_like(own.sum())
        every = own.new_ones(()) if known is None else known.all()
        usable, *figures = numbers([every, losses.sum() / divisor, outputs.loss, scores.abs().max()])
        if usable and cross_entropy.says(*figures):
            counted = torch.ones_like(own, dtype=torch.bool) if probable else targets != cross_entropy.ignore_index
            labels = None if probable else torch.where(counted, targets, -1)
            return ClassScores(scores, labels, losses / divisor, factors / divisor, counted)
    return _labelled_rows(outputs.prediction, outputs.targets)


def _layouts(prediction: Tensor | None, targets: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Scores (rows, classes) and targets (rows,) or (rows, classes), as far as the shapes allow them."""
    if prediction is None or not isinstance(targets, Tensor) or prediction.ndim < 2 or not prediction.numel():
        return
    for axis in dict.fromkeys((1, prediction.ndim - 1)):
        scores = prediction.movedim(axis, -1)
        rows = scores.reshape(-1, scores.shape[-1])
        if targets.is_floating_point():
            if targets.shape == prediction.shape:
                yield rows, targets.double().movedim(axis, -1).reshape(rows.shape)
        elif _whole(targets) and targets.shape in {scores.shape[:-1], rows.shape[:1]}:
            yield rows, targets.reshape(-1).long()


def _whole(targets: Tensor) -> bool:
    return not (targets.is_floating_point() or targets.is_complex() or targets.dtype is torch.bool)


def _in_range(labels: Tensor, classes: int, ignored: int) -> Tensor:
    """(rows,): whether each label is a class, or the one that does not count."""
    return (labels == ignored) | ((labels >= 0) & (labels < classes))


def _labelled_rows(prediction: Tensor | None, targets: Any) -> ClassScores | None:
    """Rows of a matrix with a class number each, whatever the loss makes of them."""
    if prediction is None or prediction.ndim != 2 or not isinstance(targets, Tensor) or not prediction.numel():
        return None
    if (
        not _whole(targets)
        or targets.shape != prediction.shape[:1]
        or not bool(_in_range(targets, prediction.shape[1], IGNORED).all())
    ):
        return None
    return ClassScores(prediction, targets.long(), None, None, targets >= 0)
