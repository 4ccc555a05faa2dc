"""The invariance test: measure, rescale, measure again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.rescale import random_factors, smallest_factor, uniform_factors
from bnsharp_cli.errors import NotMeasurableError, named, shown
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.invariance.copies import Copier, RescaledCopy
from bnsharp_cli.measurement.invariance.deviation import compared, require_copies, require_resolved
from bnsharp_cli.measurement.invariance.invariance_report import CopyReport, InvarianceReport, verdict_sentences
from bnsharp_cli.measurement.invariance.options import DECADES, FLATTENED_LAYER, GAMMA_BETA, RANDOM_COPIES
from bnsharp_cli.measurement.invariance.vanishing import lower_bound, vanishing_changes, vanishing_displacement
from bnsharp_cli.measurement.measures.bn_sharpness import bn_sharpness
from bnsharp_cli.measurement.measures.delta_sharpness import delta_linf, delta_lp
from bnsharp_cli.measurement.measures.expected_passes import of_bn_sharpness, of_delta_linf, of_delta_lp
from bnsharp_cli.measurement.measures.options import LARGEST_SEED, MeasureOptions
from bnsharp_cli.measurement.measures.sharpness_entries import BallOptions
from bnsharp_cli.measurement.surface.cost import FORWARD, Cost
from bnsharp_cli.measurement.surface.finite_loss import require_finite_loss
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

GAMMA_BETA_SCALE = 1e-2

_PlannedCopy = tuple[str, float | None, Tensor]
"""The name of a copy, its a where that is one number, and its factors."""


@dataclass(frozen=True)
class _Setting:
    """What all copies are measured with.

    Attributes:
        vanishing: how much the loss changes without a layer, by layer; see :func:`vanishing_changes`.
    """

    surface: LossSurface
    point: Point
    blocks: Blocks
    options: MeasureOptions
    tolerance: float | None
    stored_epsilon: bool
    vanishing: Mapping[str, float]


def measure_copies(
    surface: LossSurface,
    point: Point,
    blocks: Blocks,
    extended: Blocks,
    options: MeasureOptions,
    *,
    tolerance: float | None = None,
    stored_epsilon: bool = False,
) -> InvarianceReport:
    """Measure copies of a network that compute the same function, and judge whether BN-Sharpness stays the same.

    Copies: a = 10⁻³ … 10³ in decades, three random a per row, Eq. (4)'s a₀ for the layer without which the loss
    changes most, and, outside the verdict, (γ, β) scaled by 10⁻² where that changes nothing.

    Args:
        surface: L.
        point: θ.
        blocks: the paper's partition.
        extended: the extended partition, for the (γ, β) copy.
        options: of the measures.
        tolerance: allowed relative deviation; None means the stated rounding floor, never below 1e-9.
        stored_epsilon: measure the copies with ε as stored; then T_a is not exact.

    Raises:
        DataRefusedError: the loss is not finite because of the data.
        NotMeasurableError: no invariant block, no copy that computes the same function, BN-Sharpness below its rounding
            floor, or a deviation that is above ``tolerance`` but no more than rounding.
    """
    if not blocks.invariant:
        require_finite_loss(surface, point)
    _require_invariant_blocks(surface, blocks)
    vanishing = vanishing_changes(surface, point, blocks)
    setting = _Setting(surface, point, blocks, options, tolerance, stored_epsilon, vanishing)
    copier = Copier(surface, point, blocks)

    plan, progress = _plan(setting), surface.progress
    with progress.stage("rescaling", _passes_of_a_copy(options), 1 + len(plan) + bool(extended.joint)):
        reference = _reference(setting, copier)
        reports, kept = _measure_all(setting, copier, reference, plan)
        gamma_beta = None
        if extended.joint:
            progress.reach(1 + len(plan), GAMMA_BETA)
            gamma_beta, copy = _gamma_beta(setting, copier.by(extended), extended, reference)
            kept.append(copy)

    invariant = _judge(reports, reference)
    sentences = verdict_sentences(reports, invariant, options, _has_swallowed_bias(setting))
    sentences += "".join(f" Note: {note}." for note in surface.notes)
    return InvarianceReport(tuple(reports), gamma_beta, reference, invariant, sentences, tuple(kept))


def _passes_of_a_copy(options: MeasureOptions) -> Cost:
    """The most that a copy takes."""
    of_ball = of_delta_lp(options.of(BallOptions).ball_samples) + of_delta_linf(_from_one_start(options))
    return of_bn_sharpness(options) + of_ball + 2 * FORWARD


def _from_one_start(options: MeasureOptions) -> MeasureOptions:
    """The options by which δ-L∞ of a copy is searched: what Theorem 3.1 says of it needs no more."""
    return replace(options, iterations=None, restarts=0)


def _reference(setting: _Setting, copier: Copier) -> CopyReport:
    """The original, measured as the copies are.

    Raises:
        NotMeasurableError: BN-Sharpness is not far enough above its rounding floor.
    """
    original = copier.copy("a = 1", uniform_factors(setting.blocks.invariant, 1.0))
    setting.surface.progress.reach(0, original.name)
    return _measured(setting, original, 1.0, None)


def _measure_all(
    setting: _Setting, copier: Copier, reference: CopyReport, plan: Sequence[_PlannedCopy]
) -> tuple[list[CopyReport], list[RescaledCopy]]:
    """Every copy under T_a, and what was measured on it."""
    reports, kept = [], []
    for number, (name, scale, factors) in enumerate(plan, 1):
        setting.surface.progress.reach(number, name)
        copy = copier.copy(name, factors)
        kept.append(copy)
        reports.append(reference if scale == 1.0 else _measured(setting, copy, scale, reference))
    return reports, kept


def _judge(reports: Sequence[CopyReport], reference: CopyReport) -> bool:
    """Whether BN-Sharpness is the same on all copies that compute the same function.

    Raises:
        NotMeasurableError: there is no such copy, or a deviation above the tolerance is no more than rounding.
    """
    judged = [report for report in reports if report.judged]
    require_copies([report for report in judged if report is not reference])
    invariant = all(abs(report.deviation) <= max(report.tolerance, report.floor) for report in judged)
    if invariant:
        _require_measurable(judged)
    return invariant


def _has_swallowed_bias(setting: _Setting) -> bool:
    """Whether a bias that batch statistics swallow acts here, since running statistics do not."""
    silent = any(tensor.without_effect for tensor in setting.blocks.tensors)
    return silent and not setting.surface.treatment.batch_statistics


def _require_invariant_blocks(surface: LossSurface, blocks: Blocks) -> None:
    if not blocks.invariant and surface.choice is not None and surface.choice.partial:
        asked = ", ".join(map(shown, surface.choice.asked))
        raise NotMeasurableError(
            f"No weights are scale-invariant in {asked} alone, so there is nothing to rescale.",
            f"Choose more of them, or {named('parameters')} all.",
            argument="parameters",
            expected="scale-invariant weights among them",
            found="none",
        )
    if not blocks.invariant:
        raise NotMeasurableError(
            "The network has no scale-invariant weights, so there is nothing to rescale.",
            f"Test other rescalings with {named('measure')} bn, or in Python with invariance_table.",
            argument="model",
            expected="a network with scale-invariant weights",
            found="none",
        )
    if not bool(blocks.spheres(surface.point()).radii[: blocks.invariant].any()):
        raise NotMeasurableError(
            "Every scale-invariant weight of the network is zero, so there is nothing to rescale.",
            "Measure its sharpness without the test.",
            argument="model",
            expected="scale-invariant weights that are not zero",
            found="zeros",
        )


def _require_measurable(reports: list[CopyReport]) -> None:
    worst = max(reports, key=lambda report: abs(report.deviation))
    if abs(worst.deviation) > worst.tolerance:
        raise NotMeasurableError(
            f"{worst.name} deviates by {abs(worst.deviation):.1e}, which is no more than rounding ({worst.floor:.1e}): "
            f"a tolerance of {worst.tolerance:.1e} cannot be measured to.",
            f"Raise {named('tolerance')}, or use {named('precision')} float64 or a larger {named('delta')}.",
            argument="tolerance",
        )


def _plan(setting: _Setting) -> list[_PlannedCopy]:
    count = setting.blocks.invariant
    plan: list[_PlannedCopy] = [
        (name, 10.0**decade, uniform_factors(count, 10.0**decade)) for decade, name in DECADES.items()
    ]
    for index, name in enumerate(RANDOM_COPIES):
        seed = setting.options.seed + index
        generator = torch.Generator().manual_seed(seed if seed <= LARGEST_SEED else seed - 2**64)
        plan.append((name, None, random_factors(count, 3.0, generator)))
    layers, radii = setting.blocks.layers(), setting.blocks.spheres(setting.point).radii
    alive = [name for name in setting.vanishing if bool(radii[layers[name]].any())]
    own = layers[max(alive, key=lambda name: setting.vanishing[name])]
    norms = radii[own]
    factors = torch.ones(count + 1, dtype=torch.float64)
    factors[own] = smallest_factor(setting.options.delta, norms)
    plan.append((FLATTENED_LAYER, None, factors))
    return plan


def _measured(setting: _Setting, copy: RescaledCopy, scale: float | None, reference: CopyReport | None) -> CopyReport:
    surface = copy.stored if setting.stored_epsilon else copy.exact
    classical = surface.in_precision(torch.float32)
    bound = lower_bound(copy.point, setting.blocks, setting.vanishing, setting.options.delta)
    candidates = [] if bound is None else [vanishing_displacement(copy.point, setting.blocks, bound[0])]
    measures = {
        "bn": bn_sharpness(surface, copy.point, setting.blocks, setting.options),
        "delta-l2": delta_lp(classical, copy.point, setting.blocks, replace(setting.options, power=2.0)),
        "delta-linf": delta_linf(classical, copy.point, setting.blocks, _from_one_start(setting.options), candidates),
    }
    if reference is None:  # before anything is divided by its value
        require_resolved(measures["bn"])
    loss = copy.exact.value(copy.point)
    original = loss if reference is None else reference.loss
    deviation, allowed = compared(measures["bn"], measures["bn"] if reference is None else reference.measures["bn"])
    return CopyReport(
        name=copy.name,
        scale=scale,
        loss=loss,
        loss_drift=abs(loss - original),
        loss_drift_stored_epsilon=abs(copy.stored.value(copy.point) - original),
        measures=measures,
        lower_bound=bound,
        deviation=deviation,
        tolerance=setting.tolerance or allowed,
        floor=allowed,
        tied=copy.tied,
        judged=copy.is_exact or setting.stored_epsilon,
    )


def _gamma_beta(
    setting: _Setting, copier: Copier, extended: Blocks, reference: CopyReport
) -> tuple[CopyReport, RescaledCopy]:
    """One copy with every joint (γ, β) set scaled: the paper's measure moves, the extended one stands still."""
    factors = torch.ones(extended.invariant + 1, dtype=torch.float64)
    factors[list(extended.joint)] = GAMMA_BETA_SCALE
    copy = copier.copy(GAMMA_BETA, factors)
    surface = copy.stored if setting.stored_epsilon else copy.exact
    original = bn_sharpness(setting.surface, setting.point, extended, setting.options)
    measures = {
        "bn": bn_sharpness(surface, copy.point, setting.blocks, setting.options),
        "bn-extended": bn_sharpness(surface, copy.point, extended, setting.options),
        "bn-extended-original": original,
    }
    loss = copy.exact.value(copy.point)
    report = CopyReport(
        name=GAMMA_BETA,
        scale=GAMMA_BETA_SCALE,
        loss=loss,
        loss_drift=abs(loss - reference.loss),
        loss_drift_stored_epsilon=abs(copy.stored.value(copy.point) - reference.loss),
        measures=measures,
        deviation=measures["bn"].value / reference.measures["bn"].value - 1,
        tolerance=math.inf,
    )
    return report, copy
