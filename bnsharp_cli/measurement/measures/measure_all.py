"""Takes every measure at every radius."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import UnfitMeasureError, named
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.measure_entry import MeasureEntry
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.measurements import Measurements
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.measures.selection import EVERY_MEASURE, measures_named
from bnsharp_cli.measurement.surface.cost import NO_PASSES
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.row_surface import RowSurface, needs_memory


def measure_all(
    surface: LossSurface,
    point: Point,
    blocks: Blocks,
    names: Sequence[str],
    runs: Sequence[MeasureOptions],
) -> Measurements:
    """Every measure by every run's options; they share the passes at ``point`` that several of them need.

    Args:
        surface: L.
        point: θ.
        blocks: which rows scale together.
        names: of the measures; or ``all``, of which those are left out that do not exist for the network, its loss or
            the options.
        runs: the options of each measurement; they differ in their radii.

    Raises:
        UnfitMeasureError: a measure that was named does not exist for them.
    """
    profiles, skipped = {}, {}
    surface = surface.remembering(point)
    taken = {name: runs if MEASURES[name].has_radius else runs[:1] for name in measures_named(names)}
    each = [MEASURES[name].most(options) for name, own in taken.items() for options in own]
    with surface.progress.stage("measuring", sum(each, NO_PASSES)) if len(each) > 1 else nullcontext():
        for name, own in taken.items():
            try:
                profiles[name] = _profile(surface, point, blocks, name, own)
            except UnfitMeasureError as error:
                if EVERY_MEASURE not in names:
                    raise
                skipped[name] = error.marked_reason
    return Measurements(profiles, skipped)


def _profile(
    surface: LossSurface, point: Point, blocks: Blocks, name: str, runs: Sequence[MeasureOptions]
) -> tuple[Measurement, ...]:
    """One measure at every radius.

    Raises:
        UnfitMeasureError: it does not exist for the network, its loss or the options.
    """
    entry, profile = MEASURES[name], []
    for options in runs:
        label = f"{name}, δ = {options.delta:g}" if entry.has_radius else name
        with surface.progress.stage(label, entry.most(options)):
            profile.append(measured_by(entry, surface, point, blocks, options))
    return tuple(profile)


def measured_by(
    entry: MeasureEntry, surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions
) -> Measurement:
    """One measure of one network.

    Raises:
        UnfitMeasureError: it does not exist for the network, its loss or the options.
    """
    if entry.finite_power_only and math.isinf(options.power):
        reason = f"It needs a finite {named('power')}."
        raise UnfitMeasureError(reason, "Leave it out.", argument="measure", found=entry.name)
    if isinstance(surface, RowSurface) and not entry.forward_mostly:
        raise needs_memory()
    return entry(surface, point, blocks, options)
