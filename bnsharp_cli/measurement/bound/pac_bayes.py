"""Theorem 3.3 of Yi et al. (IJCAI 2019): a PAC-Bayes bound whose perturbation term is BN-Sharpness."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from bnsharp_cli.core.point import Point, on_segment
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.bound.bounded_losses import ClippedCrossEntropy, zero_one
from bnsharp_cli.measurement.bound.options import BoundOptions
from bnsharp_cli.measurement.measures.bn_sharpness import bn_sharpness
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.stacking import CHUNK

_PROBED = 8
_COUPLED = 1e-9
"""Relative difference of float64 outputs; rounding makes 1e-13, a statistic of the batch 1e-3 and more."""


@dataclass(frozen=True)
class PacBayesBound:
    """An upper bound on E_u L(θ + u), L the expected loss, in its three terms.

    Attributes:
        options: what the user supplied.
        empirical_loss: L̂(θ), in [0, 1].
        perturbation: of E_u|L̂(θ + u) − L̂(θ)|: an upper bound from BN-Sharpness, or for ``zero-one`` its estimate.
        error: of ``perturbation``: quadrature and rounding, or for ``zero-one`` a standard error.
        complexity: as printed in Eq. (10).
        tighter_complexity: the same by Maurer (2004).
        terms: m, how many independent terms L̂ is a mean of.
        term: what each is: ``samples``, or ``batches`` where the samples of a batch change each other's answers.
        sharpness: BN-Sharpness of the clipped loss, whose direction u follows.
    """

    options: BoundOptions
    empirical_loss: float
    perturbation: float
    error: float
    complexity: float
    tighter_complexity: float
    terms: int
    term: str
    sharpness: Measurement

    @property
    def value(self) -> float:
        """The sum of the three terms, with the printed complexity."""
        return self.empirical_loss + self.perturbation + self.complexity

    @property
    def tighter_value(self) -> float:
        """The sum of the three terms, with Maurer's complexity."""
        return self.empirical_loss + self.perturbation + self.tighter_complexity

    @property
    def vacuous(self) -> bool:
        """Whether even the tighter sum says nothing of a loss that never exceeds 1."""
        return self.tighter_value >= 1

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as in the JSON schema ``bnsharp/1``."""
        own = ("empirical_loss", "perturbation", "error", "complexity", "tighter_complexity", "terms", "term")
        return {
            **asdict(self.options),
            **{name: getattr(self, name) for name in own},
            "value": self.value,
            "tighter_value": self.tighter_value,
            "vacuous": self.vacuous,
        }


def pac_bayes_bound(
    surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions, wanted: BoundOptions
) -> PacBayesBound:
    r"""Theorem 3.3, Eq. (10), with the factor that holds.

    .. math:: E_u L(θ+u) ≤ \hat L(θ) + 2^{-1/p} δ \|\hat L\| + 4 \sqrt{(KL(θ+u\|P) + \log(2m/ε)) / m}

    with probability 1 − ε over the m samples, for u = t v, t uniform on [−δ, δ] and v the sharpest direction that was
    found. The sharpness is that of L̂, which PAC-Bayes compares with L at θ + u, not at θ. The 0-1 loss is piecewise
    constant and has no direction of its own: u follows that of the clipped loss, and its E_u|ΔL̂| is sampled.

    Args:
        surface: of any criterion; its network, batches and batch-norm policy are used.
        point: θ.
        blocks: which rows scale together.
        options: δ, p, search and precision.
        wanted: the bounded loss, KL and confidence.

    Raises:
        DataRefusedError: the network does not answer with one class for each example.
        NotMeasurableError: the loss is not finite within δ.
    """
    clipped = replace(surface, criterion=ClippedCrossEntropy(wanted.clip))
    found = bn_sharpness(clipped, point, blocks, options)
    sharpness = replace(found, name=f"{found.name}-clipped")
    if wanted.loss_range == "zero-one":
        empirical, perturbation, error = _sampled_change(surface, point, sharpness, options, wanted.segment_samples)
    else:
        empirical, factor = clipped.value(point), perturbation_factor(options.delta, options.power)
        uncertainty = sharpness.uncertainty
        perturbation = factor * sharpness.value
        error = factor * ((uncertainty.quadrature or 0.0) + (uncertainty.rounding or 0.0))
    term = "batches" if coupled(surface, point) else "samples"
    terms = surface.count if term == "batches" else _sample_count(surface)
    arguments = (wanted.kl, terms, wanted.confidence)
    return PacBayesBound(
        wanted,
        empirical,
        perturbation,
        error,
        complexity(*arguments),
        tighter_complexity(*arguments),
        terms,
        term,
        sharpness,
    )


def perturbation_factor(delta: float, power: float) -> float:
    """2^{−1/p} δ: E_u|ΔL| ≤ 2^{−1/p} δ F(v)^{1/p} for u uniform on the segment from −δv to δv.

    The density on the segment is 1/(2δ), so δ⁻¹∫|ΔL/δ|^p dt is 2 E_u|ΔL/δ|^p, and a p-mean is at least the mean; for
    p = 1 it is the mean. Eq. (10) prints δ^{1+1/p}, which a linear loss exceeds for δ < (p+1)/2^{p+1}.

    Args:
        delta: δ.
        power: p ≥ 1, or ∞.
    """
    return float(2 ** (-1 / power) * delta)


def complexity(kl: float, terms: int, confidence: float) -> float:
    """4 √((KL + log(2m/ε))/m), the last term of Eq. (10), in units of a loss in [0, 1].

    The paper takes it from Eq. (6) of McAllester (COLT 2003); :func:`tighter_complexity` is 4√2 times smaller or more.

    Args:
        kl: KL(θ + u ‖ P), in nats.
        terms: m.
        confidence: 1 − ε.
    """
    return 4 * math.sqrt((kl + math.log(2 * terms / (1 - confidence))) / terms)


def tighter_complexity(kl: float, terms: int, confidence: float) -> float:
    """√((KL + log(2√m/ε))/(2m)), by Maurer (arXiv cs/0411099, 2004) and Pinsker's inequality, for both signs.

    Args:
        kl: KL(θ + u ‖ P), in nats.
        terms: m.
        confidence: 1 − ε.
    """
    return math.sqrt((kl + math.log(2 * math.sqrt(terms) / (1 - confidence))) / (2 * terms))


def coupled(surface: LossSurface, point: Point) -> bool:
    """Whether the samples of a batch change each other's answers, as by batch statistics.

    PAC-Bayes counts independent terms: then these are the batches. Found by giving the network the first samples with
    and without some of the others, in float64; batches too small for that count as coupled.
    """
    inputs = surface.batches[0][0]
    size = min(_PROBED, len(inputs))
    if size < 4:
        return len(inputs) > 1
    precise = surface.in_precision(torch.float64)
    with torch.no_grad():
        whole, half = (precise.outputs(point, inputs[:count]) for count in (size, size // 2))
    return any(
        bool((first[: size // 2] - second).abs().max() > _COUPLED * first.abs().max())
        for first, second in zip(whole, half, strict=True)
    )


def _sampled_change(
    surface: LossSurface, point: Point, sharpness: Measurement, options: MeasureOptions, count: int
) -> tuple[float, float, float]:
    """L̂(θ), E_u|L̂(θ + u) − L̂(θ)| of the 0-1 loss, and the standard error of that mean.

    The segment is cut into equal parts, and a t is drawn from each. The error is that of independent draws, which is no
    smaller, and at least what one sample in one of the draws would change.
    """
    exact = replace(surface, criterion=zero_one)
    generator = torch.Generator().manual_seed(options.seed)
    within = torch.rand(count, generator=generator, dtype=torch.float64)
    steps = (options.delta * (2 * (torch.arange(count) + within) / count - 1)).tolist()
    direction = sharpness.direction
    assert direction is not None
    loss = exact.value(point)
    groups = [steps[first : first + CHUNK] for first in range(0, count, CHUNK)]
    values = [value for group in groups for value in exact.values([on_segment(point, direction, t) for t in group])]
    changes = torch.tensor(values, dtype=torch.float64).sub(loss).abs()
    error = max(float(changes.std()) / math.sqrt(count), 1 / (count * _sample_count(surface)))
    return loss, float(changes.mean()), error


def _sample_count(surface: LossSurface) -> int:
    return surface.count * len(surface.batches[0][1])
