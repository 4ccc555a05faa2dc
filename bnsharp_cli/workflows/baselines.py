"""The earlier result that a checkpoint is held against: read, found comparable, and written anew."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.io.files.atomic_writing import write_text_atomically
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.report.json_document import render
from bnsharp_cli.report.stored_results import read_results
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.alike import Side, architecture_of, require_alike
from bnsharp_cli.workflows.gate_options import BaselineOptions
from bnsharp_cli.workflows.limited_quantities import JudgedResult
from bnsharp_cli.workflows.thresholds import Thresholds

_ARGUMENT = "baseline"


def open_baseline(options: BaselineOptions, thresholds: Thresholds) -> JudgedResult | None:
    """The baseline; None where none is named, and where it is still to be begun.

    Raises:
        UsageError: a limit needs a baseline and none is named, there is no such file, or it holds several results.
        CheckpointRefusedError: it holds no result.
    """
    path = options.baseline
    if path is None:
        _require_no_need(options, thresholds)
        return None
    if not _is_there(path):
        if options.update_baseline:
            return None
        raise UsageError(
            f"{named(_ARGUMENT)}: there is no file {shown_path(path)}.",
            f"Add {named('update_baseline')}, which begins one.",
            argument=_ARGUMENT,
            expected="a file that measure or check wrote",
            found="no file",
        )
    results = read_results(path)
    if len(results) > 1:
        raise UsageError(
            f"{named(_ARGUMENT)}: {shown_path(path)} holds {len(results):,} results.",
            "Write the one that counts to a file of its own.",
            argument=_ARGUMENT,
            expected="one result",
            found=len(results),
        )
    return JudgedResult(results[0].document, results[0].measured, path)


def require_comparable(result: Mapping[str, Any], baseline: JudgedResult, thresholds: Thresholds) -> None:
    """Refuse a baseline that was not measured alike, or whose network is another one by a measure that depends on that.

    Args:
        result: a document, before anything is measured.
        baseline: what it is held against.
        thresholds: the limits.

    Raises:
        UsageError: naming what differs.
    """
    relative = {**(thresholds.max_increase or {}), **(thresholds.max_decrease or {})}
    measures = [name.measure for name in thresholds.names if str(name) in relative and name.measure is not None]
    require_alike(*_sides(result, baseline), measures)
    kinds = [architecture_of(one) for one in (result, baseline.document)]
    unfit = [name for name in measures if not MEASURES[name].across_architectures]
    if kinds[0] != kinds[1] and unfit:
        raise UsageError(
            f"The baseline is of another architecture, and {unfit[0]} depends on how many blocks or weights there are.",
            "Limit noise, pac-bayes-sigma, loss or accuracy, or begin another baseline.",
            argument=_ARGUMENT,
            expected=str(kinds[0][0]),
            found=str(kinds[1][0]),
        )


def _sides(result: Mapping[str, Any], baseline: JudgedResult) -> tuple[Side, Side]:
    own = Side("this network", result, Path(result["checkpoint"]["path"]))
    return own, Side("the baseline", baseline.document, baseline.path or Path())


def write_baseline(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document there, whole or not at all.

    Raises:
        UsageError: it cannot be written.
    """
    if torchrun.is_first():
        write_text_atomically(path, render(document), _ARGUMENT)


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError):  # opening it says what is wrong
        return True
    return True


def _require_no_need(options: BaselineOptions, thresholds: Thresholds) -> None:
    wanting = "update_baseline" if options.update_baseline else ""
    wanting = "max_increase" if thresholds.max_increase else "max_decrease" if thresholds.max_decrease else wanting
    if wanting:
        raise UsageError(
            f"{named(wanting)} needs {named(_ARGUMENT)}.",
            f"Add {named(_ARGUMENT)} base.json and {named('update_baseline')}, which begins one.",
            argument=_ARGUMENT,
            expected="a file that measure or check wrote",
            found="none",
        )
