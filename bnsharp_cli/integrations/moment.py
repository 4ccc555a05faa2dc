"""One measurement along a training run: every figure that could be had, and a reason for every one that could not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import BnsharpError, UnfitMeasureError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_partitions
from bnsharp_cli.measurement.blocks.search_memory import SearchMemory
from bnsharp_cli.measurement.measures.measure_all import measured_by
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.measures.selection import EVERY_MEASURE, Selection
from bnsharp_cli.measurement.surface.cost import NO_PASSES, Cost
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.measurement.surface.foreign_errors import OUT_OF_MEMORY, kind_and_first_line
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.opened_surface import CriterionLike, SurfaceSettings, opened_surface
from bnsharp_cli.measurement.surface.whole_network import require_whole

_AFTERWARDS = "Save a whole checkpoint now and then, and run `bnsharp measure` on it."


@dataclass
class Moment:
    """What was measured of a network at one moment of its training.

    Attributes:
        figures: on how many samples; the loss, None where it is not finite; value, error and status of each measure.
        reasons: why a measure has no figures, by its name; what they all lack is under ``EVERY_MEASURE``.
        cost: passes over the batches.
        notes: what a reader must know of how the network was computed.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    cost: Cost = NO_PASSES
    notes: tuple[str, ...] = ()

    @property
    def record(self) -> dict[str, Any]:
        """All of it, in plain containers."""
        passes = {"forwards": self.cost.forward, "backwards": self.cost.backward}
        return {**self.figures, "reasons": dict(self.reasons), "notes": list(self.notes), **passes}

    def note(self, profile: Sequence[Measurement]) -> None:
        """Write down one measure at its radii; a single one goes by the name of the measure alone."""
        for one in profile:
            radius = f"/{one.details['delta']:g}" if len(profile) > 1 else ""
            self.figures[f"{one.name}{radius}"] = one.value
            self.figures[f"{one.name}_error{radius}"] = one.largest_error[1] if one.largest_error else None
            self.figures[f"{one.name}_status{radius}"] = one.status.value


@dataclass(frozen=True)
class Measuring:
    """What is measured at every moment, and how.

    Attributes:
        batches: on which.
        criterion: the mean loss of a batch.
        selection: the measures and radii.
        options: of the measures.
        settings: of the loss surface.
        memory: of the search for blocks, which is a shorter one from the second moment on.
    """

    batches: Sequence[Batch]
    criterion: CriterionLike
    selection: Selection
    options: MeasureOptions
    settings: SurfaceSettings
    memory: SearchMemory = field(default_factory=SearchMemory)

    def __call__(self, model: nn.Module) -> Moment:
        """Measure ``model``, which stays as it is; no failure but an interruption gets out."""
        moment = Moment({"samples": sum(len(targets) for _, targets in self.batches)})
        try:
            if isinstance(model, nn.Module):
                require_whole(model, _AFTERWARDS)
            elsewhere = torch.get_default_device().type != "cpu"  # training scripts like to set another default device
            usual = torch.device("cpu") if elsewhere else nullcontext()
            with usual, opened_surface(model, self.batches, self.criterion, self.settings) as surface:
                self._take(surface, moment)
        except Exception as error:  # measuring is not worth a training run, whatever fails
            moment.reasons[EVERY_MEASURE] = reason_and_remedy(error)
        return moment

    def _take(self, surface: LossSurface, moment: Moment) -> None:
        try:
            point = surface.point()
            (blocks,) = find_partitions(surface, point, (self.options.partition,), memory=self.memory)
            surface = surface.remembering(point)
            loss = surface.value(point)
            moment.figures["loss"] = loss if math.isfinite(loss) else None
            for name in self.selection.names:
                try:
                    moment.note(self._profile(name, surface, point, blocks))
                except UnfitMeasureError as error:
                    if EVERY_MEASURE not in self.selection.measure:
                        moment.reasons[name] = reason_and_remedy(error)
                except Exception as error:  # the other measures may still have a value
                    moment.reasons[name] = reason_and_remedy(error)
        finally:
            moment.cost = surface.counter.all
            moment.notes = surface.conduct.notes

    def _profile(self, name: str, surface: LossSurface, point: Point, blocks: Blocks) -> list[Measurement]:
        """One measure at every radius, or once where it has none."""
        entry, runs = MEASURES[name], self.selection.runs(self.options)
        own = runs if entry.has_radius else runs[:1]
        return [measured_by(entry, surface, point, blocks, options) for options in own]


def reason_and_remedy(error: Exception) -> str:
    """What failed and what to do, in one line."""
    if isinstance(error, OUT_OF_MEMORY) or isinstance(error.__cause__, OUT_OF_MEMORY):
        return "Out of memory. Give the monitor smaller batches, or fewer by limit_batches."
    if isinstance(error, BnsharpError):
        return f"{error.reason} {error.remedy}"
    return f"{kind_and_first_line(error)}."
