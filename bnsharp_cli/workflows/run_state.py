"""What the state of a training run says beside the training itself, every field held against its type and its range."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsharp_cli.io.files.regular_files import read_beside
from bnsharp_cli.training.evaluation import LossAndAccuracy
from bnsharp_cli.training.saved_state import UnfitStateError, mapping, part_of, whole_number

_MOST = 2**63 - 1
_MOST_DECIDED = 10_000
"""Values that may decide a run, so that nothing long is compared or printed."""
_MOST_FIGURES = 2**30
"""Bytes of a file of figures that is read."""
_MOST_TRACKERS = 100
_LONGEST = 1000
_EPOCHS = "--epochs"
_IDENTITY = re.compile(r"[\w.:-]{0,128}", re.ASCII)
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
    """The fields of a state; entries of the training itself are left alone.

    Raises:
        UnfitStateError: a field that is missing or that no run has written.
    """
    decided = _decided(mapping(content, "run"))
    epochs = whole_number(decided, _EPOCHS, 1, _MOST)
    epoch = whole_number(content, "epoch", 1, epochs)
    best = _best(mapping(content, "best"), epoch)
    metrics = whole_number(content, "metrics", 1, _MOST)
    tracked, versions = _tracked(mapping(content, "tracker")), _versions(mapping(content, "versions"))
    return RunState(decided, epochs, epoch, best, metrics, tracked, versions)


def require_whole_lines(state: RunState, figures: Path) -> None:
    """Refuse a state that would cut its file of figures elsewhere than behind the line of its last epoch.

    Args:
        state: the state.
        figures: the file; that it is missing or too short is for whoever appends to it to say.

    Raises:
        UnfitStateError: the length is not that of as many lines as epochs are done.
    """
    try:
        written = read_beside(figures, _MOST_FIGURES)
    except (OSError, ValueError):
        return
    kept = written[: state.metrics]
    if len(kept) == state.metrics and (not kept.endswith(b"\n") or kept.count(b"\n") != state.epoch):
        raise UnfitStateError.of("metrics", f"the length of {state.epoch} lines of figures", state.metrics)


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
    torch = part_of(found, "torch")
    if not isinstance(torch, str) or len(torch) > _LONGEST:
        raise UnfitStateError.of("torch", "a version", torch)
    return {"torch": torch, "threads": whole_number(found, "threads", 1, _MOST)}
