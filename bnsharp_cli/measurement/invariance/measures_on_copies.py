"""Takes every measure of a network and of its copies, by the same options and the same draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import cast

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import NotMeasurableError, UsageError
from bnsharp_cli.measurement.blocks.blocks import PARTITIONS, Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_partitions
from bnsharp_cli.measurement.invariance.foreign_tools import PACKAGES, NamedPoint, foreign_rows
from bnsharp_cli.measurement.invariance.function_copies import CopyMaker, FunctionCopies
from bnsharp_cli.measurement.invariance.invariance_row import ORIGINAL, InvarianceRow, ValueOnCopy
from bnsharp_cli.measurement.invariance.invariance_table import InvarianceTable
from bnsharp_cli.measurement.invariance.options import RescaleOptions
from bnsharp_cli.measurement.measures.measure_all import measured_by
from bnsharp_cli.measurement.measures.measure_entry import MeasureEntry
from bnsharp_cli.measurement.measures.measurement import Measurement, Status
from bnsharp_cli.measurement.measures.options import MeasureOptions, Partition
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.measures.selection import EVERY_MEASURE, measures_named
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

_PARTITIONED = "bn"
"""The measure that has a row for each partition."""


@dataclass(frozen=True)
class MeasuresOnCopies:
    """What is compared.

    Attributes:
        surface: L.
        point: θ.
        options: of the measures.
        rescaling: the tolerance, and whether the copies are measured with ε as stored; then T_a is not exact.
        tools: other people's, from :func:`~bnsharp_cli.measurement.invariance.foreign_tools.installed_tools`; they are
            asked where all measures are taken.
    """

    surface: LossSurface
    point: Point
    options: MeasureOptions
    rescaling: RescaleOptions = field(default_factory=RescaleOptions)
    tools: Mapping[str, ModuleType] = field(default_factory=dict)

    def table(self, names: Sequence[str]) -> InvarianceTable:
        """The rows of the measures named.

        Raises:
            NotMeasurableError: no rescaling was found that changes nothing.
        """
        found = find_partitions(self.surface, self.point, PARTITIONS)
        partitions = dict(zip(PARTITIONS, found, strict=True))
        stored, seed = self.rescaling.epsilon == "stored", self.options.seed
        own = (partitions["paper"], partitions["extended"])
        made = CopyMaker(self.surface, self.point, *own, seed, stored).copies()
        places = self._places(made)
        rows = [*self._rows(names, partitions, places)]
        notes = [*self.surface.conduct.notes, *self.surface.notes]
        if EVERY_MEASURE in names:
            rows += foreign_rows(self.tools, places)
            notes += [] if {*self.tools} >= {*PACKAGES} else [_missing(self.tools)]
        return InvarianceTable(tuple(rows), own[0], made, tuple(dict.fromkeys(notes)))

    def _places(self, made: FunctionCopies) -> list[NamedPoint]:
        """The network and its copies, each of which shares its passes between the measures."""
        stored = self.rescaling.epsilon == "stored"
        places = [(ORIGINAL, "", self.surface, self.point)]
        places += [(one.name, one.kind.value, one.surface(stored), one.rescaled.point) for one in made.copies]
        return [(name, kind, surface.remembering(point), point) for name, kind, surface, point in places]

    def _rows(
        self, names: Sequence[str], partitions: Mapping[str, Blocks], places: Sequence[NamedPoint]
    ) -> Iterator[InvarianceRow]:
        planned = [
            (label, MEASURES[name], blocks)
            for name in measures_named(names)
            for label, blocks in _labelled(name, partitions, self.options.partition)
        ]
        progress = self.surface.progress
        with progress.stage("measures", items=len(planned)):
            for number, (label, entry, blocks) in enumerate(planned):
                progress.reach(number, label)
                yield self._row(label, entry, blocks, places)

    def _row(self, label: str, entry: MeasureEntry, blocks: Blocks, places: Sequence[NamedPoint]) -> InvarianceRow:
        options = replace(self.options, partition=cast(Partition, blocks.partition))
        readings: dict[str, ValueOnCopy] = {}
        for name, kind, surface, point in places:
            try:
                measured = measured_by(entry, surface, point, blocks, options)
            except (NotMeasurableError, UsageError) as error:  # δ = 1 is too large for some partitions
                where = "" if name == ORIGINAL else f"On the copy {name}: "
                return InvarianceRow(label, marked_reason=f"{where}{error.marked_reason}")
            readings[name] = replace(reading_of(measured), kind=kind)
        return InvarianceRow(label, readings, tolerance=self.rescaling.tolerance)


def _missing(tools: Mapping[str, ModuleType]) -> str:
    missing = [requirement for name, requirement in PACKAGES.items() if name not in tools]
    return f"Rows of other tools appear where they are installed: pip install {' '.join(missing)}"


def _labelled(name: str, partitions: Mapping[str, Blocks], chosen: str) -> list[tuple[str, Blocks]]:
    if name != _PARTITIONED:
        return [(name, partitions[chosen])]
    return [(name if partition == "paper" else f"{name}-{partition}", own) for partition, own in partitions.items()]


def reading_of(measured: Measurement) -> ValueOnCopy:
    """A value with the errors that differ from copy to copy: those of samples are the same on all of them."""
    uncertainty = measured.uncertainty
    error = sum(part or 0.0 for part in (uncertainty.rounding, uncertainty.quadrature, uncertainty.bracket))
    drawn = measured.status in {Status.SAMPLED, Status.BRACKETED}
    return ValueOnCopy(measured.value, error, (uncertainty.sampling or 0.0) if drawn else 0.0)
