r"""The loss and the accuracy of a network on small groups of samples, from which a mean's error and pairs are known.

Samples are drawn in random order, so groups of them that lie together are as good as single samples for the standard
error of a mean, and there are as many groups for ten thousand samples as for a few hundred.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.measures.class_scores import CrossEntropy, class_scores
from bnsharp_cli.measurement.surface.accuracy import BatchOutputs, right_and_counted
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.passes import BatchLoss
from bnsharp_cli.measurement.surface.token_loss import averages_over_tokens

MOST_GROUPS = 256
"""Groups of all samples together, or one a batch where there are more batches."""


@dataclass(frozen=True)
class SampleGroups:
    """A network on groups of samples.

    Attributes:
        sizes: how many samples each group has.
        losses: the mean loss of each group, times the group's part of the samples; their mean is the loss.
        accuracies: the share of right answers likewise, by labels; empty where there are no classes.
        labels: how many targets are classes.
        tokens: how many tokens of each group count, where the loss is a mean over tokens; empty where it is one over
            samples.
    """

    sizes: tuple[int, ...]
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]
    labels: int
    tokens: tuple[int, ...] = ()

    @property
    def counted(self) -> tuple[int, ...]:
        """The weight of each group before it is scaled: its tokens, or its samples."""
        return self.tokens or self.sizes

    @property
    def loss(self) -> float:
        """The mean over samples."""
        return math.fsum(self.losses) / len(self.losses)

    @property
    def accuracy(self) -> float | None:
        """The share of right answers; None where there are no classes."""
        return math.fsum(self.accuracies) / len(self.accuracies) if self.accuracies else None

    @property
    def loss_error(self) -> float | None:
        """The standard error of the loss, as that of new samples; None for a single group."""
        return error_of_mean(self.losses, self.counted)

    @property
    def accuracy_error(self) -> float | None:
        """The standard error of the accuracy, likewise."""
        return None if self.accuracy is None else share_error(self.accuracies, self.counted, self.labels)


def error_of_mean(figures: Sequence[float], sizes: Sequence[int]) -> float | None:
    """The standard error of the mean of figures that count by sizes; None for a single one.

    Args:
        figures: means over the samples of each group, times the group's part of the samples.
        sizes: samples in each group.

    >>> error_of_mean([1.0, 3.0], [8, 8])
    1.0
    """
    count = len(figures)
    if count < 2:
        return None
    mean, each = math.fsum(figures) / count, sum(sizes) / count
    apart = (figure - size / each * mean for figure, size in zip(figures, sizes, strict=True))
    return math.sqrt(math.fsum(part * part for part in apart) / (count * (count - 1)))


def share_error(figures: Sequence[float], sizes: Sequence[int], labels: int) -> float:
    """The standard error of a share; never below that of Agresti and Coull (1998), positive for a share of 0 or 1 too.

    Args:
        figures: as :func:`error_of_mean` takes them.
        sizes: likewise.
        labels: how many the share is of.
    """
    share = math.fsum(figures) / len(figures)
    widened = (share * labels + 2) / (labels + 4)
    least = math.sqrt(widened * (1 - widened) / (labels + 4))
    return max(least, error_of_mean(figures, sizes) or 0.0)


def sample_groups(surface: LossSurface, point: Point) -> SampleGroups:
    """The groups at ``point``: one forward pass.

    Where the loss of a batch cannot be divided among its samples, since it is no cross entropy of the outputs, the
    groups are the batches.
    """
    sizes = surface.sizes or BatchSizes.of(surface.batches)
    parts = [_parts(each, sizes.examples) for each in sizes.each]
    widest = max(map(len, parts))
    compute = partial(_of_batch, surface.criterion, sizes.examples, widest)
    own = [each.flatten() for each in surface.over_outputs(point, compute)]
    flat = torch.stack(own, dim=1) if own else torch.zeros(3 * widest, 0, dtype=torch.float64)
    table = surface.processes.in_order(flat, surface.count).reshape(3, widest, surface.count)
    each = [table[:, : len(part), number] for number, part in enumerate(parts)]
    if any(bool(one.isnan().any()) for one in each):
        parts, each = [(sum(part),) for part in parts], [one.nansum(1, keepdim=True) for one in each]
    losses = torch.cat([one[0] * weight for one, weight in zip(each, surface.weights, strict=True)]) / surface.count
    right, labelled = torch.cat([one[1:] for one in each], dim=1)
    labels, groups = int(labelled.sum()), len(losses)
    return SampleGroups(
        sizes=tuple(size for part in parts for size in part),
        losses=tuple((losses * groups).tolist()),
        accuracies=tuple((right * groups / labels).tolist()) if labels else (),
        labels=labels,
        tokens=tuple(map(int, labelled.tolist())) if sizes.tokens else (),
    )


def _parts(samples: int, of: int) -> tuple[int, ...]:
    """The sizes of the groups of a batch, nearly equal."""
    count = min(samples, max(1, round(samples * MOST_GROUPS / of)))
    return tuple(samples // count + (number < samples % count) for number in range(count))


def _of_batch(criterion: BatchLoss, of: int, widest: int, outputs: BatchOutputs) -> Tensor:
    """(3, widest): what each group adds to the loss of the batch, its right answers, and its labels.

    A loss that cannot be divided is in the first group, and NaN is in the others.
    """
    examples, table = len(outputs.targets), torch.zeros(3, widest, dtype=torch.float64)
    parts = _parts(examples, of)
    rows, last = class_scores(outputs, CrossEntropy.of(criterion)), averages_over_tokens(criterion)
    marks = right_and_counted(outputs.prediction, outputs.targets, last=last)
    if rows is not None and rows.losses is not None and len(rows.losses) % examples == 0:
        table[0, : len(parts)] = _sums(rows.losses, parts)
    else:
        table[0, : len(parts)] = torch.tensor([float(outputs.loss), *[math.nan] * (len(parts) - 1)])
    for row, mark in enumerate(marks or (), 1):
        table[row, : len(parts)] = _sums(mark.double(), parts)
    return table


def _sums(values: Tensor, parts: Sequence[int]) -> Tensor:
    """The sum over the examples of each group."""
    by_example = values.reshape(sum(parts), -1).sum(1)
    return torch.stack([each.sum() for each in torch.split(by_example, [*parts])]).cpu()
