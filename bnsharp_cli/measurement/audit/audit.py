"""The audit: a value is measured, and each of its stated errors is held against evidence that does not depend on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.audit.audited_value import AuditedValue, measured_value
from bnsharp_cli.measurement.audit.finding import CannotSayError, Finding
from bnsharp_cli.measurement.audit.integral import audit_integral, audit_loss
from bnsharp_cli.measurement.audit.invariance import COPIES, audit_invariance
from bnsharp_cli.measurement.audit.population import DRAWS, Draws, audit_population, is_affordable
from bnsharp_cli.measurement.audit.rounding import NODES, ORDERS, audit_order, audit_rounding, audit_threads
from bnsharp_cli.measurement.audit.search import ITERATIONS, JUDGING_NODES, STARTS, audit_search, fine, many
from bnsharp_cli.measurement.audit.segment_truth import MOST_LOSSES
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.expected_passes import of_bn_sharpness, of_search
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.cost import FORWARD, GRADIENT, NO_PASSES, Cost
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class Audit:
    """What the audit of one value found.

    Attributes:
        measured: the value, with the errors that were held against evidence.
        findings: one for each check, in their order.
    """

    measured: Measurement
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing that was stated was found wrong."""
        return all(finding.holds is not False for finding in self.findings)

    @property
    def verdict(self) -> str:
        """One line on all checks."""
        wrong = [finding.name for finding in self.findings if finding.holds is False]
        said = sum(finding.holds is not None for finding in self.findings)
        if wrong:
            return f"DOES NOT HOLD: {', '.join(wrong)}"
        if not said:
            return "NOTHING CAN BE SAID of the stated errors"
        untested = "" if said == len(self.findings) else f"; {len(self.findings) - said} cannot be tested here"
        return f"HOLDS: {said} of {said} statements{untested}"


@dataclass(frozen=True)
class _Check:
    """One check of the audit.

    Attributes:
        name: as in its finding.
        run: what it does.
        most: the most passes that it takes.
    """

    name: str
    run: Callable[[AuditedValue], Finding]
    most: Cost


def audit(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions, draws: Draws) -> Audit:
    """Measure BN-Sharpness, and hold each of its stated errors against independent evidence.

    The cost is told before anything begins, as that of a stage.

    Args:
        surface: L.
        point: θ.
        blocks: which rows scale together.
        options: of the measurement.
        draws: where other samples come from.

    Raises:
        NotMeasurableError: the value itself cannot be measured.
    """
    checks, once = _checks(surface, options, draws), of_bn_sharpness(options)
    with surface.progress.stage("audit", sum((check.most for check in checks), once)):
        with surface.progress.stage("measuring", once):
            measured = measured_value(surface, blocks, options)
        audited = AuditedValue(surface, point, blocks, options, measured)
        findings = []
        for check in checks:
            with surface.progress.stage(check.name, check.most):
                findings.append(_finding(check, audited))
    return Audit(measured, tuple(findings))


def _finding(check: _Check, audited: AuditedValue) -> Finding:
    """What a check says, or why it has nothing to say."""
    try:
        return check.run(audited)
    except CannotSayError as reason:
        return Finding.unsaid(check.name, str(reason))
    except NotMeasurableError as error:
        return Finding.unsaid(check.name, error.marked_reason.rstrip("."))


def _checks(surface: LossSurface, options: MeasureOptions, draws: Draws) -> tuple[_Check, ...]:
    """All checks in their order, with the most that each may take."""
    once = of_bn_sharpness(options)
    return (
        _Check("loss", audit_loss, 2 * FORWARD),
        _Check("integral", audit_integral, (1 + MOST_LOSSES) * FORWARD),
        _Check("rounding", audit_rounding, 2 * (1 + NODES) * FORWARD),
        _Check("order", audit_order, FORWARD + ORDERS * (once + FORWARD)),
        _Check("threads", audit_threads, once),
        _Check("search", audit_search, _of_searches(options)),
        _Check("population", partial(audit_population, draws=draws), _of_draws(surface, once)),
        _Check("invariance", audit_invariance, COPIES * once),
    )


def _of_searches(options: MeasureOptions) -> Cost:
    """The most that the search from many starts and the one that goes on take, and judging three directions."""
    on = of_search(replace(fine(options), iterations=ITERATIONS))
    starts = STARTS * of_search(many(options))
    return on + starts + 2 * GRADIENT + (1 + 3 * JUDGING_NODES) * FORWARD


def _of_draws(surface: LossSurface, once: Cost) -> Cost:
    """The most that the draws take, and the whole split as so many passes over the samples."""
    if surface.holds_all_data:
        return NO_PASSES
    sizes = surface.sizes
    whole = sizes.available / sizes.examples if sizes and sizes.available and is_affordable(surface) else 0.0
    return (DRAWS + whole) * once
