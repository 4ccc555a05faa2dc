"""Holds a checkpoint against thresholds, and BN-Sharpness against rescaled copies."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bnsharp_cli.errors import NotMeasurableError, named
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.invariance.self_test import self_test
from bnsharp_cli.measurement.measures.measurement import Measurement, Status
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.report.json_document import blocks_entry
from bnsharp_cli.workflows.device import computing_on
from bnsharp_cli.workflows.measured_network import MeasuredNetwork, Spelling
from bnsharp_cli.workflows.open_network import open_network
from bnsharp_cli.workflows.options import CheckpointSource, Computing, Data
from bnsharp_cli.workflows.reporter import SILENT, Reporter
from bnsharp_cli.workflows.thresholds import INVARIANCE, Thresholds

_OUTCOMES = {True: "pass", False: "fail", None: "skip"}


class Check(NamedTuple):
    """One check and how it ended.

    Attributes:
        name: the name of the check.
        passed: None where it was skipped.
        sentence: why.
    """

    name: str
    passed: bool | None
    sentence: str


@dataclass(frozen=True)
class CheckedCheckpoint:
    """What the checks of one checkpoint found.

    Attributes:
        network: the network on its data.
        blocks: its scale-invariant rows.
        options: the options of the measures.
        checks: in their order.
        measured: the measures that have a limit.
        seconds: how long it took, in seconds.
    """

    network: MeasuredNetwork
    blocks: Blocks
    options: MeasureOptions
    checks: tuple[Check, ...]
    measured: Mapping[str, Measurement]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(check.passed is not False for check in self.checks)

    @property
    def verdict(self) -> str:
        """One line on all checks."""
        failed = [check.name for check in self.checks if check.passed is False]
        ran = sum(check.passed is not None for check in self.checks)
        passed = "PASSED: the only check" if ran == 1 else f"PASSED: all {ran} checks"
        return f"FAILED: {', '.join(failed)}" if failed else passed

    def document(self, spelling: Spelling = str) -> dict[str, Any]:
        """Plain containers, in the JSON schema ``bnsharp/1``; sentences in it name arguments by ``spelling``."""
        return {
            **self.network.document("check", self.options.to_dict(), spelling),
            "test": self.network.test_entry(),
            "blocks": blocks_entry(self.blocks, self.network.point),
            "measures": {name: measurement.to_dict() for name, measurement in self.measured.items()},
            "checks": [
                {"name": check.name, "outcome": _OUTCOMES[check.passed], "sentence": check.sentence}
                for check in self.checks
            ],
            "verdict": {"passed": self.passed},
            "cost": self.network.cost(self.seconds),
        }


def check_checkpoint(
    checkpoint: Path | None,
    thresholds: Thresholds | None = None,
    source: CheckpointSource | None = None,
    data: Data | None = None,
    options: MeasureOptions | None = None,
    *,
    computing: Computing | None = None,
    reporter: Reporter = SILENT,
) -> CheckedCheckpoint:
    """Check that a checkpoint loads, that its weights are finite, that thresholds hold and BN-Sharpness is invariant.

    Args:
        checkpoint: a file or ``sample:NAME``; None for the embedded sample.
        thresholds: what its loss, its accuracy and its measures may be.
        source: which of its weights are taken, and which network they belong to.
        data: the loss.
        options: the options of the measures.
        computing: where to compute.
        reporter: told what the user should know.

    Raises:
        BnsharpError: what cannot be opened or measured, with its remedy.
    """
    began = time.monotonic()
    thresholds, data, options = thresholds or Thresholds(), data or Data(), options or MeasureOptions()
    thresholds.require_power(options.power)
    with computing_on((computing or Computing()).device) as device:
        network = open_network(checkpoint, source or CheckpointSource(), data, options, device, reporter)
        checks = [*_checks_of_the_loss(network, thresholds)]
        blocks = find_blocks(network.surface, network.point, options.partition)
        measured = {}
        for name, limit in (thresholds.limits or {}).items():
            with network.surface.progress.stage(name, MEASURES[name].most(options)):
                measured[name] = MEASURES[name](network.surface, network.point, blocks, options)
            checks.append(_limited(measured[name], limit))
        checks.append(_invariance(network, blocks, options, thresholds))
    return CheckedCheckpoint(network, blocks, options, tuple(checks), measured, time.monotonic() - began)


def _checks_of_the_loss(network: MeasuredNetwork, thresholds: Thresholds) -> Iterator[Check]:
    yield Check("load", True, f"{network.architecture}, {network.parameters:,} parameters, all finite")
    highest, lowest = thresholds.max_loss, thresholds.min_accuracy
    if highest is not None:
        yield Check("loss", network.loss <= highest, f"{network.loss:.6g}, at most {highest:g} allowed")
    if lowest is not None:
        if network.accuracy is None:
            raise NotMeasurableError(
                f"{named('min_accuracy')} needs class labels.", "Leave it out for regression.", argument="min_accuracy"
            )
        sentence = f"{network.accuracy:.2%}, at least {lowest:.2%} wanted"
        yield Check("accuracy", network.accuracy >= lowest, sentence)


def _limited(measurement: Measurement, limit: float) -> Check:
    floor = measurement.uncertainty.rounding or 0.0
    if measurement.status is Status.BELOW_RESOLUTION and floor > limit:
        raise NotMeasurableError(
            f"{measurement.name} is below its rounding floor {floor:.3g}, which is above the limit {limit:g}.",
            f"Use {named('precision')} float64 or a larger {named('delta')}.",
        )
    sentence = f"{measurement.value:.6g}, at most {limit:g} allowed ({measurement.status.value})"
    return Check(measurement.name, measurement.value <= limit, sentence)


def _invariance(network: MeasuredNetwork, blocks: Blocks, options: MeasureOptions, thresholds: Thresholds) -> Check:
    if thresholds.skip == INVARIANCE:
        return Check(INVARIANCE, None, "not asked for")
    if not blocks.probed:
        return Check(INVARIANCE, None, f"partition {blocks.partition} follows every rescaling of whole blocks")
    if not blocks.invariant:
        return Check(INVARIANCE, None, "no scale-invariant weights, nothing to rescale")
    found = self_test(network.surface, network.point, blocks, options, thresholds.tolerance)
    return Check(INVARIANCE, found.invariant, found.sentence)
