"""Theorem 3.1: the ball around a rescaled network contains the point where a layer vanishes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from bnsharp_cli.core.point import Point, add_scaled
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.delta_sharpness import relative_scale
from bnsharp_cli.measurement.surface.cost import FORWARD
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

_ROUNDING_ALLOWANCE = 1 + 1e-12
"""a₀ scales a layer to a norm of exactly δ; rounding may leave it slightly longer."""


def vanishing_changes(surface: LossSurface, point: Point, blocks: Blocks) -> dict[str, float]:
    """|L(network without the layer) − L| / (1 + L), by layer; T_a does not change it.

    A layer vanishes when its invariant rows are set to zero. The change is zero for a layer whose loss is undefined
    there, such as one with weight norm.

    Args:
        surface: L.
        point: θ.
        blocks: the paper's partition.
    """
    loss = surface.value(point)
    scale = relative_scale(loss)
    changes = {}
    layers = blocks.layers()
    with surface.progress.stage("removing every layer", FORWARD, len(layers)):
        for number, layer in enumerate(layers):
            surface.progress.reach(number, layer)
            without = add_scaled(point, vanishing_displacement(point, blocks, layer), 1.0)
            change = abs(surface.value(without) - loss) / scale
            changes[layer] = 0.0 if math.isnan(change) else change
    return changes


def vanishing_displacement(point: Point, blocks: Blocks, layer: str) -> Point:
    """The displacement from ``point`` to the point where the invariant rows of ``layer`` are zero."""
    spheres = blocks.spheres(point)
    factors = torch.zeros_like(spheres.radii)
    factors[blocks.layers()[layer].to(factors.device)] = -1.0
    return spheres.scale(point, factors)


def lower_bound(point: Point, blocks: Blocks, changes: Mapping[str, float], delta: float) -> tuple[str, float] | None:
    """Theorem 3.1's lower bound on δ-L∞: a layer of norm at most δ can be removed within the ball of radius δ.

    Args:
        point: θ, or a copy T_a(θ).
        blocks: the paper's partition.
        changes: from :func:`vanishing_changes`.
        delta: δ.

    Returns:
        The layer with the largest change among those whose norm is at most δ, and that change; None if no layer is
        that short.
    """
    radii = blocks.spheres(point).radii.cpu()
    layers = blocks.layers()
    fitting = {
        layer: change
        for layer, change in changes.items()
        if change > 0 and float(radii[layers[layer]].norm()) <= delta * _ROUNDING_ALLOWANCE
    }
    if not fitting:
        return None
    layer = max(fitting, key=lambda name: fitting[name])
    return layer, fitting[layer]
