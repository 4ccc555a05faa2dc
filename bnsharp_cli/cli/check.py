"""``bnsharp check``: the gate for continuous integration."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnsharp_cli.cli import arguments, results

if TYPE_CHECKING:
    from bnsharp_cli.measurement.blocks.blocks import Blocks
    from bnsharp_cli.measurement.measures.measurement import Measurement
    from bnsharp_cli.measurement.measures.options import MeasureOptions
    from bnsharp_cli.workflows.subject import Subject

EXAMPLE = "Example: bnsharp check model.pt --max-loss 0.1 --min-accuracy 0.9 --max bn=4.5"

Check = tuple[str, bool | None, str]
"""Name, outcome (None: skipped) and sentence."""


def check(
    checkpoint: arguments.Checkpoint,
    key: arguments.Key = None,
    arch: arguments.Arch = None,
    arch_option: arguments.ArchOption = None,
    data: arguments.MeasuredData = None,
    split: arguments.Split = "train",
    data_root: arguments.DataRoot = None,
    download: arguments.Download = False,
    loss: arguments.Loss = None,
    samples: arguments.Samples = "2048",
    batch_size: arguments.BatchSize = 256,
    seed: arguments.Seed = 0,
    image_size: arguments.ImageSize = None,
    mean: arguments.Mean = None,
    std: arguments.Std = None,
    bn: arguments.BatchNorm = "batch",
    max_loss: Annotated[float | None, typer.Option(help="Fail above this loss.")] = None,
    min_accuracy: Annotated[float | None, typer.Option(help="Fail below this accuracy, in [0, 1].")] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option("--max", metavar="MEASURE=VALUE", help="Fail above this value of a measure; repeatable."),
    ] = None,
    delta: Annotated[float, typer.Option(help="Radius.")] = 1e-3,
    power: arguments.Power = 2.0,
    search: arguments.Search = "power",
    iterations: arguments.Iterations = None,
    restarts: arguments.Restarts = 0,
    partition: arguments.Partition = "paper",
    precision: arguments.Precision = "auto",
    device: arguments.Device = "auto",
    json: arguments.Json = False,
    output: arguments.Output = None,
    quiet: arguments.Quiet = False,
) -> None:
    """Check a checkpoint: it loads, its weights are finite, thresholds hold, BN-Sharpness is invariant.

    Exit 0 if every check passes, 1 if one fails.
    """
    given, began = dict(locals()), time.monotonic()
    from bnsharp_cli.measurement.measures.options import MeasureOptions
    from bnsharp_cli.workflows.subject import Request, open_subject

    arguments.require_all(split=split, bn=bn, seed=seed)
    limits = _limits(limit)
    arguments.require_power(limits, power, "--max")
    _require_thresholds(max_loss, min_accuracy)
    options = arguments.chosen(MeasureOptions, given)
    results.require_writable(output)
    subject = open_subject(arguments.chosen(Request, given, samples=arguments.sample_count(samples)))
    checks, measured, blocks = _run(subject, options, max_loss, min_accuracy, limits)
    failed = [name for name, outcome, _ in checks if outcome is False]
    ran = sum(outcome is not None for _, outcome, _ in checks)
    verdict = f"FAILED: {', '.join(failed)}" if failed else f"PASSED: all {ran} checks"
    document = _document(subject, options, checks, measured, blocks, not failed, time.monotonic() - began)

    def show() -> None:
        from bnsharp_cli.report.terminal import console, print_checks

        print_checks(console(), checks, verdict, not failed)

    results.deliver((document, show), json, output)
    raise typer.Exit(1 if failed else 0)


def _require_thresholds(max_loss: float | None, min_accuracy: float | None) -> None:
    from bnsharp_cli.errors import UsageError

    if max_loss is not None and math.isnan(max_loss):
        raise UsageError("--max-loss: expected a number, found nan.", "For example 0.1.")
    if min_accuracy is not None and not 0 <= min_accuracy <= 1:
        raise UsageError(f"--min-accuracy: expected a number in [0, 1], found {min_accuracy:g}.", "For example 0.9.")


def _limits(pairs: list[str] | None) -> dict[str, float]:
    from bnsharp_cli.errors import UsageError
    from bnsharp_cli.measurement.measures.registry import MEASURES

    limits = {}
    for pair in pairs or ():
        name, _, text = pair.partition("=")
        arguments.require(name, "--max", list(MEASURES))
        if name in limits:
            raise UsageError(f"--max: {name} has two limits.", "Give one.")
        try:
            limits[name] = float(text)
        except ValueError as error:
            raise UsageError(f"--max: expected MEASURE=NUMBER, found '{pair}'.", "For example bn=4.5.") from error
        if math.isnan(limits[name]):
            raise UsageError(f"--max: expected a number, found '{pair}'.", "For example bn=4.5.")
    return limits


def _run(
    subject: Subject,
    options: MeasureOptions,
    max_loss: float | None,
    min_accuracy: float | None,
    limits: dict[str, float],
) -> tuple[list[Check], dict[str, Measurement], Blocks]:
    from bnsharp_cli.errors import NotMeasurableError
    from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
    from bnsharp_cli.measurement.measures.registry import MEASURES
    from bnsharp_cli.workflows.subject import progress

    checks: list[Check] = [("load", True, f"{subject.architecture}, {subject.parameters:,} parameters, all finite")]
    if max_loss is not None:
        checks.append(("loss", subject.loss <= max_loss, f"{subject.loss:.6g}, at most {max_loss:g} allowed"))
    if min_accuracy is not None:
        if subject.accuracy is None:
            raise NotMeasurableError("--min-accuracy needs class labels.", "Leave it out for regression.")
        enough = subject.accuracy >= min_accuracy
        checks.append(("accuracy", enough, f"{subject.accuracy:.2%}, at least {min_accuracy:.2%} wanted"))
    progress(subject.request, "finding the scale-invariant blocks")
    blocks = find_blocks(subject.surface, subject.point, options.partition)
    measured = {}
    for name, allowed in limits.items():
        progress(subject.request, name)
        measured[name] = MEASURES[name](subject.surface, subject.point, blocks, options)
        checks.append(_threshold(measured[name], allowed))
    progress(subject.request, "invariance")
    checks.append(_invariance(subject, blocks, options))
    progress(subject.request, "")
    return checks, measured, blocks


def _threshold(measurement: Measurement, allowed: float) -> Check:
    from bnsharp_cli.errors import NotMeasurableError
    from bnsharp_cli.measurement.measures.measurement import Status

    below = measurement.status is Status.BELOW_RESOLUTION
    floor = measurement.uncertainty.rounding or 0.0
    if below and floor > allowed:
        raise NotMeasurableError(
            f"{measurement.name} is below its rounding floor {floor:.3g}, which is above the limit {allowed:g}.",
            "Use --precision float64 or a larger --delta.",
        )
    sentence = f"{measurement.value:.6g}, at most {allowed:g} allowed ({measurement.status.value})"
    return measurement.name, measurement.value <= allowed, sentence


def _invariance(subject: Subject, blocks: Blocks, options: MeasureOptions) -> Check:
    from bnsharp_cli.measurement.invariance.rescale_test import self_test

    if not blocks.invariant:
        return "invariance", None, "no scale-invariant weights, nothing to rescale"
    deviation, tolerance = self_test(subject.surface, subject.point, blocks, options)
    sentence = f"BN-Sharpness deviates by {deviation:.1e} on rescaled copies, {tolerance:.1e} allowed"
    return "invariance", deviation <= tolerance, sentence


def _document(
    subject: Subject,
    options: MeasureOptions,
    checks: list[Check],
    measured: dict[str, Measurement],
    blocks: Blocks,
    passed: bool,
    seconds: float,
) -> dict[str, Any]:
    from bnsharp_cli.report.json_document import blocks_entry

    cost = subject.surface.counter.cost
    outcomes = {True: "pass", False: "fail", None: "skip"}
    return {
        **subject.document("check"),
        "options": {**options.to_dict(), "bn": subject.request.bn, "loss": subject.criterion.name},
        "blocks": blocks_entry(blocks, subject.point),
        "measures": {name: measurement.to_dict() for name, measurement in measured.items()},
        "checks": [
            {"name": name, "outcome": outcomes[outcome], "sentence": sentence} for name, outcome, sentence in checks
        ],
        "verdict": {"passed": passed},
        "cost": {**vars(cost), "seconds": seconds},
    }
