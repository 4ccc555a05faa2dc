"""The invariance test in short: three copies and no classical measure, for ``bnsharp check``."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.rescale import random_factors, uniform_factors
from bnsharp_cli.errors import NotMeasurableError, named
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.invariance.copies import Copier, RescaledCopy
from bnsharp_cli.measurement.invariance.deviation import compared, require_copies, require_resolved
from bnsharp_cli.measurement.measures.bn_sharpness import bn_sharpness
from bnsharp_cli.measurement.measures.expected_passes import of_bn_sharpness
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

_SCALES = (0.01, 100.0)
_RANDOM_DECADES = 2.0


@dataclass(frozen=True)
class SelfTest:
    """How far BN-Sharpness deviates on rescaled copies.

    Attributes:
        deviation: the largest relative deviation.
        floor: what rounding alone can explain of it.
        allowed: the largest deviation that passes.
        dtype: the precision in which this was decided.
    """

    deviation: float
    floor: float
    allowed: float
    dtype: torch.dtype

    @property
    def invariant(self) -> bool:
        """Whether the deviation is allowed."""
        return self.deviation <= self.allowed

    @property
    def sentence(self) -> str:
        """What was found."""
        precisely = "in float64 " if self.dtype == torch.float64 else ""
        return (
            f"BN-Sharpness deviates {precisely}by {self.deviation:.1e} on rescaled copies, {self.allowed:.1e} allowed"
        )


def self_test(
    surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions, tolerance: float | None = None
) -> SelfTest:
    """Measure three copies (a = 0.01, 100, random); what does not pass in float32 is decided in float64.

    Where rounding makes the search stop a step earlier on one copy, the two values differ by what that step gains,
    which no rounding floor knows. That says nothing of the invariance, and float64 has it a billion times more rarely.

    Args:
        surface: L.
        point: θ.
        blocks: which rows scale together.
        options: of BN-Sharpness.
        tolerance: allowed relative deviation; None for the stated rounding floor, never below 1e-9.

    Raises:
        NotMeasurableError: BN-Sharpness is below its rounding floor in float64, no copy computes the same function, or
            a deviation above ``tolerance`` is no more than rounding.
    """
    trial = _Trial(surface, point, blocks, options, tolerance, _copies(Copier(surface, point, blocks), blocks, options))
    quick = None if surface.dtype == torch.float64 else trial.quick()
    if quick is not None and quick.invariant:
        return quick
    found = trial.in_precision(torch.float64)
    if found.allowed < found.deviation <= found.floor:
        raise NotMeasurableError(
            f"BN-Sharpness deviates by {found.deviation:.1e} on rescaled copies, which is no more than rounding "
            f"({found.floor:.1e}): a tolerance of {found.allowed:.1e} cannot be measured to.",
            f"Raise {named('tolerance')}, or use a larger {named('delta')}.",
            argument="tolerance",
        )
    return found


def _copies(copier: Copier, blocks: Blocks, options: MeasureOptions) -> list[RescaledCopy]:
    generator = torch.Generator().manual_seed(options.seed)
    factors = [uniform_factors(blocks.invariant, a) for a in _SCALES]
    factors.append(random_factors(blocks.invariant, _RANDOM_DECADES, generator))
    copies = [copy for copy in (copier.copy("self-test", vector) for vector in factors) if copy.is_exact]
    require_copies(copies)
    return copies


@dataclass(frozen=True)
class _Trial:
    """What is measured, in one precision or another."""

    surface: LossSurface
    point: Point
    blocks: Blocks
    options: MeasureOptions
    tolerance: float | None
    copies: list[RescaledCopy]

    def quick(self) -> SelfTest | None:
        """The test in the surface's own precision; None where that cannot resolve the value."""
        try:
            return self.in_precision(self.surface.dtype)
        except NotMeasurableError:
            return None

    def in_precision(self, dtype: torch.dtype) -> SelfTest:
        progress = self.surface.progress
        with progress.stage("invariance", of_bn_sharpness(self.options), 1 + len(self.copies)):
            original = self._measured(self.surface.in_precision(dtype), self.point)
            require_resolved(original)
            found = []
            for number, copy in enumerate(self.copies, 1):
                progress.reach(number, f"copy {number} of {len(self.copies)}")
                found.append(compared(self._measured(copy.exact.in_precision(dtype), copy.point), original))
        deviation, floor = max(
            ((abs(each), floor) for each, floor in found), key=lambda pair: pair[0] / (self.tolerance or pair[1])
        )
        return SelfTest(deviation, floor, self.tolerance or floor, dtype)

    def _measured(self, surface: LossSurface, point: Point) -> Measurement:
        return bn_sharpness(surface, point, self.blocks, self.options)
