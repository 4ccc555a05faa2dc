"""What a single pass over the data tells of a network's answers: for several measures that share it.

Each figure of a batch is a mean over its examples, and the figures of all batches are combined as their losses are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.measures.class_scores import ClassScores, CrossEntropy, class_scores
from bnsharp_cli.measurement.measures.last_layer import NoHead, find_head, flatness_of_rows
from bnsharp_cli.measurement.measures.rounding import last_bits, passes_for_rounding
from bnsharp_cli.measurement.surface.accuracy import BatchOutputs
from bnsharp_cli.measurement.surface.cost import FORWARD
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

FIGURES = ("loss", "entropy", "flatness", "by_neuron")
"""Means over examples, or over rows that count; each with the moments that :func:`_moments` has."""

MOST_MARGINS = 2**25
"""Margins that are kept, of all batches together: 256 MiB."""

_ROUNDING_FACTOR = 5.0
"""The same as for a difference of losses, see ``delta_sharpness``."""


@dataclass(frozen=True)
class Figure:
    """A mean over examples.

    Attributes:
        batches: of each batch, with the batch's weight; the mean over them is the value.
        error: standard error of the mean, as far as examples are drawn independently; None where it is not known.
    """

    batches: tuple[float, ...]
    error: float | None

    @property
    def value(self) -> float:
        """The mean over batches."""
        return math.fsum(self.batches) / len(self.batches)


@dataclass(frozen=True)
class OutputFigures:
    """What the network answers to all batches.

    Attributes:
        loss: L.
        entropy: of softmax, in nats; NaN where the loss is no cross entropy of the outputs.
        flatness: of the last linear layer; NaN where there is none, or likewise.
        by_neuron: the same neuron by neuron.
        no_head: why the last linear layer is not known.
        margins: f_y − max f_j of each labelled row, in the order of the batches; None where the targets are no classes,
            or where there are too many.
        labels: how many rows have a label.
        examples: how many examples all batches have.
    """

    loss: Figure
    entropy: Figure
    flatness: Figure
    by_neuron: Figure
    no_head: NoHead
    margins: Tensor | None
    labels: int
    examples: int

    @property
    def cross_entropy(self) -> bool:
        """Whether the loss is the cross entropy of the outputs, as the examples show it."""
        return not math.isnan(self.entropy.value)


def output_figures(surface: LossSurface, point: Point) -> OutputFigures:
    """The figures at ``point``: one forward pass, which measures share where ``point`` is the one remembered."""
    found = surface.recalled(point, "outputs", FORWARD, lambda: _computed(surface, point))
    if surface.memory is not None and point is surface.memory.point:
        surface.memory.answers.setdefault("losses", [[*found.loss.batches]])
    return found


def rounded_figures(surface: LossSurface, point: Point, seed: int) -> list[OutputFigures]:
    """The figures with every parameter moved by its last bit: as many times as show the size of rounding errors."""
    count = passes_for_rounding(surface.count)

    def compute() -> list[OutputFigures]:
        generator = torch.Generator().manual_seed(seed)
        whole = surface.with_constants(point)
        moved = (last_bits(whole, surface.roundoff, generator) for _ in range(count))
        return [_computed(surface, one) for one in moved]

    return surface.recalled(point, f"outputs at the last bits by seed {seed}", count * FORWARD, compute)


def figure_rounding(figure: Figure, others: Sequence[Figure]) -> float:
    """The error of a mean by rounding; batches round independently, unless they share a sign.

    Args:
        figure: at the point.
        others: the same where every parameter was moved by its last bit.
    """
    deviations = []
    for other in others:
        errors = [after - before for after, before in zip(other.batches, figure.batches, strict=True)]
        deviations.append(max(abs(math.fsum(errors)), math.hypot(*errors)) / len(errors))
    last_unit = math.ulp(1 + abs(figure.value))  # of a sum that is computed in float64
    return _ROUNDING_FACTOR * math.hypot(*deviations) / math.sqrt(len(deviations)) + last_unit


def margin_rounding(margins: Tensor, others: Sequence[Tensor]) -> float:
    """The error of a margin by rounding, in the mean over all of them, likewise."""
    changes = [float((other - margins).square().mean().sqrt()) for other in others]
    return _ROUNDING_FACTOR * math.hypot(*changes) / math.sqrt(len(changes)) + math.ulp(1.0)


def _computed(surface: LossSurface, point: Point) -> OutputFigures:
    cross_entropy, varied = CrossEntropy.of(surface.criterion), frozenset(surface.point())
    keeps = _labels_of_first(surface) * surface.count <= MOST_MARGINS
    own = surface.over_outputs(point, partial(_of_batch, cross_entropy, varied, keeps))
    figures = torch.stack([one for one, _ in own], dim=1) if own else torch.zeros(_ROWS, 0, dtype=torch.float64)
    table = surface.processes.in_order(figures, surface.count)
    *means, no_head, labels, examples = torch.split(table, [_MOMENTS] * len(FIGURES) + [1] * 3)
    no_head, labels, examples = (row[0] for row in (no_head, labels, examples))
    margins = _all_margins(surface, [each for _, each in own], labels) if keeps and bool((labels >= 0).all()) else None
    count = int(examples.sum())
    made = {name: _figure(surface, moments, examples) for name, moments in zip(FIGURES, means, strict=True)}
    return OutputFigures(
        **made,
        no_head=NoHead(int(no_head.max())),
        margins=margins,
        labels=max(0, int(labels.clamp_min(0).sum())),
        examples=count,
    )


def _all_margins(surface: LossSurface, own: Sequence[Tensor], labels: Tensor) -> Tensor:
    """The margins of all processes' batches from those of this one's; ``labels`` counts them, batch by batch."""
    longest = int(labels.max())
    table = torch.zeros(longest, len(own), dtype=torch.float64)
    for column, each in enumerate(own):
        table[: len(each), column] = each
    every = surface.processes.in_order(table, surface.count)
    return every.T[torch.arange(longest) < labels[:, None]]


def _figure(surface: LossSurface, moments: Tensor, examples: Tensor) -> Figure:
    """A figure from the moments of the batches; NaN where these are not known.

    It is a ratio, Σ x / Σ c, where examples have different numbers of rows that count. Its error is that of
    the ratio to first order, √(n/(n − 1) Σ (x_i − R c_i)²) / Σ c (Cochran, Sampling Techniques, 6.4).

    Args:
        surface: whose batches they are of.
        moments: (_MOMENTS, batches), see :func:`_moments`.
        examples: in each batch.
    """
    means, squares, products, shares = moments
    weights = torch.tensor(surface.weights, dtype=torch.float64)
    batches, count = tuple((means * weights).tolist()), int(examples.sum())
    mean = math.fsum(batches) / len(batches)
    if not bool(squares.isnan().any()) and count > 1:
        apart = (squares - 2 * mean * products + mean**2 * shares).clamp_min(0)
        total = float((apart * (weights / (len(batches) * examples)).square()).sum())
        return Figure(batches, math.sqrt(total * count / (count - 1)))
    if len(batches) < 2:
        return Figure(batches, None)
    between = float((means * weights - mean * weights).square().sum())
    return Figure(batches, math.sqrt(between / (len(batches) * (len(batches) - 1))))


_MOMENTS = 4
_ROWS = _MOMENTS * len(FIGURES) + 3


def _of_batch(
    cross_entropy: CrossEntropy, varied: frozenset[str], keeps: bool, outputs: BatchOutputs
) -> tuple[Tensor, Tensor]:
    """The figures of a batch with their squares, reasons and counts, (_ROWS,); and the margins of its rows."""
    rows = class_scores(outputs, cross_entropy)
    examples = len(outputs.targets)
    loss, unknown = outputs.loss.detach().double(), outputs.loss.new_full((), math.nan, dtype=torch.float64)
    figures = [torch.stack([loss, *[unknown] * 3]), *[unknown.expand(_MOMENTS)] * 3]
    no_head, margins, labels = NoHead.NONE, unknown.new_zeros(2, 0), unknown.new_full((), -1)
    if rows is not None and rows.losses is not None and rows.factors is not None:
        share = rows.counted.double() / rows.counted.sum()
        entropies = torch.special.entr(rows.scores.softmax(1)).sum(1)
        figures[0] = torch.cat([loss[None], _moments(rows.losses, share, examples)[1:]])
        figures[1] = _moments(share * entropies, share, examples)
        head = find_head(outputs.linear, rows.scores, varied)
        if isinstance(head, NoHead):
            no_head = head
        else:
            both = flatness_of_rows(head.features, head.weight, rows.scores)
            figures[2:] = [_moments(rows.factors * each, share, examples) for each in both]
    if rows is not None and rows.labels is not None and rows.scores.shape[1] > 1:
        labels = rows.counted.sum().double()
        margins = _margins(rows, rows.labels) if keeps else margins
    flat = torch.cat([margins.flatten(), *figures, labels[None]]).cpu()  # all at once: a device is waited for once
    (each, counted), found = flat[: margins.numel()].reshape(2, -1), flat[margins.numel() :].tolist()
    return torch.tensor([*found[:-1], float(no_head), found[-1], examples], dtype=torch.float64), each[counted > 0]


def _moments(parts: Tensor, share: Tensor, examples: int) -> Tensor:
    """(_MOMENTS,): a batch's figure from what its rows add; and Σ_i x_i², Σ_i x_i c_i, Σ_i c_i² over its examples.

    The figure is the mean of x_i, and c_i is an example's share of the rows that count, of mean 1. NaN where the rows
    are not as many for each example.
    """
    parts = parts.double()
    if len(parts) % examples:
        return torch.stack([parts.sum(), *[parts.new_full((), math.nan)] * 3])
    own, counts = (each.reshape(examples, -1).sum(1) * examples for each in (parts, share))
    return torch.stack([parts.sum(), own.square().sum(), (own * counts).sum(), counts.square().sum()])


def _margins(rows: ClassScores, labels: Tensor) -> Tensor:
    """f_y − max over the other classes of each row, and 1 where the row counts, (2, rows)."""
    own = labels.clamp_min(0)[:, None]
    others = rows.scores.scatter(1, own, -math.inf).amax(1)
    return torch.stack([(rows.scores.gather(1, own)[:, 0] - others).double(), rows.counted.double()])


def _labels_of_first(surface: LossSurface) -> int:
    targets = surface.batches[0][1]
    return targets.numel() if isinstance(targets, Tensor) else 0
