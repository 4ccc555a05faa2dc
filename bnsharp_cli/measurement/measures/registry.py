"""Every measure by its name: what it is, what it costs, and where its function is.

A new measure is a function ``(surface, point, blocks, options) -> Measurement`` in a file of its own, and its entry
here. Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, cast

from bnsharp_cli.measurement.measures.expected_passes import (
    of_bn_sharpness,
    of_delta_linf,
    of_delta_lp,
    of_keskar,
)
from bnsharp_cli.measurement.surface.cost import NO_PASSES, Cost
from bnsharp_cli.option_records import OptionRecord, option

if TYPE_CHECKING:
    from bnsharp_cli.core.point import Point
    from bnsharp_cli.measurement.blocks.blocks import Blocks
    from bnsharp_cli.measurement.measures.measurement import Measurement
    from bnsharp_cli.measurement.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class BallOptions(OptionRecord):
    """The options that only ``delta-lp`` has.

    Attributes:
        ball_samples: Monte-Carlo points in the ball, at least 2.
    """

    ball_samples: int = option(
        32,
        "Monte-Carlo points of delta-lp.",
        minimum=2,
        maximum=1_000_000,
    )


@dataclass(frozen=True)
class PartsOptions(OptionRecord):
    """The options that only ``bn`` has.

    Attributes:
        by: what the value is divided among: ``layer``, ``block`` or ``none``.
    """

    by: Literal["none", "layer", "block"] = option(
        "none", "Say where the value comes from: by layer or block.", expected="one of none, layer, block"
    )


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
    def function(self) -> Callable[..., Measurement]:
        """The function that computes the measure."""
        module, _, function = self.load.partition(":")
        return cast("Callable[..., Measurement]", getattr(import_module(module), function))


_HERE = "bnsharp_cli.measurement.measures"

_ENTRIES = (
    MeasureEntry(
        name="bn",
        summary="p-mean of |loss change| / δ along the sharpest direction, relative to the weights",
        formula="sup over v in φ(θ) of (δ⁻¹ ∫ |(L(θ + tv) − L(θ))/δ|^p dt)^(1/p), t from −δ to δ",
        cost="at most 21 forwards and 5 backwards",
        source="Yi et al., IJCAI 2019, Definition 3.1",
        invariance="invariant under T_a",
        load=f"{_HERE}.bn_sharpness:bn_sharpness",
        options=PartsOptions,
        most=of_bn_sharpness,
    ),
    MeasureEntry(
        name="delta-lp",
        summary="p-mean of |loss change| over a Euclidean ball; any rescaling changes it",
        formula="(E |L(θ′) − L(θ)|^p)^(1/p) / (1 + L(θ)), θ′ uniform in the ball of radius δ",
        cost="3 forwards, and one for each of ball_samples",
        source="Yi et al., IJCAI 2019, Definition 2.1 and Eq. (1)",
        invariance="changes under T_a",
        load=f"{_HERE}.delta_sharpness:delta_lp",
        options=BallOptions,
        finite_power_only=True,
        most=lambda options: of_delta_lp(options.of(BallOptions).ball_samples),
    ),
    MeasureEntry(
        name="delta-linf",
        summary="largest |loss change| in a Euclidean ball; any rescaling changes it",
        formula="max |L(θ′) − L(θ)| / (1 + L(θ)), θ′ in the ball of radius δ",
        cost="8 forwards and 6 backwards",
        source="Yi et al., IJCAI 2019, Definition 2.1 with p = ∞",
        invariance="changes under T_a",
        load=f"{_HERE}.delta_sharpness:delta_linf",
        most=of_delta_linf,
    ),
    MeasureEntry(
        name="keskar",
        summary="largest loss increase in a box around the weights, in percent",
        formula="100 (max L(θ + z) − L(θ)) / (1 + L(θ)), |z_i| ≤ δ(|θ_i| + 1)",
        cost="about 15 forwards and 12 backwards",
        source="Keskar et al., ICLR 2017",
        invariance="changes under T_a",
        load=f"{_HERE}.delta_sharpness:keskar",
        most=of_keskar,
    ),
)

MEASURES: dict[str, MeasureEntry] = {entry.name: entry for entry in _ENTRIES}
