"""Whether a training run that goes on is the one that was interrupted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.files.printable_text import one_line
from bnsharp_cli.training.loop import Training
from bnsharp_cli.workflows import torchrun as processes
from bnsharp_cli.workflows.trainee import Trainee

_OPTIONS = {"milestones": "--milestone"}
_LONGEST = 400


def what_decides(trainee: Trainee, training: Training) -> dict[str, Any]:
    """Everything that decides the outcome, in plain containers, by the names that users know it by."""
    options = training.options.to_dict()
    return {
        "--arch": trainee.wanted.arch,
        "--arch-option": dict(trainee.architecture_options),
        "--data": trainee.data,
        "--loss": trainee.criterion.name,
        "--device": training.device.type,
        **{_OPTIONS.get(name, f"--{name.replace('_', '-')}"): value for name, value in options.items()},
        "number of processes": processes.current().count,
        "numbers of samples": [len(trainee.train), len(trainee.test)],
        "size and statistics of the images": trainee.preprocessing.to_dict(),
    }


def versions() -> dict[str, Any]:
    """What may change the last bits of every sum."""
    return {"torch": str(torch.__version__), "threads": torch.get_num_threads()}


def changed(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """The names of what differs, with what it was and what it is."""
    for name in dict.fromkeys([*earlier, *now]):
        if earlier.get(name) != now.get(name):
            yield name, earlier.get(name), now.get(name)


def require_same(state: Path, earlier: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with a run that something else decided.

    Raises:
        UsageError: naming every difference.
    """
    differences = [f"{name} {was} (now {is_now})" for name, was, is_now in changed(earlier, now)]
    if differences:
        raise UsageError(
            f"{state} is of a run with other options: {one_line(', '.join(differences), _LONGEST)}.",
            "Give the same ones, or another --output to start anew.",
        )
