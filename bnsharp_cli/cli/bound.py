"""``bnsharp bound``: Theorem 3.3, from BN-Sharpness to a bound on the loss of new data."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnsharp_cli.cli import arguments, results
from bnsharp_cli.errors import UsageError

if TYPE_CHECKING:
    from bnsharp_cli.measurement.blocks.blocks import Blocks
    from bnsharp_cli.measurement.bound.options import BoundOptions
    from bnsharp_cli.measurement.bound.pac_bayes import PacBayesBound
    from bnsharp_cli.measurement.measures.options import MeasureOptions
    from bnsharp_cli.workflows.subject import Request, Subject

EXAMPLE = "Example: bnsharp bound model.pt --kl 50 --confidence 0.95 --samples all"
_LOSS = "cross-entropy"


def bound(
    checkpoint: arguments.Checkpoint,
    kl: Annotated[
        float | None,
        typer.Option(
            help="KL divergence, in nats, of your perturbed network from a prior chosen without the data; infinite "
            "on a segment against any density, so it must be supplied.  [required]",
            show_default=False,
        ),
    ] = None,
    confidence: Annotated[float, typer.Option(help="Probability that the bound holds, in (0, 1).")] = 0.95,
    loss_range: Annotated[
        str,
        typer.Option(help="Loss in [0, 1] that is bounded: clipped (cross entropy), or zero-one (wrong answers)."),
    ] = "clipped",
    clip: Annotated[float, typer.Option(help="Cross entropy at which the clipped loss is 1.")] = 11.5,
    segment_samples: Annotated[int, typer.Option(help="Points at which zero-one is sampled on the segment.")] = 64,
    key: arguments.Key = None,
    arch: arguments.Arch = None,
    arch_option: arguments.ArchOption = None,
    data: arguments.MeasuredData = None,
    split: arguments.Split = "train",
    data_root: arguments.DataRoot = None,
    download: arguments.Download = False,
    samples: arguments.Samples = "2048",
    batch_size: arguments.BatchSize = 256,
    seed: arguments.Seed = 0,
    image_size: arguments.ImageSize = None,
    mean: arguments.Mean = None,
    std: arguments.Std = None,
    bn: arguments.BatchNorm = "running",
    delta: Annotated[float, typer.Option(help="Radius.")] = 1e-3,
    power: arguments.Power = 2.0,
    search: arguments.Search = "power",
    iterations: arguments.Iterations = None,
    restarts: arguments.Restarts = 0,
    step_size: arguments.StepSize = 1.0,
    search_nodes: arguments.SearchNodes = 2,
    partition: arguments.Partition = "paper",
    rtol: arguments.Rtol = 1e-3,
    precision: arguments.Precision = "auto",
    device: arguments.Device = "auto",
    json: arguments.Json = False,
    output: arguments.Output = None,
    quiet: arguments.Quiet = False,
) -> None:
    """Bound the loss on new data by PAC-Bayes and BN-Sharpness (Theorem 3.3), its terms shown separately.

    The factor of BN-Sharpness is the corrected one. Batch norm uses running statistics unless --bn batch is given,
    since the theorem counts independent terms, and batch statistics make one of each batch.
    """
    given = dict(locals())
    from bnsharp_cli.measurement.bound.options import WHY_KL, BoundOptions
    from bnsharp_cli.measurement.measures.options import MeasureOptions
    from bnsharp_cli.workflows.subject import Request

    arguments.require_all(split=split, bn=bn, seed=seed)
    if kl is None:
        raise UsageError("--kl is missing: KL(θ + u ‖ prior), in nats.", WHY_KL)
    wanted = arguments.chosen(BoundOptions, given)
    options = arguments.chosen(MeasureOptions, given)
    request = arguments.chosen(Request, given, loss=_LOSS, samples=arguments.sample_count(samples))
    results.require_writable(output)
    results.deliver(_result(request, options, wanted), json, output)


def _result(request: Request, options: MeasureOptions, wanted: BoundOptions) -> results.Result:
    from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
    from bnsharp_cli.measurement.bound.pac_bayes import pac_bayes_bound
    from bnsharp_cli.workflows.subject import open_subject, progress

    began = time.monotonic()
    subject = open_subject(request)
    progress(request, "finding the scale-invariant blocks")
    blocks = find_blocks(subject.surface, subject.point, options.partition)
    progress(request, f"BN-Sharpness of the clipped loss, δ = {options.delta:g}")
    found = pac_bayes_bound(subject.surface, subject.point, blocks, options, wanted)
    progress(request, "")
    document = _document(subject, blocks, options, found, time.monotonic() - began)
    return document, lambda: _print(subject, blocks, found)


def _document(
    subject: Subject, blocks: Blocks, options: MeasureOptions, found: PacBayesBound, seconds: float
) -> dict[str, Any]:
    from bnsharp_cli.report.json import blocks_entry

    return {
        **subject.document("bound"),
        "options": {**options.to_dict(), **vars(found.options), "bn": subject.request.bn, "loss": _LOSS},
        "blocks": blocks_entry(blocks, subject.point),
        "measures": {found.sharpness.name: found.sharpness.to_dict()},
        "bound": found.to_dict(),
        "cost": {**vars(subject.surface.counter.cost), "seconds": seconds},
    }


def _print(subject: Subject, blocks: Blocks, found: PacBayesBound) -> None:
    from bnsharp_cli.report.bound import print_bound
    from bnsharp_cli.report.terminal import console, print_subject

    out = console()
    print_subject(out, [*arguments.describe(subject), arguments.describe_blocks(blocks, subject)])
    print_bound(out, found)
