"""The losses of a figure in a folder, so that an interrupted one goes on: a file for each figure of the loss."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import CheckpointRefusedError, counted
from bnsharp_cli.io.containers.bounded_json import bounded_json
from bnsharp_cli.io.files.atomic_writing import make_folder, require_writable_folder, write_text_atomically
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.io.files.regular_files import read_whole
from bnsharp_cli.measurement.landscape.kept_evaluations import KeptEvaluations
from bnsharp_cli.report.json_document import render_line
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.figure_options import FigureOptions
from bnsharp_cli.workflows.figures.drawn_network import DrawnNetwork
from bnsharp_cli.workflows.reporter import Reporter

_ARGUMENT = "results"
_LARGEST = 2**26
"""Bytes of a file: hundreds of thousands of evaluations."""

_LOOKS = ("scale", "view", "evaluations", "accuracy", "bend")
"""Options that change no loss, or by which other places are asked for."""


def with_kept(
    folder: Path, kind: str, networks: Sequence[DrawnNetwork], options: FigureOptions, reporter: Reporter
) -> list[DrawnNetwork]:
    """The networks of a figure with the losses that are known from an earlier run of the same figure.

    Args:
        folder: of results.
        kind: of the figure.
        networks: in it.
        options: of the figure.
        reporter: told how much is known, and of a file that cannot be used.

    Raises:
        UsageError: the folder cannot be made or written to.
    """
    if torchrun.is_first():
        require_writable_folder(folder, _ARGUMENT)
    shared = {name: entry for name, entry in vars(options).items() if name not in _LOOKS}
    keys = [one.key for one in networks]
    each = []
    for network in networks:
        key = hashlib.sha256(json.dumps([kind, network.key, keys, shared], sort_keys=True).encode()).hexdigest()
        path = folder / f"{kind}-{key[:16]}.losses"
        known = _known(path, key, reporter) if torchrun.current().count == 1 else {}
        kept = KeptEvaluations(known, partial(_keep, path, key))
        each.append(replace(network, around=replace(network.around, kept=kept)))
    return each


def _known(path: Path, key: str, reporter: Reporter) -> dict[str, list[float]]:
    """What a file tells, if it is one of this figure."""
    try:
        if not path.exists():
            return {}
        text = read_whole(path, _LARGEST, "a file of losses", partial(_refused, path))
        known = _losses(bounded_json(text), key)
    except (CheckpointRefusedError, OSError, ValueError, RecursionError) as error:
        reporter.notice(f"{shown_path(path)} cannot be used, and its losses are computed anew: {error}")
        return {}
    reporter.notice(f"{counted(len(known), 'evaluation')} known from {shown_path(path)}")
    return known


def _losses(document: Any, key: str) -> dict[str, list[float]]:
    """The numbers of a document, those that are not finite as NaN.

    Raises:
        ValueError: it is no such document, or one of another figure.
    """
    if not isinstance(document, dict) or document.get("key") != key or not isinstance(document.get("losses"), dict):
        raise ValueError("it does not hold the losses of this figure")
    found: dict[str, list[float]] = {}
    for place, numbers in document["losses"].items():
        known = isinstance(numbers, list) and all(
            one is None or (isinstance(one, int | float) and not isinstance(one, bool)) for one in numbers
        )
        if not known or not numbers:
            raise ValueError("it does not hold lists of numbers")
        found[place] = [math.nan if one is None else float(one) for one in numbers]
    return found


def _keep(path: Path, key: str, known: Mapping[str, Sequence[float]]) -> None:
    if torchrun.is_first():
        make_folder(path.parent, _ARGUMENT)
        losses = {place: [*numbers] for place, numbers in known.items()}
        write_text_atomically(path, render_line({"key": key, "losses": losses}) + "\n", _ARGUMENT)


def _refused(path: Path, reason: str) -> CheckpointRefusedError:
    return CheckpointRefusedError(f"{shown_path(path)} {reason}", "Remove it.", path=path)
