"""The entries of BN-Sharpness and of the classical sharpness, with their own options. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bnsharp_cli.measurement.measures.expected_passes import (
    of_bn_sharpness,
    of_delta_linf,
    of_delta_lp,
    of_keskar,
)
from bnsharp_cli.measurement.measures.measure_entry import MEASURES_HERE, MeasureEntry
from bnsharp_cli.option_records import OptionRecord, option


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


SHARPNESS_ENTRIES = (
    MeasureEntry(
        name="bn",
        summary="p-mean of |loss change| / δ along the sharpest direction, relative to θ",
        formula="sup over v in φ(θ) of (δ⁻¹ ∫ |(L(θ + tv) − L(θ))/δ|^p dt)^(1/p), t from −δ to δ",
        cost="at most 21 forwards and 5 backwards",
        source="Yi et al., IJCAI 2019, Definition 3.1",
        invariance="invariant under T_a",
        load=f"{MEASURES_HERE}.bn_sharpness:bn_sharpness",
        options=PartsOptions,
        most=of_bn_sharpness,
    ),
    MeasureEntry(
        name="delta-lp",
        summary="p-mean of |loss change| in a Euclidean ball; any rescaling changes it",
        formula="(E |L(θ′) − L(θ)|^p)^(1/p) / (1 + L(θ)), θ′ uniform in the ball of radius δ",
        cost="3 forwards, and one for each of ball_samples",
        source="Yi et al., IJCAI 2019, Definition 2.1 and Eq. (1)",
        invariance="changes under T_a",
        load=f"{MEASURES_HERE}.delta_sharpness:delta_lp",
        options=BallOptions,
        finite_power_only=True,
        most=lambda options: of_delta_lp(options.of(BallOptions).ball_samples),
    ),
    MeasureEntry(
        name="delta-linf",
        summary="largest |loss change| in a Euclidean ball; any rescaling changes it",
        formula="max |L(θ′) − L(θ)| / (1 + L(θ)), θ′ in the ball of radius δ",
        cost="9 forwards and 6 backwards",
        source="Yi et al., IJCAI 2019, Definition 2.1 with p = ∞",
        invariance="changes under T_a",
        load=f"{MEASURES_HERE}.delta_sharpness:delta_linf",
        most=of_delta_linf,
    ),
    MeasureEntry(
        name="keskar",
        summary="largest loss increase in a box around the weights, in percent",
        formula="100 (max L(θ + z) − L(θ)) / (1 + L(θ)), |z_i| ≤ δ(|θ_i| + 1)",
        cost="about 15 forwards and 12 backwards",
        source="Keskar et al., ICLR 2017",
        invariance="changes under T_a",
        load=f"{MEASURES_HERE}.delta_sharpness:keskar",
        most=of_keskar,
    ),
)
