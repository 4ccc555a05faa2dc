"""``bnsharp measure``: how sharp is this minimum?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnsharp_cli.cli import arguments, results
from bnsharp_cli.errors import UsageError
from bnsharp_cli.workflows import torchrun as processes
from bnsharp_cli.workflows.shard import shard_of

if TYPE_CHECKING:
    from bnsharp_cli.measurement.blocks.blocks import Blocks
    from bnsharp_cli.measurement.measures.measurement import Measurement
    from bnsharp_cli.measurement.measures.options import MeasureOptions
    from bnsharp_cli.workflows.subject import Request, Subject

EXAMPLE = "Example: bnsharp measure model.pt --arch torchvision:resnet18 --data folder:images --delta 1e-3 --delta 1e-2"
_CURVE_POINTS = 41
_ALL = "all"


def measure(
    checkpoint: arguments.Checkpoints,
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
    which: Annotated[
        list[str] | None,
        typer.Option(
            "--measure",
            help="bn, delta-lp, delta-linf, keskar or all; repeatable [default: bn].",
            show_default=False,
        ),
    ] = None,
    delta: Annotated[
        list[float] | None,
        typer.Option(help="Radius; repeatable for a profile [default: 0.001].", show_default=False),
    ] = None,
    power: arguments.Power = 2.0,
    search: arguments.Search = "power",
    iterations: arguments.Iterations = None,
    restarts: arguments.Restarts = 0,
    step_size: arguments.StepSize = 1.0,
    search_nodes: arguments.SearchNodes = 2,
    partition: arguments.Partition = "paper",
    rtol: arguments.Rtol = 1e-3,
    uncertainty: arguments.SampleUncertainty = "cheap",
    ball_samples: Annotated[int, typer.Option(help="Monte-Carlo points of delta-lp.")] = 32,
    precision: arguments.Precision = "auto",
    device: arguments.Device = "auto",
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Measure only every N-th of the sorted checkpoints, from the I-th on."),
    ] = None,
    json: arguments.Json = False,
    output: arguments.Output = None,
    plot: arguments.Plot = None,
    quiet: arguments.Quiet = False,
) -> None:
    """Measure the sharpness of the minimum that a checkpoint sits in.

    Several checkpoints give one result after the other, as JSON one document a line; what fails does not lose the
    others.
    """
    given = dict(locals())
    from bnsharp_cli.measurement.measures.options import MeasureOptions
    from bnsharp_cli.measurement.measures.registry import MEASURES
    from bnsharp_cli.workflows.subject import Request

    arguments.require_all(split=split, bn=bn, seed=seed)
    names = _names(which, list(MEASURES))
    arguments.require_power(names, power, "--measure")
    deltas = delta or [1e-3]
    options = arguments.chosen(MeasureOptions, given, delta=deltas[0])
    runs = [replace(options, delta=value) for value in deltas]
    several = shard is not None or len(checkpoint) > 1
    if several and plot is not None:
        raise UsageError("--plot draws one checkpoint.", "Name one, without --shard.")
    chosen = checkpoint if shard is None else shard_of(checkpoint, shard)
    results.require_writable(output, plot)

    count = arguments.sample_count(samples)

    def result(path: Path) -> results.Result:
        return _result(arguments.chosen(Request, given, checkpoint=path, samples=count), names, runs, plot)

    if not several:
        results.deliver(result(chosen[0]), json, output)
        return
    raise typer.Exit(results.deliver_each(chosen, result, json, output))


def _result(
    request: Request, names: Sequence[str], runs: Sequence[MeasureOptions], plot: Path | None
) -> results.Result:
    from bnsharp_cli.workflows.subject import open_subject

    began = time.monotonic()
    subject = open_subject(request)
    blocks, measured = _measure(subject, names, runs)
    if plot is not None:
        _plot(plot, subject, blocks, measured, runs[0])
    document = _document(subject, blocks, runs[0], measured, time.monotonic() - began)
    return document, lambda: _print(subject, blocks, measured)


def _names(which: list[str] | None, known: list[str]) -> list[str]:
    names = which or ["bn"]
    for name in names:
        arguments.require(name, "--measure", [*known, _ALL])
    return known if _ALL in names else list(dict.fromkeys(names))


def _measure(
    subject: Subject, names: Sequence[str], runs: Sequence[MeasureOptions]
) -> tuple[Blocks, dict[str, list[Measurement]]]:
    from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
    from bnsharp_cli.measurement.measures.registry import MEASURES
    from bnsharp_cli.workflows.subject import progress

    progress(subject.request, "finding the scale-invariant blocks")
    blocks = find_blocks(subject.surface, subject.point, runs[0].partition)
    measured: dict[str, list[Measurement]] = {}
    for name in names:
        for options in runs:
            progress(subject.request, f"{name}, δ = {options.delta:g}")
            measured.setdefault(name, []).append(MEASURES[name](subject.surface, subject.point, blocks, options))
    progress(subject.request, "")
    return blocks, measured


def _document(
    subject: Subject,
    blocks: Blocks,
    options: MeasureOptions,
    measured: dict[str, list[Measurement]],
    seconds: float,
) -> dict[str, Any]:
    from bnsharp_cli.report.json_document import blocks_entry

    measures = {}
    for name, runs in measured.items():
        measures[name] = runs[0].to_dict()
        if len(runs) > 1:
            measures[name]["profile"] = [run.to_dict() for run in runs]
    cost = subject.surface.counter.cost
    return {
        **subject.document("measure"),
        "options": {**options.to_dict(), "bn": subject.request.bn, "loss": subject.criterion.name},
        "blocks": blocks_entry(blocks, subject.point),
        "measures": measures,
        "cost": {**vars(cost), "seconds": seconds},
    }


def _print(subject: Subject, blocks: Blocks, measured: dict[str, list[Measurement]]) -> None:
    from bnsharp_cli.report.terminal import console, print_measurements, print_subject

    out = console()
    print_subject(out, [*arguments.describe(subject), arguments.describe_blocks(blocks, subject)])
    every_sample = subject.request.samples is None
    print_measurements(out, [run for runs in measured.values() for run in runs], every_sample)


def _plot(
    path: Path,
    subject: Subject,
    blocks: Blocks,
    measured: dict[str, list[Measurement]],
    options: MeasureOptions,
) -> None:
    """L along the sharpest direction and along that of δ-L∞; what was not measured is measured for the picture."""
    from bnsharp_cli.core.point import Point, add_scaled
    from bnsharp_cli.measurement.measures.registry import MEASURES
    from bnsharp_cli.report.plots import plot_segments

    found = {
        name: measured[name][0] if name in measured else MEASURES[name](subject.surface, subject.point, blocks, options)
        for name in ("bn", "delta-linf")
    }
    steps = [options.delta * (2 * index / (_CURVE_POINTS - 1) - 1) for index in range(_CURVE_POINTS)]

    def curve(direction: Point | None) -> list[tuple[float, float]]:
        assert direction is not None
        values = subject.surface.values([add_scaled(subject.point, direction, step) for step in steps])
        return [(step, value - subject.loss) for step, value in zip(steps, values, strict=True)]

    sharpest, ball = curve(found["bn"].direction), curve(found["delta-linf"].direction)
    if not processes.is_first():
        return
    plot_segments(
        path,
        sharpest,
        found["bn"].segment,
        ball,
        options.delta,
        ("along the sharpest direction of BN-Sharpness", "along the direction of δ-L∞"),
        subject.checkpoint.path.name,
    )
