"""The loss and the integral: do the loss surface and the quadrature say what a plain loop and ``quad`` say?"""

from __future__ import annotations

import torch

from bnsharp_cli.measurement.audit.audited_value import AuditedValue
from bnsharp_cli.measurement.audit.finding import CannotSayError, Finding
from bnsharp_cli.measurement.audit.segment_truth import true_mean

SAME_LOSS = 1e-9
"""Losses in float64 that differ by less, relative to 1 + |L|, are the same."""


def audit_loss(audited: AuditedValue) -> Finding:
    """L(θ) of the loss surface against a plain loop, both in float64."""
    surface = audited.surface.in_precision(torch.float64)
    plain = audited.plain(audited.point)
    found = abs(surface.value(audited.point) - plain)
    sentence = f"a plain loop over the batches gives L(θ) = {plain:.10g}; both are in float64"
    if surface.pool.habits.narrow and found > SAME_LOSS * (1 + abs(plain)):
        raise CannotSayError("the network casts to a coarser type in its own code, which a plain loop cannot leave out")
    return Finding.compared("loss", SAME_LOSS * (1 + abs(plain)), found, sentence)


def audit_integral(audited: AuditedValue) -> Finding:
    """F^{1/p} along the measured direction by ``quad`` over plain losses, against the stated error of the integral."""
    options, value = audited.options, audited.measured.value
    stated = audited.quadrature + audited.rounding_beside_plain
    changes = audited.plain.changes(audited.point, audited.direction)
    truth = true_mean(changes, options.delta, options.power, stated)
    sentence = f"quad over {truth.losses} plain losses along the same direction gives {truth.value:.10g}"
    return Finding.compared("integral", stated, abs(truth.value - value), sentence, truth.error)
