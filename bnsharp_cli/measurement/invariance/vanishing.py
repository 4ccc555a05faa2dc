"""Theorem 3.1: the ball around a rescaled network contains the point where a layer vanishes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from bnsharp_cli.core.point import Point, add_scaled
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

_ROUNDED = 1 + 1e-12
"""a₀ puts a layer exactly on the sphere of radius δ, up to rounding."""


def vanishing_changes(surface: LossSurface, point: Point, blocks: Blocks) -> dict[str, float]:
    """|L(network with one layer vanishing) − L| / (1 + L) for each layer of invariant rows; T_a does not change it.

    Zero for a layer that cannot vanish: a weight norm has no direction there.
    """
    loss = surface.value(point)
    found = {}
    for layer in blocks.layers():
        vanished = add_scaled(point, vanishing_displacement(point, blocks, layer), 1.0)
        change = abs(surface.value(vanished) - loss) / (1 + loss)
        found[layer] = 0.0 if math.isnan(change) else change
    return found


def vanishing_displacement(point: Point, blocks: Blocks, layer: str) -> Point:
    """The displacement that makes the invariant rows of a layer vanish."""
    spheres = blocks.spheres(point)
    factors = torch.zeros_like(spheres.radii)
    factors[blocks.layers()[layer].to(factors.device)] = -1.0
    return spheres.scale(point, factors)


def lower_bound(point: Point, blocks: Blocks, changes: Mapping[str, float], delta: float) -> tuple[str, float] | None:
    """Theorem 3.1's lower bound on δ-L∞: the largest change by a layer of norm at most δ at ``point``."""
    radii = blocks.spheres(point).radii.cpu()
    layers = blocks.layers()
    fitting = {
        layer: change
        for layer, change in changes.items()
        if change > 0 and float(radii[layers[layer]].norm()) <= delta * _ROUNDED
    }
    if not fitting:
        return None
    layer = max(fitting, key=lambda name: fitting[name])
    return layer, fitting[layer]
