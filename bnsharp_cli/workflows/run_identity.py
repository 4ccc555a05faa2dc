"""Checks that a resumed training run is the one that was interrupted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.io.files.printable_text import one_line, shown_path
from bnsharp_cli.training.loop import Training
from bnsharp_cli.training.registry import TRAINING_RULES
from bnsharp_cli.training.saved_state import same_plain
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.training_setup import TrainingSetup

_EPOCHS = "--epochs"
_RECORDED = {"milestones": "--milestone"}
_ARGUMENTS = {
    recorded: argument for rule in TRAINING_RULES.values() for argument, recorded in rule.options.recorded_as.items()
}
"""Arguments of training rules by the names that states have for them."""
_LONGEST = 200


def what_decides(setup: TrainingSetup, training: Training) -> dict[str, Any]:
    """Everything that decides the outcome, in plain containers: arguments by their names, other things in words."""
    return {
        "arch": setup.task.arch,
        "arch_option": dict(setup.architecture_options),
        "data": setup.data,
        "loss": setup.criterion.name,
        "device": training.device.type,
        **training.options.to_dict(),
        "number of processes": torchrun.current().count,
        "numbers of samples": [len(setup.train), len(setup.test)],
        "size and statistics of the images": setup.preprocessing.to_dict(),
    }


def recorded(decided: Mapping[str, Any]) -> dict[str, Any]:
    """Rename arguments to the keys of saved states and trackers, such as ``batch_size`` to ``--batch-size``."""
    return {_key(name): value for name, value in decided.items()}


def versions() -> dict[str, Any]:
    """What may change the last bits of every sum."""
    return {"torch": str(torch.__version__), "threads": torch.get_num_threads()}


def changed(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """The names of what differs, with what it was and what it is."""
    for name in dict.fromkeys([*earlier, *now]):
        if not same_plain(earlier.get(name), now.get(name)):
            yield name, earlier.get(name), now.get(name)


def require_same(state: Path, earlier: Mapping[str, Any], decided: Mapping[str, Any]) -> bool:
    """Refuse to resume a run with other options, data or versions. More epochs alone extend it.

    Args:
        state: the file that tells.
        earlier: what decided the run, as it is recorded there.
        decided: what decides it now.

    Returns:
        Whether it is extended.

    Raises:
        UsageError: naming every difference.
    """
    found = [*changed(earlier, recorded(decided))]
    if [key for key, *_ in found] == [_EPOCHS] and found[0][2] > found[0][1]:
        return True
    shown = {_key(name): named(_ARGUMENTS.get(name, name)) if name.isidentifier() else name for name in decided}
    differences = [
        f"{shown.get(key, one_line(key))} {one_line(f'{was} (now {now})', _LONGEST)}" for key, was, now in found
    ]
    if differences:
        raise UsageError(
            f"{shown_path(state)} is of a run with other options: {', '.join(differences)}.",
            f"Give the same ones, or another {named('output')} to start anew.",
            argument="resume",
            expected="the options of the run that is resumed",
            found=differences,
        )
    return False


def _key(name: str) -> str:
    return _RECORDED.get(name, f"--{name.replace('_', '-')}" if name.isidentifier() else name)
