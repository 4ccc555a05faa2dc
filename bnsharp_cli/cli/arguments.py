"""Options that several commands share, declared once."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import typer

from bnsharp_cli.errors import UsageError

if TYPE_CHECKING:
    from bnsharp_cli.measurement.blocks.blocks import Blocks
    from bnsharp_cli.workflows.subject import Subject

Record = TypeVar("Record")

_SEED_BITS = 62
_FORMS = "lenet-bn, vgg11-bn, torchvision:NAME, timm:NAME, package.module:factory or file.py:factory"
_LOSSES = "cross-entropy, mse, package.module:function or file.py:function"
_DATA = "digits, cifar10, cifar100, folder:DIR, npz:FILE or package.module:factory"

# Inputs have readable=False, which is: click does not look; what opens them says why it cannot.
Checkpoint = Annotated[
    Path, typer.Argument(help="Checkpoint file, or sample:NAME.", show_default=False, readable=False)
]
Checkpoints = Annotated[
    list[Path],
    typer.Argument(help="Checkpoint files, or sample:NAME; one result each.", show_default=False, readable=False),
]
Key = Annotated[
    str | None,
    typer.Option(
        metavar="PATH", help="Weights to take, if the file holds several: state_dict_ema, state_dict.student."
    ),
]
Arch = Annotated[str | None, typer.Option(help=f"Network, if the file does not say: {_FORMS}.")]
MeasuredData = Annotated[str | None, typer.Option(help=f"Data, if the file does not say: {_DATA}.")]
Loss = Annotated[
    str | None,
    typer.Option(help=f"Loss: {_LOSSES} [default: the checkpoint's, or cross-entropy].", show_default=False),
]
TrainedLoss = Annotated[str, typer.Option(help=f"Loss: {_LOSSES}.")]
Split = Annotated[str, typer.Option(help="Split of the data: train or test.")]
Samples = Annotated[
    str,
    typer.Option(metavar="INTEGER|all", help="Samples that are drawn; all streams the whole split if it must."),
]
BatchSize = Annotated[int, typer.Option(help="Samples in a batch; each batch is kept whole.", min=1)]
Seed = Annotated[int, typer.Option(help="Seed of the batches and of everything random.")]
ImageSize = Annotated[
    int | None,
    typer.Option(
        metavar="PIXELS", help="Resize images to this shorter side, keep the centre; 0 leaves their size alone."
    ),
]
Mean = Annotated[
    str | None, typer.Option(metavar="NUMBERS", help="Mean of each channel in [0, 1], with commas: 0.5,0.5,0.5.")
]
Std = Annotated[str | None, typer.Option(metavar="NUMBERS", help="Standard deviation of each channel, with commas.")]
BatchNorm = Annotated[
    str,
    typer.Option("--bn", help="Batch norm uses the statistics of the batch (the paper's loss) or running ones."),
]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu or cuda.")]
Precision = Annotated[str, typer.Option(help="Arithmetic of the network: auto, float32 or float64.")]
Partition = Annotated[
    str,
    typer.Option(help="Blocks: paper, or extended by every joint scale-invariance such as (gamma, beta)."),
]
Power = Annotated[float, typer.Option("--power", "-p", help="p of the p-mean, at least 1, or inf.")]
Search = Annotated[str, typer.Option(help="Search for the sharpest direction: power, gradient, ascent or paper.")]
Iterations = Annotated[
    int | None,
    typer.Option(
        help="Steps of the search [default: power at most 2, or 100 with --restarts; ascent 10, paper 5].",
        show_default=False,
    ),
]
Restarts = Annotated[int, typer.Option(help="Random starts of the search besides the gradient.")]
StepSize = Annotated[float, typer.Option(help="Step of --search paper.")]
SearchNodes = Annotated[int, typer.Option(help="Quadrature nodes of the search, even; more for large radii.")]
Rtol = Annotated[float, typer.Option(help="Wanted relative error of the quadrature.")]
SampleUncertainty = Annotated[
    str,
    typer.Option(
        "--uncertainty", help="What more samples would change: cheap, at no cost, or full, from parts of the batches."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of the table.")]
Output = Annotated[Path | None, typer.Option(help="Write the JSON document to this file.")]
Plot = Annotated[Path | None, typer.Option(help="Write a picture to this file (.png, .svg or .pdf).")]

TrainedArch = Annotated[str, typer.Option(help=f"Network: {_FORMS}.")]
ArchOption = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Keyword of the network's constructor; repeatable."),
]
Data = Annotated[str, typer.Option(help=f"Data: {_DATA}.")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of torchvision's data sets.", readable=False)]
Download = Annotated[bool, typer.Option("--download", help="Let torchvision download missing data.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No notices and no progress.")]


def chosen(record: type[Record], given: Mapping[str, Any], **changes: Any) -> Record:
    """A record from the arguments of a command that have its fields' names, with some changed."""
    from bnsharp_cli.measurement.measures.options import MeasureOptions, option_names

    if record is MeasureOptions:
        flat = {name: given[name] for name in option_names() if name in given}
        return cast(Record, MeasureOptions.from_flat(**{**flat, **changes}))
    names = {field.name for field in fields(cast(Any, record))}
    return record(**{**{name: value for name, value in given.items() if name in names}, **changes})


def sample_count(given: str) -> int | None:
    """The number of samples that ``--samples`` asks for; None for all.

    Raises:
        UsageError: neither a positive number nor ``all``.
    """
    if given == "all":
        return None
    if not given.isdecimal() or int(given) < 1:
        raise UsageError(f"--samples: expected a positive number or all, found '{given}'.", "For example 2048.")
    return int(given)


def require(value: str, name: str, allowed: Sequence[str]) -> None:
    """Refuse a word that is none of the allowed ones.

    Raises:
        UsageError: with the allowed ones.
    """
    if value not in allowed:
        raise UsageError(f"{name}: expected {' or '.join(allowed)}, found '{value}'.", "See --help.")


def parse_options(pairs: Sequence[str] | None) -> dict[str, object]:
    """``KEY=VALUE`` pairs as a dictionary; values are Python literals, or else strings.

    Raises:
        UsageError: a pair without an equals sign.
    """
    options: dict[str, object] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--arch-option: expected KEY=VALUE, found '{pair}'.", "For example classes=100.")
        try:
            options[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[key] = value
    return options


def parse_numbers(given: str | None, name: str) -> tuple[float, ...] | None:
    """The numbers of an option that takes several, with commas between; None if it was not given.

    Raises:
        UsageError: something else.
    """
    if given is None:
        return None
    try:
        return tuple(float(number) for number in given.split(","))
    except ValueError as error:
        raise UsageError(f"{name}: expected numbers, found '{given}'.", "For example 0.5,0.5,0.5.") from error


def require_all(*, split: str, bn: str, seed: int) -> None:
    """Refuse what cannot be meant by the options that every measuring command has."""
    require(split, "--split", ("train", "test"))
    require(bn, "--bn", ("batch", "running"))
    require_seed(seed)


def require_seed(seed: int) -> None:
    """Refuse a seed that a generator of 64 bits cannot take, together with the few that are counted on from it.

    Raises:
        UsageError: of more than 62 bits.
    """
    if seed.bit_length() > _SEED_BITS:
        raise UsageError(f"--seed: expected a number of at most {_SEED_BITS} bits, found {seed}.", "For example 0.")


def require_power(measures: Iterable[str], power: float, name: str) -> None:
    """Refuse δ-L^p for p = ∞, which its mean over a ball does not have.

    Raises:
        UsageError: it is among ``measures``, which were chosen by the option ``name``.
    """
    if "delta-lp" in measures and math.isinf(power):
        raise UsageError(f"{name} delta-lp needs a finite --power.", "For p = inf name the other measures.")


def describe(subject: Subject) -> list[str]:
    """What was measured, on what: so that a wrong architecture or preprocessing shows."""
    request, batches, surface = subject.request, subject.batches, subject.surface
    accuracy = "" if subject.accuracy is None else f", accuracy {subject.accuracy:.2%}"
    dtype = "float64" if request.precision == "float64" else "float32"
    guess = " (a guess)" if subject.identity.source == "guess" else ""
    return [
        f"{subject.checkpoint.path.name}: {subject.architecture}{guess}, {subject.parameters:,} parameters, "
        f"sha256 {subject.checkpoint.sha256[:12]}…",
        f"{subject.criterion.name} {subject.loss:.6g}{accuracy} on {batches.samples:,} samples of {subject.data} "
        f"({request.split}), batches of {batches.batch_size}, seed {request.seed}",
        f"images: {subject.preprocessing}",
        f"{request.bn} statistics, {dtype} on {surface.device}",
    ]


def describe_blocks(blocks: Blocks, subject: Subject) -> str:
    """How many blocks were found, and which partition they are of."""
    joint = f", {len(blocks.joint)} of them joint" if blocks.joint else ""
    return (
        f"{blocks.invariant:,} scale-invariant blocks{joint} (partition {blocks.partition}), "
        f"{blocks.free_parameters(subject.point):,} free parameters"
    )
