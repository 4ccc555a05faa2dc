r"""The parts of a value: what each layer, or each block, adds to it.

In the linear regime S = c Σ_i r_i ‖∇_iL‖ is a sum over blocks, and within a block over its numbers, since
‖∇_iL‖ = Σ_j ‖∇_ijL‖² / ‖∇_iL‖. So every layer's part is known from the gradient and takes no pass; the parts of all add
up to the value. Pairs of batches tell each part on more samples, as they tell the value (``population.py``). Where the
samples are not all there are, the slopes of the batches along each layer's part of v, which take one more gradient,
give it an interval as the whole value's slopes give that of the value.

Elsewhere a value is no sum. There a layer's part is the change of the loss where only that layer is displaced, by δv,
over δ. It takes a forward pass each; what layers do together is in none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.spheres import RowBlocks
from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.bn_errors import ErrorEstimates
from bnsharp_cli.measurement.measures.objective import SegmentObjective
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.population import GradientNoise
from bnsharp_cli.measurement.measures.sharpness_entries import PartsOptions

REST = "the rest"
"""What θ_* is called where a value is divided among blocks."""

SLOPE, CHANGE = "slope", "change"


@dataclass(frozen=True)
class Part:
    """What one layer or block adds.

    Attributes:
        name: of the module, or of the block's tensors and row.
        value: its part of the value; or the change of the loss where it alone is displaced, over δ.
        share: of all parts, in [0, 1].
        population: its part of the population's value; None where that is not known.
        low: the lower end of the 95 % interval of that; None where there is none.
        high: the upper end.
    """

    name: str
    value: float
    share: float
    population: float | None
    low: float | None = None
    high: float | None = None


def require_few_parts(blocks: Blocks, options: MeasureOptions) -> None:
    """Refuse to divide a value among single numbers.

    Raises:
        UsageError: the partition is ``element``, and parts by block are asked for.
    """
    if blocks.partition == "element" and options.of(PartsOptions).by == "block":
        raise UsageError.of("by", "layer with the partition element", "block", "Use layer, or the partition filter.")


def divided(
    objective: SegmentObjective,
    blocks: Blocks,
    value: float,
    errors: ErrorEstimates,
    direction: Point,
    noise: GradientNoise,
    options: MeasureOptions,
) -> dict[str, Any]:
    """The entry ``parts`` of a record, the largest part first; nothing where it was not asked for.

    Args:
        objective: F^{1/p}.
        blocks: the partition.
        value: F(v)^{1/p}.
        errors: its errors; a population's value is known in the linear regime.
        direction: v.
        noise: of the gradients of single batches.
        options: what the value is divided among, and δ.
    """
    by = options.of(PartsOptions).by
    if by == "none":
        return {}
    if errors.population is None:
        by, of, parts = "layer", CHANGE, _parts_of_change(objective, direction)
    else:
        of, parts = SLOPE, _parts_of_slope(value, errors.population.headline.value, noise, blocks, by)
        if by == "layer" and not errors.population.whole:
            parts = _with_intervals(parts, objective, direction, noise)
    every = sorted(parts, key=lambda part: -part.value)
    return {"parts": {"by": by, "of": of, "each": [dict(vars(part)) for part in every]}}


def _parts_of_slope(value: float, population: float, noise: GradientNoise, blocks: Blocks, by: str) -> Iterator[Part]:
    """r_i ‖∇_ijL‖²/‖∇_iL‖ of each block i in each tensor j, summed up by layer or block, as parts of the value."""
    sums = _by_layer if by == "layer" else _by_block
    own, unbiased = sums(noise.parts(), noise, blocks), sums(noise.unbiased_parts(), noise, blocks)
    whole, every = sum(own.values()), sum(unbiased.values())
    for name, part in own.items():
        share = part / whole if whole else 0.0
        yield Part(name, share * value, share, population * unbiased[name] / every if every else None)


def _with_intervals(
    parts: Iterator[Part], objective: SegmentObjective, direction: Point, noise: GradientNoise
) -> Iterator[Part]:
    """Parts by layer with the intervals that the batches' slopes along the layers give."""
    slopes = _slopes_by_layer(objective, direction, noise)
    for part in parts:
        expected = 0.0 if part.population is None else part.population
        low, high = noise.ends(part.value, expected, slopes[part.name])
        yield replace(part, low=low, high=high)


def _slopes_by_layer(objective: SegmentObjective, direction: Point, noise: GradientNoise) -> dict[str, list[float]]:
    """⟨∇L_b, v_j⟩ of every batch b, for the part v_j of v in each layer, times the batch's weight."""
    places: dict[str, int] = {}
    for name in direction:
        places.setdefault(_layer_of(name), len(places))
    own: list[Tensor] = []

    def observe(_: int, gradient: Point) -> None:
        sums = torch.zeros(len(places), dtype=torch.float64)
        for name, piece in noise.pieces.by_tensor(noise.pieces.inner(gradient, direction)).items():
            sums[places[_layer_of(name)]] += piece.sum().cpu()
        own.append(sums)

    surface = objective.surface
    surface.value_and_batch_gradients(objective.theta, observe)
    stacked = torch.stack(own, dim=1) if own else torch.zeros(len(places), 0, dtype=torch.float64)
    each = surface.processes.in_order(stacked, surface.count)
    return {layer: each[place].tolist() for layer, place in places.items()}


def _parts_of_change(objective: SegmentObjective, direction: Point) -> Iterator[Part]:
    """|L(θ + δv_j) − L(θ)|/δ for the part v_j of v in each layer."""
    theta, delta = objective.theta, objective.delta
    layers: dict[str, list[str]] = {}
    for name in theta:
        layers.setdefault(_layer_of(name), []).append(name)
    changes = {}
    for layer, names in layers.items():
        displaced = {**theta, **{name: theta[name] + delta * direction[name] for name in names}}
        changes[layer] = abs(objective.surface.value(displaced) - objective.loss) / delta
    whole = sum(changes.values())
    for layer, change in changes.items():
        yield Part(layer, change, change / whole if whole else 0.0, None)


def _layer_of(name: str) -> str:
    """The module of a parameter; that of the network itself is called as it is."""
    return name.rpartition(".")[0] or name


def _by_layer(values: Tensor, noise: GradientNoise, _: Blocks) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, part in noise.pieces.by_tensor(values).items():
        found[_layer_of(name)] = found.get(_layer_of(name), 0.0) + float(part.sum())
    return found


def _by_block(values: Tensor, noise: GradientNoise, blocks: Blocks) -> dict[str, float]:
    sums = noise.pieces.by_block(values, len(noise.radii)).tolist()
    return {name: sums[block] for block, name in _names(blocks, noise.pieces.by_tensor(noise.pieces.block))}


def _names(blocks: Blocks, pieces: Mapping[str, Tensor]) -> Iterator[tuple[int, str]]:
    """Each block with its name: a tensor and a row or number, the tensors of a joint block, or ``REST``."""
    for name, own in pieces.items():
        entry = blocks.rows[name]
        several = len(own) > 1
        for place, block in enumerate(own.tolist()):
            row = int(torch.argmax((entry.block == block).int())) if isinstance(entry, RowBlocks) else place
            if block < blocks.relative:
                yield block, " and ".join(blocks.joint.get(block, (f"{name}[{row}]" if several else name,)))
    if any(bool((own == blocks.relative).any()) for own in pieces.values()):
        yield blocks.relative, REST
