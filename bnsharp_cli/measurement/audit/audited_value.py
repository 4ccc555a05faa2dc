"""What all checks of the audit work on: a measured value, and what it was measured of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.audit.finding import CannotSayError
from bnsharp_cli.measurement.audit.plain_loss import PlainLoss
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class AuditedValue:
    """BN-Sharpness of one network as it was measured.

    Attributes:
        surface: L.
        point: θ.
        blocks: which rows scale together.
        options: of the measurement.
        measured: the value with its errors.
    """

    surface: LossSurface
    point: Point
    blocks: Blocks
    options: MeasureOptions
    measured: Measurement

    @cached_property
    def plain(self) -> PlainLoss:
        """L by a plain loop in float64.

        Raises:
            CannotSayError: that would be another loss.
        """
        return PlainLoss(self.surface)

    @property
    def direction(self) -> Point:
        """v, along which the value was measured."""
        if self.measured.direction is None:
            raise CannotSayError("no direction was found")
        return self.measured.direction

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the final integral."""
        return torch.float64 if self.measured.details["precision"] == "float64" else torch.float32

    @property
    def rounding(self) -> float:
        """The stated rounding error."""
        return self.measured.uncertainty.rounding or 0.0

    @property
    def quadrature(self) -> float:
        """The stated error of the integral."""
        return self.measured.uncertainty.quadrature or 0.0

    @property
    def rounding_beside_plain(self) -> float:
        """How far the value and one from plain losses may differ: in float64 those round too."""
        return 2 * self.rounding if self.dtype == torch.float64 else self.rounding

    def measured_on(self, surface: LossSurface) -> Measurement:
        """The same measurement on another surface of the same network."""
        return measured_value(surface, self.blocks, self.options)


def measured_value(surface: LossSurface, blocks: Blocks, options: MeasureOptions) -> Measurement:
    """BN-Sharpness at the network's own parameters, as ``measure`` takes it."""
    return MEASURES["bn"](surface, surface.point(), blocks, options)
