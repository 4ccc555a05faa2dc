"""How far BN-Sharpness of a copy is from that of the original, and whether that can be said at all."""

from __future__ import annotations

from collections.abc import Sequence

from bnsharp_cli.errors import NotMeasurableError, named
from bnsharp_cli.measurement.invariance.options import SMALLEST_TOLERANCE
from bnsharp_cli.measurement.measures.measurement import Measurement, Status

_COARSEST = 1e-2
"""A rounding floor above this share of the value would let any deviation pass."""


def compared(measurement: Measurement, original: Measurement) -> tuple[float, float]:
    """The relative deviation from the original, and what the two rounding floors allow, never below 1e-9."""
    floors = (measurement.uncertainty.rounding or 0.0) + (original.uncertainty.rounding or 0.0)
    return measurement.value / original.value - 1, max(SMALLEST_TOLERANCE, floors / original.value)


def require_resolved(original: Measurement) -> None:
    """Refuse a value whose rounding would let any deviation pass.

    Raises:
        NotMeasurableError: it is not far enough above its rounding floor.
    """
    floor = original.uncertainty.rounding or 0.0
    if original.status is Status.BELOW_RESOLUTION or floor > _COARSEST * original.value:
        raise NotMeasurableError(
            f"BN-Sharpness {original.value:.3g} is not above its rounding floor {floor:.3g} by enough for a verdict.",
            f"Use {named('precision')} float64, a larger {named('delta')} or more {named('samples')}.",
        )


def require_copies(copies: Sequence[object]) -> None:
    """Refuse to judge without a copy.

    Raises:
        NotMeasurableError: there is none that computes the same function.
    """
    if not copies:
        raise NotMeasurableError(
            "No rescaled copy computes the same function: a norm of the network is none of torch's, and its ε stays.",
            f"Use torch.nn.functional's norms in the network, or {named('epsilon')} stored to see what its ε does.",
            argument="model",
        )
