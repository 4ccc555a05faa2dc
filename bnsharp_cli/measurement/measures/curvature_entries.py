"""The entries of the measures by curvature and by adaptive balls, with their options. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bnsharp_cli.measurement.measures.expected_passes import of_adaptive, of_hessian
from bnsharp_cli.measurement.measures.measure_entry import MEASURES_HERE, MeasureEntry
from bnsharp_cli.option_records import OptionRecord, option

PUBLISHED_RADII = {
    ("worst", "linf"): 0.002,
    ("worst", "l2"): 1.0,
    ("average", "linf"): 0.2,
    ("average", "l2"): 0.2,
}
"""ρ by kind and norm, of those that Andriushchenko et al. took of convolutional networks and of transformers alike."""


@dataclass(frozen=True)
class AdaptiveOptions(OptionRecord):
    """The options that only ``adaptive`` has.

    Attributes:
        adaptive_kind: the largest increase of the loss, or the mean one.
        adaptive_norm: of the displacement relative to the weights, number by number. The mean is over a normal
            distribution for ``l2`` and over a uniform one for ``linf``.
        adaptive_rho: ρ; None for a published one, see ``PUBLISHED_RADII``.
        adaptive_samples: draws of the mean.
    """

    adaptive_kind: Literal["worst", "average"] = option(
        "worst", "Increase of the loss that adaptive takes: worst or average.", expected="worst or average"
    )
    adaptive_norm: Literal["linf", "l2"] = option(
        "linf", "Norm of adaptive's displacements relative to the weights: linf or l2.", expected="linf or l2"
    )
    adaptive_rho: float | None = option(
        None,
        "Radius of adaptive [default: a published one, 0.002 for the worst case in linf].",
        expected="a positive number",
        accept=lambda radius: radius > 0,
        example="For example 0.01.",
    )
    adaptive_samples: int = option(
        100,
        "Draws of adaptive's average.",
        minimum=2,
        maximum=1_000_000,
    )

    @property
    def radius(self) -> float:
        """ρ, as resolved."""
        published = PUBLISHED_RADII[self.adaptive_kind, self.adaptive_norm]
        return published if self.adaptive_rho is None else self.adaptive_rho


@dataclass(frozen=True)
class HessianOptions(OptionRecord):
    """The options that only ``hessian`` has.

    Attributes:
        hessian_probes: random vectors of each trace.
        hessian_starts: random vectors of the density of D H D, a Lanczos run from each.
    """

    hessian_probes: int = option(
        8,
        "Random vectors of hessian's traces.",
        minimum=2,
        maximum=1_000_000,
    )
    hessian_starts: int = option(1, "Random vectors of hessian's density, each 20 products.", minimum=1, maximum=10_000)


CURVATURE_ENTRIES = (
    MeasureEntry(
        name="adaptive",
        summary="loss increase where every weight moves by a share of itself",
        formula="mean over batches of max (L(θ + ε) − L(θ)), ‖ε / |θ|‖ ≤ ρ in L∞ or L2",
        cost="about 25 forwards and 20 backwards; the average 1 forward for each of adaptive_samples",
        source="Kwon et al., ICML 2021; Andriushchenko et al., ICML 2023",
        invariance="invariant under T_a, and under every rescaling of single weights that keeps the loss",
        load=f"{MEASURES_HERE}.adaptive:adaptive_sharpness",
        options=AdaptiveOptions,
        has_radius=False,
        most=lambda options: of_adaptive(options, options.of(AdaptiveOptions)),
    ),
    MeasureEntry(
        name="hessian",
        summary="largest eigenvalue of the Hessian between the blocks' radii",
        formula="λ_max(D H D), H = ∇²L(θ), D = diag(‖θ_i‖ for numbers of block i, 1 for θ_*)",
        cost="about 60 products with the Hessian: 46 forwards and 104 backwards",
        source="Yao et al., IEEE BigData 2020 (PyHessian); D H D after Definition 3.1",
        invariance="invariant under T_a; the eigenvalue of H itself, in the details, changes",
        load=f"{MEASURES_HERE}.hessian:hessian_sharpness",
        options=HessianOptions,
        has_radius=False,
        extra="hessian",
        most=lambda options: of_hessian(options, options.of(HessianOptions)),
    ),
)
