"""The entries of the measures that move all weights by a share of their size. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal

from bnsharp_cli.core.halving import HalvingSearch
from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.measurement.measures.measure_entry import MEASURES_HERE, MeasureEntry
from bnsharp_cli.measurement.measures.shared_options import read_numbers
from bnsharp_cli.measurement.surface.cost import FORWARD, GRADIENT
from bnsharp_cli.option_records import OptionRecord, option, same_option, shortest

RelativeTo = Literal["filter", "layer", "element", "partition"]
"""Whose norms are the radii of a measure: those of a partition of its own, or of the command's."""

AS_PARTITION: RelativeTo = "partition"
"""Stands for the partition that the command measures by."""

RADIUS_SEARCH = HalvingSearch(start=2.0**-6, doublings=6, halvings=12, bisections=5)
"""Steps of ``critical-radius``, up to the length of the weights; trained networks have their radius at some percent."""

SIGMA_SEARCH = HalvingSearch(start=0.25, doublings=4, halvings=8, bisections=5)
"""Values of σ of ``pac-bayes-sigma``, up to 4, where the noise hides the weights; at most 14, times 10 draws."""

ROUNDING = 4
"""The most forwards that it takes to see how the loss rounds."""

_SHARES = "numbers between 0 and 1"
_SOME_SHARES = "For example 0.1."


def read_shares(texts: Sequence[str]) -> tuple[float, ...]:
    """The values of σ of all texts, several in one with commas between.

    >>> read_shares(["0.03,0.1", "0.3"])
    (0.03, 0.1, 0.3)
    """
    return read_numbers(texts, "sigma", _SHARES, _SOME_SHARES)


@dataclass(frozen=True)
class RelativeOptions(OptionRecord):
    """The option that all measures of this file have.

    Attributes:
        relative_to: whose norm is the radius: of every ``filter``, ``layer`` or ``element``, as the partitions of these
            names; or ``partition`` for the blocks of the partition that was chosen.
    """

    relative_to: RelativeTo = option(
        "filter",
        f"Whose norms noise, critical-radius and pac-bayes-sigma move weights by: filter, layer, element, or those of "
        f"{named('partition')}.",
        expected="one of filter, layer, element, partition",
    )


@dataclass(frozen=True)
class NoiseOptions(OptionRecord):
    """The options of ``noise``.

    Attributes:
        sigma: the values of σ, one or several; the largest is that of the measure, the others are a profile.
        noise_draws: how many directions are drawn.
        relative_to: as :class:`RelativeOptions` has it.
    """

    sigma: float | tuple[float, ...] = option(
        (0.03, 0.1, 0.3),
        "Sizes of noise, relative to weights; several with commas or repeated, the largest is the measure's.",
        metavar="NUMBERS",
        read=read_shares,
        repeatable=True,
        shown_default="0.03,0.1,0.3",
        expected=_SHARES,
        accept=bool,
        example=_SOME_SHARES,
    )
    noise_draws: int = option(8, "Directions of noise.", minimum=2, maximum=1_000_000)
    relative_to: RelativeTo = same_option(RelativeOptions, "relative_to")

    def __post_init__(self) -> None:
        if isinstance(self.sigma, Real) and not isinstance(self.sigma, bool):
            object.__setattr__(self, "sigma", (self.sigma,))
        super().__post_init__()
        for one in self.sigmas:
            if not 0 < one < 1:
                raise UsageError.of("sigma", _SHARES, shortest(one), _SOME_SHARES)

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The values of σ, each once, in ascending order."""
        return tuple(sorted({*self.sigma} if isinstance(self.sigma, tuple) else {self.sigma}))


@dataclass(frozen=True)
class SigmaOptions(OptionRecord):
    """The options of ``pac-bayes-sigma``.

    Attributes:
        sigma_draws: how many directions are drawn, the same for each σ.
        relative_to: as :class:`RelativeOptions` has it.
    """

    sigma_draws: int = option(10, "Directions of pac-bayes-sigma.", minimum=2, maximum=1_000_000)
    relative_to: RelativeTo = same_option(RelativeOptions, "relative_to")


_INVARIANCE = "invariant under whatever scales whole blocks and keeps the function; relative_to says which blocks"

PERTURBATION_ENTRIES = (
    MeasureEntry(
        name="noise",
        summary="mean loss change by noise on both sides, relative to the weights",
        formula="E ½[L(θ + σz) + L(θ − σz)] − L(θ), z uniform on the spheres ‖z_b‖ = ‖θ_b‖",
        cost="53 forwards; 2, and for each σ twice noise_draws and 1",
        source="the antithetic mean of expected sharpness (Neyshabur et al., NeurIPS 2017), with relative radii",
        invariance=_INVARIANCE,
        load=f"{MEASURES_HERE}.noise:noise",
        options=NoiseOptions,
        has_radius=False,
        forward_mostly=True,
        across_architectures=True,
        most=lambda options: _of_noise(options.of(NoiseOptions)) * FORWARD,
    ),
    MeasureEntry(
        name="critical-radius",
        summary="step down the gradient until the loss rises; large is flat",
        formula="min t > 0 with L(θ − tv) > L(θ), v_b = ‖θ_b‖ ∇_bL / ‖∇_bL‖",
        cost="about 10 forwards and 1 backward",
        source="critical learning rate of Kalra et al., arXiv 2601.16979 (2026), with relative radii",
        invariance=_INVARIANCE,
        load=f"{MEASURES_HERE}.critical_radius:critical_radius",
        options=RelativeOptions,
        has_radius=False,
        forward_mostly=True,
        large_is_flat=True,
        most=lambda _: GRADIENT + (RADIUS_SEARCH.most + ROUNDING) * FORWARD,
    ),
    MeasureEntry(
        name="pac-bayes-sigma",
        summary="relative noise that costs 0.1 of accuracy; large is flat",
        formula="max σ with E [A(θ) − A(θ + σz)] ≤ 0.1, A the accuracy, z uniform on the spheres ‖z_b‖ = ‖θ_b‖",
        cost="about 71 forwards, at most 141",
        source="Jiang et al., ICLR 2020; Dziugaite et al., NeurIPS 2020; there with Gaussian noise",
        invariance=_INVARIANCE,
        load=f"{MEASURES_HERE}.pac_bayes_sigma:pac_bayes_sigma",
        options=SigmaOptions,
        has_radius=False,
        forward_mostly=True,
        across_architectures=True,
        large_is_flat=True,
        most=lambda options: (1 + SIGMA_SEARCH.most * options.of(SigmaOptions).sigma_draws) * FORWARD,
    ),
)


def _of_noise(options: NoiseOptions) -> int:
    """The most forwards that ``noise`` takes."""
    return 1 + ROUNDING + len(options.sigmas) * (2 * options.noise_draws + ROUNDING)
