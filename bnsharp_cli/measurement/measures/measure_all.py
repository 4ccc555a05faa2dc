"""Takes every measure at every radius."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.measurements import Measurements
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.surface.cost import NO_PASSES
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


def measure_all(
    surface: LossSurface,
    point: Point,
    blocks: Blocks,
    names: Sequence[str],
    runs: Sequence[MeasureOptions],
) -> Measurements:
    """Every measure by every run's options.

    Args:
        surface: L.
        point: θ.
        blocks: which rows scale together.
        names: of the measures.
        runs: the options of each measurement; they differ in their radii.
    """
    profiles = {}
    each = [MEASURES[name].most(options) for name in names for options in runs]
    with surface.progress.stage("measuring", sum(each, NO_PASSES)) if len(each) > 1 else nullcontext():
        for name in names:
            profile = []
            for options in runs:
                with surface.progress.stage(f"{name}, δ = {options.delta:g}", MEASURES[name].most(options)):
                    profile.append(MEASURES[name](surface, point, blocks, options))
            profiles[name] = tuple(profile)
    return Measurements(profiles)
