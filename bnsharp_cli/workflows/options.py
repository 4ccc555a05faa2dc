"""Options that workflows and commands take besides those of the measures and of training; nothing heavy is imported.

>>> Data(samples=512).batch_size
256
>>> Data(batch_size=0)
Traceback (most recent call last):
bnsharp_cli.errors.UsageError: batch_size: expected at least 1, found 0. For example 256.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.io.data.forms import DATA_FORMS, LOSS_FORMS
from bnsharp_cli.io.networks.forms import ARCHITECTURE_FORMS
from bnsharp_cli.measurement.measures.options import BatchNormPolicy
from bnsharp_cli.measurement.measures.shared_options import seed_option
from bnsharp_cli.option_records import OptionRecord, bracketed, never, option, same_option
from bnsharp_cli.workflows.named_inputs import DATA_NAMED, LOSS_NAMED, NETWORK_NAMED

RESCALED_DATA: Mapping[str, Any] = MappingProxyType({"samples": 1024})
"""What the invariance test takes unless it is given, where that differs from the default."""

_DEVICES = ("auto", "cpu", "cuda")


def read_pairs(pairs: Sequence[str]) -> Mapping[str, object]:
    """``KEY=VALUE`` pairs as a mapping; values are Python literals, or else texts.

    >>> dict(read_pairs(["classes=100", "norm=batch"]))
    {'classes': 100, 'norm': 'batch'}

    Raises:
        UsageError: a pair without an equals sign.
    """
    options: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError.of("arch_option", "KEY=VALUE", pair, "For example classes=100.")
        try:
            options[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[key] = value
    return options


def read_samples(text: str) -> int | None:
    """The number of samples; None for ``all``.

    Raises:
        UsageError: neither a positive number nor ``all``.
    """
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError.of("samples", "a positive number or all", text, "For example 2048.")
    return int(text)


def read_mean(text: str) -> tuple[float, ...]:
    """The mean of each channel, with commas between."""
    return _numbers("mean", text)


def read_deviation(text: str) -> tuple[float, ...]:
    """The standard deviation of each channel, with commas between."""
    return _numbers("std", text)


def _numbers(argument: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise UsageError.of(argument, "numbers", text, "For example 0.5,0.5,0.5.") from error


@dataclass(frozen=True)
class CheckpointSource(OptionRecord):
    """The weights of a checkpoint to take, and the network that they belong to.

    Attributes:
        key: path of the weights inside the file; None where it holds one set.
        arch: the network; None for what the file says, or the only known one that fits.
        arch_option: arguments of its constructor; None for none.
    """

    key: str | None = option(
        None,
        "Weights to take, if the file holds several: state_dict_ema, state_dict.student.",
        metavar="PATH",
    )
    arch: str | None = option(None, f"Network, if the file does not say: {ARCHITECTURE_FORMS}.", **NETWORK_NAMED)
    arch_option: Mapping[str, object] | None = option(
        None,
        "Keyword of the network's constructor; repeatable.",
        metavar="KEY=VALUE",
        read=read_pairs,
        repeatable=True,
        harmless=never,
    )


@dataclass(frozen=True)
class Data(OptionRecord):
    """The loss that is measured: the data, the fixed list of batches drawn from it, and what is computed on them.

    Attributes:
        data: the data set; None for what the checkpoint says.
        split: which of its splits is used.
        test_data: data that was not trained on, for the generalization gap; None for none.
        classes: ``folder`` takes class i to be the i-th folder, however many there are and whatever is in them;
            ``alphabetical`` orders folders with numbers as names as texts; None checks that the folders are classes.
        data_root: folder of torchvision's data sets; None for torchvision's own.
        download: whether torchvision may download what is missing.
        loss: the loss of a batch; None for the checkpoint's, or cross entropy.
        output_key: which of several outputs of the network the loss takes; None for the only one, logits or out.
        samples: how many are drawn; None for the whole split, which is streamed where it must be.
        batch_size: samples in a batch.
        context: of text, tokens that the network sees at once; None for 128, or for as many as it takes if those are
            fewer.
        batch_tokens: of text, tokens in a batch at most, so that long samples come in smaller batches.
        seed: the seed of the draw.
        image_size: pixels of the shorter side; 0 for images of their own size, None for what the checkpoint says.
        resize: pixels of the shorter side, where the centre that is kept has another size.
        crop: pixels of the centre that is kept; None for all.
        mean: the mean of each channel of pixels in [0, 1]; None for what the checkpoint says.
        std: standard deviation of each channel; None for what the checkpoint says.
        bn: whether batch norm uses the statistics of the batch or running ones.
    """

    data: str | None = option(None, f"Data, if the file does not say: {DATA_FORMS}.", **DATA_NAMED)
    split: Literal["train", "test"] = option("train", "Split of the data.")
    test_data: str | None = option(
        None, "Data whose test split shows the generalization gap; all of it if undivided.", **DATA_NAMED
    )
    classes: Literal["folder", "alphabetical"] | None = option(
        None,
        "Of folder:DIR: class i is the i-th folder, however many there are; or order numbers as texts.",
        shown_default="as many folders as classes; numbers in their order",
    )
    data_root: Path | None = option(None, "Folder of torchvision's data sets.")
    download: bool = option(False, "Let torchvision download missing data.", harmless=never)
    loss: str | None = option(
        None,
        f"Loss: {LOSS_FORMS}.",
        shown_default="the checkpoint's, or cross-entropy",
        **LOSS_NAMED,
    )
    output_key: str | None = option(
        None, "Output that the loss takes, if the network gives several: logits, 0.", metavar="KEY"
    )
    samples: int | None = option(
        2048,
        "Samples that are drawn; all streams the whole split if it must.",
        metavar="INTEGER|all",
        read=read_samples,
        expected="a positive number or all",
        accept=lambda samples: samples >= 1,
        example="For example 2048.",
    )
    batch_size: int = option(
        256,
        "Samples in a batch; each batch is kept whole.",
        minimum=1,
    )
    context: int | None = option(
        None,
        "Of text: tokens that the network sees at once.",
        minimum=1,
        shown_default="128, or what the network takes",
    )
    batch_tokens: int = option(1024, "Of text: tokens in a batch at most; then it may have fewer samples.", minimum=1)
    seed: int = seed_option()
    image_size: int | None = option(
        None, "Resize images to this shorter side, keep the centre; 0 leaves their size alone.", metavar="PIXELS"
    )
    resize: int | None = option(
        None, f"Resize images to this shorter side, of which {named('crop')} keeps the centre.", metavar="PIXELS"
    )
    crop: int | None = option(None, "Keep the centre of this size.", metavar="PIXELS")
    mean: tuple[float, ...] | None = option(
        None, "Mean of each channel in [0, 1], with commas: 0.5,0.5,0.5.", metavar="NUMBERS", read=read_mean
    )
    std: tuple[float, ...] | None = option(
        None, "Standard deviation of each channel, with commas.", metavar="NUMBERS", read=read_deviation
    )
    bn: BatchNormPolicy = option(
        "batch", "Batch norm uses the statistics of the batch (the paper's loss) or running ones."
    )


@dataclass(frozen=True)
class Computing(OptionRecord):
    """The device to compute on.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
    """

    device: str = option(
        "auto",
        "Where to compute: auto, cpu or cuda.",
        metavar=bracketed((*_DEVICES, "cuda:N")),
        complete=lambda _: _DEVICES,
    )


@dataclass(frozen=True)
class Messages(OptionRecord):
    """What a command says beside its result.

    Attributes:
        quiet: neither notices nor progress.
    """

    quiet: bool = option(False, "No notices and no progress.")


@dataclass(frozen=True)
class Output(OptionRecord):
    """What a command prints and writes.

    Attributes:
        json: print the JSON document instead of tables.
        output: file of the document.
        quiet: neither notices nor progress.
    """

    json: bool = option(False, "Print one JSON document instead of the table.")
    output: Path | None = option(None, "Write the JSON document to this file.", harmless=never)
    quiet: bool = same_option(Messages, "quiet")


@dataclass(frozen=True)
class Picture(OptionRecord):
    """The picture of a result.

    Attributes:
        plot: its file.
    """

    plot: Path | None = option(None, "Write a picture to this file (.png, .svg or .pdf).", harmless=never)


@dataclass(frozen=True)
class Sharding(OptionRecord):
    """A share of many checkpoints.

    Attributes:
        shard: ``i/n`` for every n-th of the sorted checkpoints, from the i-th on; None for all.
    """

    shard: str | None = option(
        None, "Measure only every N-th of the sorted checkpoints, from the I-th on.", metavar="I/N"
    )


@dataclass(frozen=True)
class RescaledFiles(OptionRecord):
    """What the invariance test writes.

    Attributes:
        save_copies: folder of the copies; None for none.
        plot: file of a picture; None for none.
    """

    save_copies: Path | None = option(None, "Write the copies to this folder.", harmless=never)
    plot: Path | None = same_option(Picture, "plot")
