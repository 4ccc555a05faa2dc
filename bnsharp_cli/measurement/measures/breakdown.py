r"""Where sharpness sits: what each layer, or each block, adds to a value.

In the linear regime S = c Σ_i r_i ‖∇_iL‖ is a sum over blocks, and within a block over its numbers, since
‖∇_iL‖ = Σ_j ‖∇_ijL‖² / ‖∇_iL‖. So every layer's part is known from the gradient and takes no pass; the parts of all add
up to the value. Pairs of batches tell each part on more samples, as they tell the value (``population.py``).

Elsewhere a value is no sum. There a layer's part is the change of the loss where only that layer is displaced by δ v,
which takes a forward pass each; what layers do together is in none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.population import GradientNoise
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

By = Literal["layer", "block"]
"""What a value is divided among."""

REST = "the rest"
"""The name of θ_* where a value is divided among blocks."""


@dataclass(frozen=True)
class Part:
    """What one layer or block adds.

    Attributes:
        name: of the module, or of the block's tensors and row.
        value: its part of the value; or the change of the loss where it alone is displaced, over δ.
        share: of all parts.
        population: its part on the whole split, or on fresh data where the split's size is not known; None elsewhere.
    """

    name: str
    value: float
    share: float
    population: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, for JSON."""
        return dict(vars(self))


def parts_of_slope(measured: Measurement, noise: GradientNoise, blocks: Blocks, by: By) -> list[Part]:
    """The parts of a value in the linear regime, the largest first.

    Args:
        measured: the value.
        noise: the gradients that it was found with.
        blocks: the partition.
        by: what it is divided among.
    """
    population = measured.details.get("population")
    group = _by_layer if by == "layer" else _by_block
    known = group(noise, blocks, noise.parts())
    unbiased = group(noise, blocks, noise.unbiased_parts())
    whole, scale = sum(known.values()), 0.0 if population is None else population["value"]
    every = max(sum(unbiased.values()), 0.0)
    return sorted(
        (
            Part(
                name,
                measured.value * part / whole if whole else 0.0,
                part / whole if whole else 0.0,
                None if population is None or not every else scale * unbiased[name] / every,
            )
            for name, part in known.items()
        ),
        key=lambda part: -part.value,
    )


def parts_of_change(surface: LossSurface, point: Point, loss: float, measured: Measurement) -> list[Part]:
    """What displacing one layer alone by δ v changes, over δ, the largest first. A forward pass for each layer.

    Args:
        surface: L.
        point: θ.
        loss: L(θ).
        measured: with its direction and δ.

    Raises:
        UsageError: there is no direction.
    """
    if measured.direction is None:
        raise UsageError.of("by", "a measure with a direction", measured.name, "For example bn.")
    delta, layers = measured.details["delta"], _layers(measured.direction)
    points = [{**point, **{name: point[name] + delta * measured.direction[name] for name in names}} for names in layers.values()]
    changes = [abs(value - loss) / delta for value in surface.values(points)]
    whole = sum(changes)
    parts = (
        Part(layer, change, change / whole if whole else 0.0, None) for layer, change in zip(layers, changes, strict=True)
    )
    return sorted(parts, key=lambda part: -part.value)


def layer_of(name: str) -> str:
    """The module of a parameter, by its full name; the network itself is called by the parameter.

    >>> layer_of("features.0.weight"), layer_of("scale")
    ('features.0', 'scale')
    """
    return name.rpartition(".")[0] or name


def _layers(point: Point) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in point:
        found.setdefault(layer_of(name), []).append(name)
    return found


def _by_layer(noise: GradientNoise, _: Blocks, values: Tensor) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, part in noise.pieces.by_tensor(values).items():
        found[layer_of(name)] = found.get(layer_of(name), 0.0) + float(part.sum())
    return found


def _by_block(noise: GradientNoise, blocks: Blocks, values: Tensor) -> dict[str, float]:
    sums = noise.pieces.by_block(values, len(noise.radii)).tolist()
    return {name: sums[block] for block, name in _names(blocks, noise)}


def _names(blocks: Blocks, noise: GradientNoise) -> Iterator[tuple[int, str]]:
    """Each block with its name: a tensor and a row, the tensors of a joint one, or ``REST``."""
    held: dict[int, list[str]] = {}
    pieces: Mapping[str, Tensor] = noise.pieces.by_tensor(noise.pieces.block)
    for name, own in pieces.items():
        several = len(own) > 1
        for row, block in enumerate(own.tolist()):
            held.setdefault(block, []).append(f"{name}[{row}]" if several else name)
    for block, names in held.items():
        yield block, REST if block == blocks.relative else " and ".join(blocks.joint.get(block, names))
