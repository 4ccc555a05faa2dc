"""The stated rounding against copies T_a of the network, which compute the same function."""

from __future__ import annotations

import torch

from bnsharp_cli.core.rescale import random_factors, uniform_factors
from bnsharp_cli.measurement.audit.audited_value import AuditedValue
from bnsharp_cli.measurement.audit.finding import CannotSayError, Finding
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.invariance.copies import Copier, RescaledCopy
from bnsharp_cli.measurement.invariance.options import SMALLEST_TOLERANCE
from bnsharp_cli.measurement.measures.registry import MEASURES

COPIES = 3
_SCALES = (0.01, 100.0)
_DECADES = 2.0
"""Random factors are from 10⁻² to 10²."""

_ROWS_TOGETHER = "layer"
"""The partition that follows a rescaling only where it takes all rows of a tensor alike."""


def audit_invariance(audited: AuditedValue) -> Finding:
    """The largest deviation on rescaled copies, in the precision of the measurement.

    Both values round, so both errors count; less than 1e-9 of the value is never asked for.
    """
    stated = found = 0.0
    value, worst = audited.measured.value, -torch.inf
    for copy in _copies(audited):
        other = MEASURES["bn"](copy.exact, copy.point, audited.blocks, audited.options)
        allowed = max(SMALLEST_TOLERANCE * value, audited.rounding + (other.uncertainty.rounding or 0.0))
        deviation = abs(other.value - value)
        if deviation - allowed > worst:
            worst, stated, found = deviation - allowed, allowed, deviation
    dependence = audited.options.rule.copy_dependence
    sentence = "measured anew on copies whose rows before norms are multiplied by 0.01, 100 and at random"
    return Finding.compared("invariance", stated, found, f"{sentence}. {dependence}".rstrip(". "))


def _copies(audited: AuditedValue) -> list[RescaledCopy]:
    """Copies that compute the same function.

    Raises:
        CannotSayError: there is none.
    """
    rows = _rescalable(audited)
    if not rows.invariant:
        raise CannotSayError("no weights are scale-invariant, so there is nothing to rescale")
    factors = [uniform_factors(rows.invariant, scale) for scale in _SCALES]
    if audited.blocks.partition != _ROWS_TOGETHER:
        generator = torch.Generator().manual_seed(audited.options.seed)
        factors.append(random_factors(rows.invariant, _DECADES, generator))
    copier = Copier(audited.surface, audited.point, rows)
    copies = [copy for copy in (copier.copy("audit", each) for each in factors) if copy.is_exact]
    if not copies:
        raise CannotSayError("no rescaled copy computes the same function: a norm is none of torch's, and its ε stays")
    return copies


def _rescalable(audited: AuditedValue) -> Blocks:
    """The rows that T_a multiplies, whatever the blocks of the value are."""
    return audited.blocks if audited.blocks.probed else find_blocks(audited.surface, audited.point)
