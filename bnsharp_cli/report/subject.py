"""What was measured, on what, as a document says: so that a wrong architecture or preprocessing shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import counted, shown
from bnsharp_cli.io.checkpoints.samples import checkpoint_title
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.io.networks.network_identity import GUESS
from bnsharp_cli.measurement.blocks.blocks import NOT_SEARCHED, PROBED_PARTITIONS
from bnsharp_cli.measurement.surface.parameter_choice import ParameterChoice
from bnsharp_cli.report.terminal import SpellingConsole

_DIGITS = 12
_MOST_DIGITS = 7


def subject_lines(document: Mapping[str, Any]) -> list[str]:
    """A line for each fact about the network, the data and the blocks of a document."""
    checkpoint, data, options = document["checkpoint"], document["data"], document["options"]
    blocks, environment = document["blocks"], document["environment"]
    accuracy = "" if document["accuracy"] is None else f", accuracy {document['accuracy']:.2%}"
    guess = " (a guess)" if checkpoint["architecture_source"] == GUESS else ""
    return [
        f"{shown(checkpoint_title(Path(checkpoint['path'])))}: {shown(checkpoint['architecture'])}{guess}, "
        f"{checkpoint['parameters']:,} parameters, sha256 {checkpoint['sha256'][:_DIGITS]}…",
        f"{shown(options['loss'])} {document['loss']:.6g}{accuracy} on {counted(data['samples'], 'sample')} of "
        f"{shown(data['spec'])} ({data['split']}), batches of {data['batch_size']}, seed {data['seed']}",
        *_on_test_data(document),
        *([document["warning"]] if document["warning"] else []),
        inputs_line(data),
        f"{options['bn']} statistics, {environment['dtype']} on {environment['device']}",
        _partition(blocks),
        *_choice(document["parameters"]),
    ]


def inputs_line(data: Mapping[str, Any]) -> str:
    """What the network got of the data: what was done to images, or how a text was cut.

    >>> inputs_line({"text": {"context": 64, "unit": "window", "tokens": [640, 600]}})
    'text: windows of up to 64 tokens, 1,240 predicted'
    >>> inputs_line({"text": {"context": 64, "unit": "text", "tokens": []}})
    'text: texts of up to 64 tokens'
    """
    text = data.get("text")
    if text is None:
        return f"images: {Preprocessing.from_dict(data['preprocessing'])}"
    predicted = f", {sum(text['tokens']):,} predicted" if text["tokens"] else ""
    return f"text: {text['unit']}s of up to {text['context']:,} tokens{predicted}"


def _on_test_data(document: Mapping[str, Any]) -> list[str]:
    """What the network does on the test data, and the gap, with standard errors; nothing where none was named."""
    test = document.get("test")
    if test is None:
        return []
    data, gap = test["data"], f"generalization gap {with_error(test['gap'], test['gap_error'])}"
    accuracy = ""
    if test["accuracy"] is not None:
        accuracy = f", accuracy {with_error(test['accuracy'], test['accuracy_error'], share=True)}"
        gap += f", of accuracy {with_error(test['accuracy_gap'], test['accuracy_gap_error'], share=True)}"
    return [
        f"test: {shown(document['options']['loss'])} {with_error(test['loss'], test['loss_error'])}{accuracy} on "
        f"{counted(data['samples'], 'sample')} of {shown(data['spec'])} ({data['split']})",
        f"{gap} (± standard error)",
    ]


def with_error(value: float, error: float | None, share: bool = False) -> str:
    """A figure with its standard error, if that is known.

    >>> with_error(0.31234, 0.0212), with_error(0.98, None, share=True)
    ('0.312 ± 0.021', '98.00%')
    """
    if share:
        return f"{value:.2%}" + ("" if error is None else f" ± {error:.2%}")
    if not error:
        return f"{value:.4g}" + ("" if error is None else " ± 0")
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}" if digits < _MOST_DIGITS else f"{value:.4g} ± {error:.2g}"


def print_networks(out: SpellingConsole, networks: Sequence[tuple[str, Mapping[str, Any]]], seeds: int = 1) -> None:
    """Print which network each short name stands for, and what all of them were measured on.

    Args:
        out: where it is printed.
        networks: short names and documents.
        seeds: with how many they were measured, the first being that of the documents.
    """
    for name, document in networks:
        first, *_ = subject_lines(document)
        out.say(f"{name}  {first}")
    print_data(out, networks, seeds)


def print_data(out: SpellingConsole, networks: Sequence[tuple[str, Mapping[str, Any]]], seeds: int = 1) -> None:
    """Print what networks were measured on, all of them alike.

    Args:
        out: where it is printed.
        networks: short names and documents.
        seeds: as :func:`print_networks` takes them.
    """
    data, options = networks[0][1]["data"], networks[0][1]["options"]
    seed = f"seed {data['seed']}" if seeds == 1 else f"seeds {data['seed']} to {data['seed'] + seeds - 1}"
    out.say(
        f"{shown(options['loss'])} on {counted(data['samples'], 'sample')} of {shown(data['spec'])} ({data['split']}), "
        f"batches of {data['batch_size']}, {seed}, {options['bn']} statistics"
    )
    test = networks[0][1].get("test")
    if test is not None and all(document["test"] for _, document in networks):
        own = test["data"]
        out.say(f"test: {counted(own['samples'], 'sample')} of {shown(own['spec'])} ({own['split']})")
    out.print()


def print_kept(out: SpellingConsole, files: Sequence[Path], seeds: int = 1) -> None:
    """Print for what nothing was computed, and where it comes from.

    Args:
        out: where it is printed.
        files: the results that were kept; none where all is new.
        seeds: with how many the network was measured.
    """
    if files:
        of = f" for {counted(len(files), 'seed')}" if seeds > 1 else ""
        place = files[0].parent if seeds > 1 else files[0]
        out.say(f"no pass{of}: measured before, and kept in {shown_path(place)}")


def _partition(blocks: Mapping[str, Any]) -> str:
    named = f"(partition {blocks['partition']})"
    if blocks["tensors"] and all(tensor["reason"] == NOT_SEARCHED for tensor in blocks["tensors"]):
        return f"scale-invariant blocks {named}: {NOT_SEARCHED}"
    return f"{_kind(blocks)} {named}, {blocks['free_parameters']:,} free parameters"


def _kind(blocks: Mapping[str, Any]) -> str:
    if blocks["partition"] not in PROBED_PARTITIONS:
        return f"{blocks['relative']:,} blocks"
    joint = f", {blocks['joint']} of them joint" if blocks["joint"] else ""
    return f"{blocks['invariant']:,} scale-invariant blocks{joint}"


def _choice(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """What is said of the parameters that are varied."""
    if not parameters:
        return ()
    numbers = {name: parameters[name] for name in ("measured", "total", "frozen")}
    return ParameterChoice(asked=tuple(parameters["chosen"]), names=(), **numbers).notes
