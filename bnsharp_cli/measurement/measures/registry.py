"""Every measure by its name: plain functions of surface, point, blocks and options."""

from __future__ import annotations

from collections.abc import Callable

from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.bn_sharpness import bn_sharpness
from bnsharp_cli.measurement.measures.delta_sharpness import delta_linf, delta_lp, keskar
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

Measure = Callable[[LossSurface, Point, Blocks, MeasureOptions], Measurement]

MEASURES: dict[str, Measure] = {
    "bn": bn_sharpness,
    "delta-lp": lambda surface, point, _, options: delta_lp(surface, point, options),
    "delta-linf": lambda surface, point, _, options: delta_linf(surface, point, options),
    "keskar": lambda surface, point, _, options: keskar(surface, point, options),
}
