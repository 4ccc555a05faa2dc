"""Takes every measure of a network and of its copies, by the same options and the same draws."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.blocks.blocks import PARTITIONS, Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_partitions
from bnsharp_cli.measurement.invariance.function_copies import CopyMaker, FunctionCopies
from bnsharp_cli.measurement.invariance.invariance_table import ORIGINAL, InvarianceRow, InvarianceTable, Reading
from bnsharp_cli.measurement.measures.measurement import Measurement, Status
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES, MeasureEntry
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

_PARTITIONED = "bn"
"""The measure that has a row for each partition."""


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes:
        surface: L.
        point: θ.
        options: of the measures.
        stored_epsilon: measure the copies with ε as stored; then T_a is not exact.
    """

    surface: LossSurface
    point: Point
    options: MeasureOptions
    stored_epsilon: bool = False

    def table(self, names: Sequence[str]) -> InvarianceTable:
        """The rows of the measures named.

        Raises:
            NotMeasurableError: no rescaling was found that changes nothing.
        """
        found = find_partitions(self.surface, self.point, PARTITIONS)
        partitions = dict(zip(PARTITIONS, found, strict=True))
        made = CopyMaker(
            self.surface,
            self.point,
            partitions["paper"],
            partitions["extended"],
            self.options.seed,
            self.stored_epsilon,
        ).copies()
        return InvarianceTable(tuple(self._rows(names, partitions, made)), made)

    def _rows(self, names: Sequence[str], partitions: dict[str, Blocks], made: FunctionCopies) -> Iterator[InvarianceRow]:
        planned = [
            (label, MEASURES[name], blocks)
            for name in names
            for label, blocks in _labelled(name, partitions, self.options.partition)
        ]
        progress = self.surface.progress
        with progress.stage("measures", items=len(planned)):
            for number, (label, entry, blocks) in enumerate(planned):
                progress.reach(number, label)
                yield self._row(label, entry, blocks, made)

    def _row(self, label: str, entry: MeasureEntry, blocks: Blocks, made: FunctionCopies) -> InvarianceRow:
        if entry.finite_power_only and math.isinf(self.options.power):
            return InvarianceRow(label, reason="It does not exist for p = ∞.")
        readings: dict[str, Reading] = {}
        places = {ORIGINAL: (self.surface, self.point)}
        places |= {one.name: (one.surface(self.stored_epsilon), one.rescaled.point) for one in made.copies}
        options = replace(self.options, partition=blocks.partition)
        for name, (surface, point) in places.items():
            try:
                readings[name] = reading_of(entry(surface, point, blocks, options))
            except NotMeasurableError as error:
                where = "" if name == ORIGINAL else f"On the copy {name}: "
                return InvarianceRow(label, reason=f"{where}{error.reason}")
        return InvarianceRow(label, readings)


def _labelled(name: str, partitions: dict[str, Blocks], chosen: str) -> list[tuple[str, Blocks]]:
    if name != _PARTITIONED:
        return [(name, partitions[chosen])]
    return [(name if partition == "paper" else f"{name}-{partition}", own) for partition, own in partitions.items()]


def reading_of(measured: Measurement) -> Reading:
    """A value with the errors that differ from copy to copy: those of samples are the same on all of them."""
    uncertainty = measured.uncertainty
    error = (uncertainty.rounding or 0.0) + (uncertainty.quadrature or 0.0)
    drawn = measured.status is Status.SAMPLED
    return Reading(measured.value, error, (uncertainty.sampling or 0.0) if drawn else 0.0)
