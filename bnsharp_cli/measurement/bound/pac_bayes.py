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
from bnsharp_cli.measurement.measures.expected_passes import of_bn_sharpness
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.cost import FORWARD
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.stacking import CPU_STACK

_PROBED = 8
"""Samples that are given to the network to see whether they change each other's answers."""

_COUPLED = 1e-9
"""The relative difference of float64 outputs from which samples are coupled. Rounding makes 1e-13; a statistic of the
batch makes 1e-3 and more."""


@dataclass(frozen=True)
class PacBayesBound:
    """An upper bound on E_u L(θ + u), where L is the expected loss, as the sum of three terms.

    Attributes:
        options: the options that the user supplied.
        empirical_loss: L̂(θ), in [0, 1].
        perturbation: an upper bound on E_u|L̂(θ + u) − L̂(θ)| from BN-Sharpness; for ``zero-one`` an estimate of it.
        error: the error of ``perturbation`` by quadrature and rounding; for ``zero-one`` its standard error.
        complexity: the complexity term as Eq. (10) prints it.
        tighter_complexity: the complexity term by Maurer (2004).
        terms: m, the number of independent terms that L̂ is the mean of.
        term: the kind of these terms: ``samples``, or ``batches`` where the samples of a batch change each other's
            answers.
        sharpness: BN-Sharpness of the clipped loss; u follows its direction.
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
        """Whether even the tighter sum reaches 1, which the loss never exceeds anyway."""
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
    r"""The bound of Theorem 3.3, Eq. (10), with the corrected factor of :func:`perturbation_factor`.

    .. math:: E_u L(θ+u) ≤ \hat L(θ) + 2^{-1/p} δ \|\hat L\| + 4 \sqrt{(KL(θ+u\|P) + \log(2m/ε)) / m}

    It holds with probability 1 − ε over the m samples, for u = t v with t uniform on [−δ, δ] and v the sharpest
    direction that the search found. PAC-Bayes compares L̂ and L at θ + u, so the sharpness is that of L̂. The 0-1 loss
    is piecewise constant and has no sharpest direction: there u follows the direction of the clipped loss, and
    E_u|ΔL̂| is estimated from samples of t.

    Args:
        surface: gives the network, the batches and the batch-norm policy; its criterion is not used.
        point: θ.
        blocks: which rows scale together.
        options: δ, p, search and precision.
        wanted: the bounded loss, KL and confidence.

    Raises:
        DataRefusedError: the network does not answer with one class for each example.
        NotMeasurableError: the loss is not finite within δ.
    """
    clipped = replace(surface, criterion=ClippedCrossEntropy(wanted.clip), averages=True)
    sampled = wanted.segment_samples if wanted.loss_range == "zero-one" else 0
    with surface.progress.stage("bounding the loss", of_bn_sharpness(options) + (sampled + 1) * FORWARD):
        found = bn_sharpness(clipped, point, blocks, options)
        sharpness = replace(found, name=f"{found.name}-clipped")
        if sampled:
            empirical, perturbation, error = _sampled_change(surface, point, sharpness, options, sampled)
        else:
            empirical, perturbation, error = _bounded_change(clipped, point, sharpness, options)
    term = "batches" if coupled(surface, point) else "samples"
    terms = _batch_count(surface) if term == "batches" else _sample_count(surface)
    return PacBayesBound(
        options=wanted,
        empirical_loss=empirical,
        perturbation=perturbation,
        error=error,
        complexity=complexity(wanted.kl, terms, wanted.confidence),
        tighter_complexity=tighter_complexity(wanted.kl, terms, wanted.confidence),
        terms=terms,
        term=term,
        sharpness=sharpness,
    )


def perturbation_factor(delta: float, power: float) -> float:
    """2^{−1/p} δ: E_u|ΔL| ≤ 2^{−1/p} δ F(v)^{1/p} for u uniform on the segment from −δv to δv.

    The density on the segment is 1/(2δ), so δ⁻¹∫|ΔL/δ|^p dt equals 2 E_u|ΔL/δ|^p. A p-mean is at least as large as the
    mean, and equal to it for p = 1. Eq. (10) prints δ^{1+1/p} instead; a linear loss exceeds that for
    δ < (p+1)/2^{p+1}.

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
    """Whether the samples of a batch change each other's answers, as they do through batch statistics.

    If they do, the independent terms that PAC-Bayes counts are the batches. The test gives the network the first
    samples with and without some of the others, in float64. A batch of two or three samples counts as
    coupled, and so does one of which no part can be taken.

    Args:
        surface: gives the network and the batches.
        point: θ.
    """
    inputs = surface.batches[0][0]
    size = min(_PROBED, len(inputs))
    if size < 4 or not surface.conduct.parts:
        return len(inputs) > 1
    precise = surface.in_precision(torch.float64)
    with torch.no_grad():
        whole, half = (precise.outputs(point, inputs[:count]) for count in (size, size // 2))
    return any(
        bool((first[: size // 2] - second).abs().max() > _COUPLED * first.abs().max())
        for first, second in zip(whole, half, strict=True)
    )


def _bounded_change(
    surface: LossSurface, point: Point, sharpness: Measurement, options: MeasureOptions
) -> tuple[float, float, float]:
    """L̂(θ), the upper bound on E_u|L̂(θ + u) − L̂(θ)| from BN-Sharpness, and the error of that bound."""
    factor, uncertainty = perturbation_factor(options.delta, options.power), sharpness.uncertainty
    error = factor * ((uncertainty.quadrature or 0.0) + (uncertainty.rounding or 0.0))
    return surface.value(point), factor * sharpness.value, error


def _sampled_change(
    surface: LossSurface, point: Point, sharpness: Measurement, options: MeasureOptions, count: int
) -> tuple[float, float, float]:
    """L̂(θ), E_u|L̂(θ + u) − L̂(θ)| of the 0-1 loss, and the standard error of that mean.

    The segment is cut into ``count`` equal parts, and one t is drawn from each. The standard error is that of
    independent draws, which is not smaller than the true one. It is at least the change by one sample in one draw.
    """
    exact = replace(surface, criterion=zero_one, averages=True)
    generator = torch.Generator().manual_seed(options.seed)
    within = torch.rand(count, generator=generator, dtype=torch.float64)
    steps = (options.delta * (2 * (torch.arange(count) + within) / count - 1)).tolist()
    direction = sharpness.direction
    assert direction is not None
    loss = exact.value(point)
    groups = [steps[first : first + CPU_STACK] for first in range(0, count, CPU_STACK)]
    values = [value for group in groups for value in exact.values([on_segment(point, direction, t) for t in group])]
    changes = torch.tensor(values, dtype=torch.float64).sub(loss).abs()
    error = max(float(changes.std()) / math.sqrt(count), 1 / (count * _sample_count(surface)))
    return loss, float(changes.mean()), error


def _sample_count(surface: LossSurface) -> int:
    sizes = surface.sizes
    return surface.count * len(surface.batches[0][1]) if sizes is None else sizes.examples


def _batch_count(surface: LossSurface) -> int:
    """The batches, or as many of the largest size as the samples fill: no term has more weight than one of those."""
    sizes = surface.sizes
    return surface.count if sizes is None else sum(sizes.counted) // max(sizes.counted)
