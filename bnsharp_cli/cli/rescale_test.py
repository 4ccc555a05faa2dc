"""``bnsharp rescale-test``: does the number survive a rescaling that changes nothing?"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnsharp_cli.cli import arguments, results
from bnsharp_cli.errors import spelt
from bnsharp_cli.workflows import torchrun as processes

if TYPE_CHECKING:
    from torch import Tensor

    from bnsharp_cli.measurement.blocks.blocks import Blocks
    from bnsharp_cli.measurement.invariance.copies import Copy
    from bnsharp_cli.measurement.invariance.invariance_report import InvarianceReport
    from bnsharp_cli.measurement.measures.options import MeasureOptions
    from bnsharp_cli.workflows.subject import Subject

EXAMPLE = "Example: bnsharp rescale-test --plot sharpness.png (measures the embedded sample network)"
_BALL_SAMPLES = 16


def rescale_test(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            help="Checkpoint file, or sample:NAME; the embedded sample if left out.", show_default=False, readable=False
        ),
    ] = None,
    key: arguments.Key = None,
    arch: arguments.Arch = None,
    arch_option: arguments.ArchOption = None,
    data: arguments.MeasuredData = None,
    split: arguments.Split = "train",
    data_root: arguments.DataRoot = None,
    download: arguments.Download = False,
    loss: arguments.Loss = None,
    samples: arguments.Samples = "1024",
    batch_size: arguments.BatchSize = 256,
    seed: arguments.Seed = 0,
    image_size: arguments.ImageSize = None,
    mean: arguments.Mean = None,
    std: arguments.Std = None,
    bn: arguments.BatchNorm = "batch",
    delta: Annotated[float, typer.Option(help="Radius.")] = 1e-3,
    power: arguments.Power = 2.0,
    search: arguments.Search = "power",
    iterations: arguments.Iterations = None,
    restarts: arguments.Restarts = 0,
    step_size: arguments.StepSize = 1.0,
    search_nodes: arguments.SearchNodes = 2,
    rtol: arguments.Rtol = 1e-3,
    epsilon: Annotated[
        str, typer.Option(help="Measure the copies with exact epsilon per channel, or as stored.")
    ] = "exact",
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Allowed relative deviation [default: the rounding floor, at least 1e-9].",
            show_default=False,
        ),
    ] = None,
    save_copies: Annotated[Path | None, typer.Option(help="Write the copies to this folder.")] = None,
    precision: arguments.Precision = "float64",
    device: arguments.Device = "auto",
    json: arguments.Json = False,
    output: arguments.Output = None,
    plot: arguments.Plot = None,
    quiet: arguments.Quiet = False,
) -> None:
    """Rescale the weights in ways that change nothing, and see which sharpness stands still.

    Exit 0 if BN-Sharpness is invariant within the tolerance, 1 if not.
    """
    given, began = dict(locals()), time.monotonic()
    from bnsharp_cli.errors import UsageError
    from bnsharp_cli.measurement.measures.options import MeasureOptions
    from bnsharp_cli.workflows.subject import Request, open_subject

    arguments.require_all(split=split, bn=bn, seed=seed)
    arguments.require(epsilon, "--epsilon", ("exact", "stored"))
    if tolerance is not None and not tolerance > 0:
        raise UsageError(f"--tolerance: expected a positive number, found {tolerance:g}.", "See --help.")
    options = arguments.chosen(MeasureOptions, given, ball_samples=_BALL_SAMPLES)
    results.require_writable(output, plot, save_copies)
    subject = open_subject(arguments.chosen(Request, given, samples=arguments.sample_count(samples)))
    blocks, report = _test(subject, options, epsilon == "stored", tolerance)
    if save_copies is not None and processes.is_first():
        _save(save_copies, subject, report, epsilon == "stored")
    if plot is not None and processes.is_first():
        from bnsharp_cli.report.plots import plot_invariance

        plot_invariance(plot, report, f"{subject.checkpoint.path.name}: one function, rescaled")
    document = _document(subject, blocks, options, report, epsilon, time.monotonic() - began)
    results.deliver((document, lambda: _print(subject, blocks, report)), json, output)
    raise typer.Exit(0 if report.invariant else 1)


def _test(
    subject: Subject, options: MeasureOptions, stored: bool, tolerance: float | None
) -> tuple[Blocks, InvarianceReport]:
    from bnsharp_cli.measurement.blocks.find_blocks import find_partitions
    from bnsharp_cli.measurement.invariance.rescale_test import measure_copies
    from bnsharp_cli.workflows.subject import progress

    progress(subject.request, "finding the scale-invariant blocks")
    blocks, extended = find_partitions(subject.surface, subject.point)
    report = measure_copies(
        subject.surface,
        subject.point,
        blocks,
        extended,
        options,
        tolerance=tolerance,
        stored_epsilon=stored,
        progress=lambda name: progress(subject.request, f"measuring {name}"),
    )
    progress(subject.request, "")
    return blocks, report


def _document(
    subject: Subject,
    blocks: Blocks,
    options: MeasureOptions,
    report: InvarianceReport,
    epsilon: str,
    seconds: float,
) -> dict[str, Any]:
    from bnsharp_cli.report.json import blocks_entry

    cost = subject.surface.counter.cost
    return {
        **subject.document("rescale-test"),
        "options": {**options.to_dict(), "bn": subject.request.bn, "loss": subject.criterion.name, "epsilon": epsilon},
        "blocks": blocks_entry(blocks, subject.point),
        "measures": {name: measured.to_dict() for name, measured in report.reference.measures.items()},
        "copies": [copy.to_dict() for copy in report.copies],
        "gamma_beta": None if report.gamma_beta is None else report.gamma_beta.to_dict(),
        "verdict": {"invariant": report.invariant, "sentence": spelt(report.marked_verdict, results.as_option)},
        "cost": {**vars(cost), "seconds": seconds},
    }


def _print(subject: Subject, blocks: Blocks, report: InvarianceReport) -> None:
    from bnsharp_cli.report.terminal import console, print_invariance, print_subject

    out = console()
    print_subject(out, [*arguments.describe(subject), arguments.describe_blocks(blocks, subject)])
    print_invariance(out, report)


def _save(folder: Path, subject: Subject, report: InvarianceReport, stored: bool) -> None:
    """Write every copy: with ε per channel under our own key, or plain with ε as stored, labelled either way."""
    from bnsharp_cli.errors import UsageError
    from bnsharp_cli.workflows.subject import notice

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"Cannot write to {folder}: {error.strerror}.", "Name another folder.") from error
    for copy in report.kept:
        ending = ".stored-epsilon.pt" if stored else ".pt"
        _save_copy(folder / (re.sub(r"[^A-Za-z0-9.-]+", "-", copy.name).strip("-") + ending), subject, copy, stored)
    notice(subject.request, f"wrote {len(report.kept)} copies to {folder}")


def _save_copy(path: Path, subject: Subject, copy: Copy, stored: bool) -> None:
    from bnsharp_cli.io.checkpoints.checkpoint import save_checkpoint

    metadata = subject.checkpoint.metadata
    save_checkpoint(
        path,
        _state(subject, copy),
        architecture=subject.architecture,
        architecture_options=dict(subject.identity.options),
        preprocessing=subject.preprocessing.to_dict(),
        **({"data": metadata["data"]} if "data" in metadata else {}),
        copy={
            "of_sha256": subject.checkpoint.sha256,
            "transformation": copy.name,
            "epsilon": "as stored: the loss differs" if stored else "per channel, under norm_epsilon",
        },
        **({} if stored else {"norm_epsilon": list(copy.norm_epsilon)}),
    )


def _state(subject: Subject, copy: Copy) -> dict[str, Tensor]:
    """The copy's tensors under every name that the module has for them: tied weights have several."""
    module = subject.module
    own = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    first: dict[int, str] = {}
    for name, tensor in own:
        first.setdefault(id(tensor), name)
    changed = {**copy.stored.buffers, **copy.point}
    aliases = {name: changed[first[id(tensor)]] for name, tensor in own if first[id(tensor)] in changed}
    return {name: aliases.get(name, tensor) for name, tensor in module.state_dict().items()}
