"""What the registry says of a measure; a new one is a function and an entry in one of the lists beside this file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from bnsharp_cli.measurement.surface.cost import NO_PASSES, Cost
from bnsharp_cli.option_records import OptionRecord

if TYPE_CHECKING:
    from bnsharp_cli.core.point import Point
    from bnsharp_cli.measurement.blocks.blocks import Blocks
    from bnsharp_cli.measurement.measures.measurement import Measurement
    from bnsharp_cli.measurement.surface.loss_surface import LossSurface

MEASURES_HERE = "bnsharp_cli.measurement.measures"
"""Where the functions of the measures are."""


@dataclass(frozen=True)
class MeasureEntry:
    """A measure, for lists and for whoever calls it by its name.

    Attributes:
        name: as the Python interface and the commands take it.
        summary: what it measures, the line below the table.
        formula: its definition.
        cost: passes over all samples, with the default options.
        source: where it was defined.
        invariance: whether rescaling the network by T_a changes it.
        load: ``module:function``; the module is imported on first use.
        options: the record of the options that only this measure has.
        finite_power_only: whether it does not exist for p = ∞.
        has_radius: whether δ decides its value; else it is measured once, however many radii there are.
        large_is_flat: whether a sharp network has a small value, so that no highest value can be asked of it.
        is_control: whether it says nothing of sharpness, and stands beside measures that do.
        across_architectures: whether networks of different architectures may be compared by it.
        forward_mostly: whether it holds at most one vector of the size of the network, so that it can be measured with
            little memory.
        extra: of the package, which it needs besides; empty for none.
        most: from the options to the passes that it may take, which is said while it is taken.
    """

    name: str
    summary: str
    formula: str
    cost: str
    source: str
    invariance: str
    load: str
    options: type[OptionRecord] | None = None
    finite_power_only: bool = False
    has_radius: bool = True
    large_is_flat: bool = False
    is_control: bool = False
    across_architectures: bool = False
    forward_mostly: bool = False
    extra: str = ""
    most: Callable[[Any], Cost] = lambda _: NO_PASSES

    def __call__(self, surface: LossSurface, point: Point, blocks: Blocks, options: OptionRecord) -> Measurement:
        """Measure a network by this measure.

        Args:
            surface: L.
            point: θ.
            blocks: which rows scale together.
            options: the :class:`~bnsharp_cli.measurement.measures.options.MeasureOptions`.
        """
        measured = self.function(surface, point, blocks, options)
        chosen = {} if surface.choice is None else {"parameters": surface.choice.to_dict()}
        return replace(measured, details={**measured.details, **chosen}, notes=(*measured.notes, *surface.notes))

    @property
    def large_is_sharp(self) -> bool | None:
        """Whether a sharp network has a large value, or a flat one; None for a control."""
        return None if self.is_control else not self.large_is_flat

    @property
    def function(self) -> Callable[..., Measurement]:
        """The function that computes the measure."""
        module, _, function = self.load.partition(":")
        return cast("Callable[..., Measurement]", getattr(import_module(module), function))
