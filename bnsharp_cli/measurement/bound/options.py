"""Options of the bound. Importing this module does not import torch."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass
from typing import Literal

from bnsharp_cli.option_records import OptionRecord, option

CLIP = 11.5
"""Cross entropy of a class with probability 1e-5, which Pérez-Ortiz et al. (JMLR 2021) take for the smallest."""

WHY_KL = "On a segment it is infinite against every density, so it is not computed: give that of your own u and prior."


@dataclass(frozen=True)
class BoundOptions(OptionRecord):
    """What decides a bound besides its measurement.

    Attributes:
        kl: KL(θ + u ‖ P) in nats, finite and not negative.
        confidence: 1 − ε, the probability that the bound holds, in (0, 1).
        loss_range: ``clipped`` or ``zero-one``.
        clip: cross entropy at which ``clipped`` is 1.
        segment_samples: losses from which the mean change of ``zero-one`` is estimated.

    Raises:
        UsageError: a value that is out of range.
    """

    kl: float = option(
        MISSING,
        "KL divergence, in nats, of your perturbed network from a prior chosen without the data; infinite "
        "on a segment against any density, so it must be supplied.",
        expected="a finite number of at least 0",
        accept=lambda kl: 0 <= kl < math.inf,
        missing="KL(θ + u ‖ prior), in nats",
        example=WHY_KL,
    )
    confidence: float = option(
        0.95,
        "Probability that the bound holds, in (0, 1).",
        expected="a number in (0, 1)",
        accept=lambda confidence: 0 < confidence < 1,
        example="For example 0.95.",
    )
    loss_range: Literal["clipped", "zero-one"] = option(
        "clipped", "Loss in [0, 1] that is bounded: clipped (cross entropy), or zero-one (wrong answers)."
    )
    clip: float = option(
        CLIP,
        "Cross entropy at which the clipped loss is 1.",
        expected="a positive number",
        accept=lambda clip: 0 < clip < math.inf,
        example="For example 11.5.",
    )
    segment_samples: int = option(
        64,
        "Points at which zero-one is sampled on the segment.",
        minimum=2,
    )
