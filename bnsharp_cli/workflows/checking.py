"""Holds a checkpoint against limits and a baseline, and BN-Sharpness against rescaled copies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from bnsharp_cli.errors import NotMeasurableError, UsageError, counted, named
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.blocks.search_memory import SearchMemory
from bnsharp_cli.measurement.decision.outcome import Outcome
from bnsharp_cli.measurement.invariance.self_test import self_test
from bnsharp_cli.measurement.measures.measure_all import measured_by
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.measurements import Measurements
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.report.json_document import blocks_entry
from bnsharp_cli.workflows.baselines import open_baseline, require_comparable, write_baseline
from bnsharp_cli.workflows.checked_checkpoint import COMMAND, CheckedCheckpoint
from bnsharp_cli.workflows.deadline import Deadline, OutOfTimeError
from bnsharp_cli.workflows.device import computing_on
from bnsharp_cli.workflows.gate import Check, Gate
from bnsharp_cli.workflows.gate_options import BaselineOptions, CheckedRadii, GateOptions
from bnsharp_cli.workflows.kept_results import result_key
from bnsharp_cli.workflows.limited_names import OF_CLASSES, ON_TEST_DATA, SHARE
from bnsharp_cli.workflows.limited_quantities import JudgedResult
from bnsharp_cli.workflows.measured_network import MeasuredNetwork
from bnsharp_cli.workflows.open_inputs import open_inputs
from bnsharp_cli.workflows.open_network import evaluated_network
from bnsharp_cli.workflows.options import CheckpointSource, Computing, Data
from bnsharp_cli.workflows.reporter import SILENT, Reporter
from bnsharp_cli.workflows.thresholds import BUFFERS, INVARIANCE, Thresholds
from bnsharp_cli.workflows.weight_checks import (
    dead_rows,
    dead_rows_in_words,
    has_statistics,
    unsound_buffers,
)


@dataclass(frozen=True)
class Demands:
    """What is asked of a checkpoint.

    Attributes:
        thresholds: the limits.
        baseline: the earlier result.
        gate: how it ends.
        radii: at which measures are taken.
    """

    thresholds: Thresholds = field(default_factory=Thresholds)
    baseline: BaselineOptions = field(default_factory=BaselineOptions)
    gate: GateOptions = field(default_factory=GateOptions)
    radii: CheckedRadii = field(default_factory=CheckedRadii)


def check_checkpoint(
    checkpoint: Path | None,
    demands: Demands | None = None,
    source: CheckpointSource | None = None,
    data: Data | None = None,
    options: MeasureOptions | None = None,
    *,
    computing: Computing | None = None,
    reporter: Reporter = SILENT,
    memory: SearchMemory | None = None,
) -> CheckedCheckpoint:
    """Check that a checkpoint loads, that its weights are sound, that limits hold and BN-Sharpness is invariant.

    Args:
        checkpoint: a file or ``sample:NAME``; None for the embedded sample.
        demands: what its loss, its accuracy and its measures may be.
        source: which of its weights are taken, and which network they belong to.
        data: the loss.
        options: the options of the measures.
        computing: where to compute.
        reporter: told what the user should know.
        memory: of the blocks of earlier checkpoints; none changes a number.

    Raises:
        BnsharpError: what cannot be opened or measured, with its remedy.
    """
    began, demands, data = time.monotonic(), demands or Demands(), data or Data()
    runs = _runs(options or MeasureOptions(), demands)
    demands.thresholds.require_measurable(runs[0].power, demands.radii.delta)
    _require_test_data(demands.thresholds, data)
    baseline = open_baseline(demands.baseline, demands.thresholds)
    with computing_on((computing or Computing()).device) as device:
        inputs = open_inputs(checkpoint, source or CheckpointSource(), data, runs[0], reporter)
        names = list(dict.fromkeys(one.measure for one in demands.thresholds.names if one.measure is not None))
        key = result_key(inputs, names, runs, device)
        network = evaluated_network(inputs, runs[0], device, reporter)
        trial = _Trial(network, demands, runs, names, Deadline(demands.gate.max_seconds, began), memory)
        blocks, measured, checks = trial.outcome(baseline)
    found = CheckedCheckpoint(
        network, blocks, runs[0], checks, measured, key, time.monotonic() - began, demands.gate.fail_on
    )
    _update(demands.baseline, found, reporter)
    return found


def _require_test_data(thresholds: Thresholds, data: Data) -> None:
    asked = [str(name) for name in thresholds.names if name.what in ON_TEST_DATA]
    if asked and data.test_data is None:
        raise UsageError(
            f"{asked[0]} needs {named('test_data')}.",
            f"Name data that was not trained on with {named('test_data')}.",
            argument="test_data",
            expected="test data",
            found="none",
        )


def _runs(options: MeasureOptions, demands: Demands) -> list[MeasureOptions]:
    """The options at each radius, with the shares of layers where they are limited."""
    if any(name.what == SHARE for name in demands.thresholds.names):
        options = replace(options, particular={**options.particular, "by": "layer"})
    return [replace(options, delta=radius) for radius in demands.radii.delta]


@dataclass(frozen=True)
class _Trial:
    """One network before what is asked of it."""

    network: MeasuredNetwork
    demands: Demands
    runs: list[MeasureOptions]
    names: list[str]
    deadline: Deadline
    memory: SearchMemory | None

    def outcome(self, baseline: JudgedResult | None) -> tuple[Blocks, Measurements, tuple[Check, ...]]:
        """Everything that is checked, in its order; a baseline that cannot be compared is found before measuring."""
        network, thresholds = self.network, self.demands.thresholds
        blocks = find_blocks(network.surface, network.point, self.runs[0].partition, memory=self.memory)
        document = {
            **network.document(COMMAND, self.runs[0].to_dict(), str),
            "test": network.test_entry(),
            "blocks": blocks_entry(blocks, network.point),
        }
        self._require_classes()
        gate = Gate(thresholds, self.demands.radii.delta, self.runs[0].rtol, baseline, self._unreached)
        if baseline is not None:
            require_comparable(document, baseline, thresholds)
            gate.require_baseline()
        dead = dead_rows(network.opened.module)
        result = JudgedResult(document, Measurements({}), None, sum(one.dead for one in dead), dead_rows_in_words(dead))
        measured = self._measured(blocks)
        limited = gate.checks(replace(result, measured=measured))
        return blocks, measured, (*self._of_weights(result), *limited, self._invariance(blocks))

    @property
    def _unreached(self) -> str:
        return f"not known after {self.deadline.seconds or 0:g} seconds: raise {named('max_seconds')}"

    def _require_classes(self) -> None:
        asked = any(name.what in OF_CLASSES for name in self.demands.thresholds.names)
        if asked and self.network.accuracy is None:
            raise NotMeasurableError(
                "The accuracy needs class labels.", "Leave its limit out for regression.", argument="limits"
            )

    def _measured(self, blocks: Blocks) -> Measurements:
        """Every measure at every radius, as far as there was time."""
        surface = self.deadline.watched(self.network.surface.remembering(self.network.point))
        profiles: dict[str, tuple[Measurement, ...]] = {}
        for name in self.names:
            entry = MEASURES[name]
            for run in self.runs if entry.has_radius else self.runs[:1]:
                if self.deadline.passed_for(surface):
                    return Measurements(profiles)
                label = f"{name}, δ = {run.delta:g}" if entry.has_radius else name
                try:
                    with surface.progress.stage(label, entry.most(run)):
                        found = measured_by(entry, surface, self.network.point, blocks, run)
                except OutOfTimeError:
                    return Measurements(profiles)
                profiles[name] = (*profiles.get(name, ()), found)
        return Measurements(profiles)

    def _of_weights(self, result: JudgedResult) -> Iterator[Check]:
        network = self.network
        dead = f", {counted(result.dead, 'dead row')} ({result.where_dead})" if result.dead else ""
        loaded = f"{network.architecture}, {network.parameters:,} parameters, all finite{dead}"
        yield Check("load", Outcome.PASS, loaded)
        yield self._buffers()

    def _buffers(self) -> Check:
        module = self.network.opened.module
        number = sum(map(has_statistics, module.modules()))
        if BUFFERS in self.demands.thresholds.skip:
            return Check(BUFFERS, Outcome.SKIP, "not asked for")
        if not number:
            return Check(BUFFERS, Outcome.SKIP, "no norm has running statistics")
        wrong = unsound_buffers(module)
        if not wrong:
            return Check(BUFFERS, Outcome.PASS, f"the running statistics of {counted(number, 'norm')} are sound")
        more = f" and {len(wrong) - 1:,} more" if len(wrong) > 1 else ""
        return Check(BUFFERS, Outcome.FAIL, f"{wrong[0]}{more}")

    def _invariance(self, blocks: Blocks) -> Check:
        if INVARIANCE in self.demands.thresholds.skip:
            return Check(INVARIANCE, Outcome.SKIP, "not asked for")
        if not blocks.probed:
            why = f"partition {blocks.partition} follows every rescaling of whole blocks"
            return Check(INVARIANCE, Outcome.SKIP, why)
        if not blocks.invariant:
            return Check(INVARIANCE, Outcome.SKIP, "no scale-invariant weights, nothing to rescale")
        surface = self.deadline.watched(self.network.surface)
        if self.deadline.passed_for(surface):
            return Check(INVARIANCE, Outcome.INCONCLUSIVE, self._unreached)
        tolerance = self.demands.thresholds.tolerance
        try:
            found = self_test(surface, self.network.point, blocks, self.runs[0], tolerance)
        except OutOfTimeError:
            return Check(INVARIANCE, Outcome.INCONCLUSIVE, self._unreached)
        outcome = Outcome.PASS if found.invariant else Outcome.FAIL
        return Check(INVARIANCE, outcome, found.sentence, value=found.deviation, limit=found.allowed)


def _update(options: BaselineOptions, found: CheckedCheckpoint, reporter: Reporter) -> None:
    """Make the result the baseline where every check passed."""
    if options.baseline is None or not options.update_baseline:
        return
    if found.outcome is not Outcome.PASS:
        reporter.notice(f"{named('baseline')} stays as it is, since not every check passed")
        return
    write_baseline(options.baseline, found.document())
