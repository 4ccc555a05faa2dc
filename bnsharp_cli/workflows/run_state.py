"""What the state of a training run says beside the training itself, every field held against its type and its range."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsharp_cli.io.containers.bounded_json import bounded_json
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.io.files.regular_files import read_beside, reason_of
from bnsharp_cli.training.evaluation import LossAndAccuracy
from bnsharp_cli.training.saved_state import (
    UnfitStateError,
    mapping,
    part_of,
    require_names,
    same_plain,
    whole_number,
)

_MOST = 2**63 - 1
_MOST_DECIDED = 10_000
"""Values that may decide a run, so that nothing long is compared or printed."""
_LONGEST_LINE = 4096
"""Bytes of the figures of an epoch: ten times what they take."""
_MOST_TRACKERS = 100
_LONGEST = 1000
_EPOCHS = "--epochs"
_ENTRIES = (
    *("format", "run", "versions", "best", "metrics", "tracker"),
    *("epoch", "gradients", "state_dict", "rule", "order", "precision"),
)
_OF_THE_BEST, _OF_VERSIONS = ("epoch", "loss", "accuracy"), ("torch", "threads")
_IDENTITY = re.compile(r"(\w[\w.:-]{0,127})?", re.ASCII)
"""What MLflow and Weights & Biases call a run."""


@dataclass(frozen=True)
class BestEpoch:
    """The epoch with the best figures on the test split.

    Attributes:
        epoch: from 1.
        figures: its loss and accuracy on that split.
    """

    epoch: int
    figures: LossAndAccuracy


@dataclass(frozen=True)
class RunState:
    """A run as far as it is done.

    Attributes:
        decided: everything that decided its outcome, by the names of states.
        epochs: of the whole run.
        epoch: how many are done, from 1.
        best: the best of them.
        metrics: the length of the file of figures, in bytes.
        tracked: what trackers call the run, by their specifications.
        versions: of what may change the last bits of sums.
    """

    decided: Mapping[str, Any]
    epochs: int
    epoch: int
    best: BestEpoch
    metrics: int
    tracked: Mapping[str, str]
    versions: Mapping[str, str | int]


def read_run_state(content: Mapping[str, Any]) -> RunState:
    """The fields of a state; what entries of the training itself hold is left alone.

    Raises:
        UnfitStateError: a field that is missing or that no run has written.
    """
    require_names("state", content, _ENTRIES)
    decided = _decided(mapping(content, "run"))
    epochs = whole_number(decided, _EPOCHS, 1, _MOST)
    epoch = whole_number(content, "epoch", 1, epochs)
    best = _best(mapping(content, "best"), epoch)
    metrics = whole_number(content, "metrics", 1, _MOST)
    tracked, versions = _tracked(mapping(content, "tracker")), _versions(mapping(content, "versions"))
    return RunState(decided, epochs, epoch, best, metrics, tracked, versions)


def require_same_figures(state: RunState, figures: Path) -> None:
    """Refuse a state that its file of figures does not bear out: an epoch a line, and the best of them.

    Args:
        state: the state.
        figures: the file; that it is missing or has lost lines is for whoever appends to it to say.

    Raises:
        UnfitStateError: it says another length or another best epoch, or the file cannot be read.
    """
    most = (state.epoch + 1) * _LONGEST_LINE
    try:
        written = read_beside(figures, most)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise UnfitStateError(f"{shown_path(figures)} cannot be read: {reason_of(error)}") from error
    lines = written[: state.metrics].split(b"\n")
    if len(written) < state.metrics:
        return
    if lines.pop() or len(lines) != state.epoch:
        raise UnfitStateError.of("metrics", f"the length of {state.epoch} lines of figures", state.metrics)
    found = [_figures_of(line, epoch) for epoch, line in enumerate(lines, 1)]
    best = max(found, key=lambda one: one.figures.merit)
    if state.best != best:
        raise UnfitStateError(f"best: the best epoch is {best.epoch}, and the state says something else of it")


def _figures_of(line: bytes, epoch: int) -> BestEpoch:
    """The figures of an epoch on the test split."""
    try:
        said = bounded_json(line)
    except (ValueError, RecursionError) as error:
        raise UnfitStateError(f"the figures of epoch {epoch} are no JSON") from error
    if not isinstance(said, Mapping) or not same_plain(said.get("epoch"), epoch):
        raise UnfitStateError(f"the figures of epoch {epoch} are of something else")
    named = {"epoch": epoch, "loss": said.get("test_loss"), "accuracy": said.get("test_accuracy")}
    return _best(named, epoch)


def _decided(found: Mapping[Any, Any]) -> Mapping[str, Any]:
    """Plain values by names, few enough to be compared and printed."""
    waiting: list[Any] = [found]
    for _ in range(_MOST_DECIDED):
        if not waiting:
            return found
        one = waiting.pop()
        if isinstance(one, Mapping):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple):
            waiting += one
        elif not _is_plain(one):
            raise UnfitStateError.of("run", "plain values", one)
    raise UnfitStateError("run: it holds more than the options of a run")


def _is_plain(value: object) -> bool:
    if isinstance(value, int):
        return abs(value) <= _MOST
    return value is None or isinstance(value, float | str)


def _best(found: Mapping[Any, Any], done: int) -> BestEpoch:
    require_names("best", found, _OF_THE_BEST)
    loss, accuracy = part_of(found, "loss"), part_of(found, "accuracy")
    if not isinstance(loss, float) or not math.isfinite(loss):
        raise UnfitStateError.of("loss", "a finite number", loss)
    if accuracy is not None and not (isinstance(accuracy, float) and 0 <= accuracy <= 1):
        raise UnfitStateError.of("accuracy", "a number in [0, 1]", accuracy)
    return BestEpoch(whole_number(found, "epoch", 1, done), LossAndAccuracy(loss, accuracy))


def _tracked(found: Mapping[Any, Any]) -> dict[str, str]:
    if len(found) > _MOST_TRACKERS:
        raise UnfitStateError("tracker: it holds more than the trackers of a run")
    for spec, identity in found.items():
        if not isinstance(spec, str) or len(spec) > _LONGEST:
            raise UnfitStateError.of("tracker", "the name of a tracker", spec)
        if not isinstance(identity, str) or not _IDENTITY.fullmatch(identity):
            raise UnfitStateError.of("tracker", "a name of a run", identity)
    return dict(found)


def _versions(found: Mapping[Any, Any]) -> dict[str, str | int]:
    require_names("versions", found, _OF_VERSIONS)
    torch = part_of(found, "torch")
    if not isinstance(torch, str) or len(torch) > _LONGEST:
        raise UnfitStateError.of("torch", "a version", torch)
    return {"torch": torch, "threads": whole_number(found, "threads", 1, _MOST)}
