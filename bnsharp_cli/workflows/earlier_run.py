"""What a training run finds of an earlier one under its name: kept, gone on with, extended or replaced."""

from __future__ import annotations

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.io.checkpoints.run_files import RunFiles
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.io.files.regular_files import read_beside
from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.training.schedules import learning_rate_in
from bnsharp_cli.workflows.run_state import RunState
from bnsharp_cli.workflows.training_options import TrainingRunOptions

_LONGEST_FIRST_EPOCH = 4096


def require_replaceable(files: RunFiles, options: TrainingRunOptions) -> None:
    """Refuse to write over files whose state is gone, which an earlier run or somebody else made.

    What a killed run left of its first epoch may be written over when it goes on.

    Raises:
        UsageError: naming the first such file.
    """
    there = next((path for path in files.every if path.exists()), None)
    if options.overwrite or there is None or (options.resume and _of_a_first_epoch(files)):
        return
    anew = f"Add {named('overwrite')} to replace it, or name another {named('output')}."
    lacking = f" without {shown_path(files.state)}, which {named('resume')} needs" if options.resume else ""
    raise UsageError(
        f"{shown_path(there)} is there already{lacking}.",
        anew,
        argument="output",
        expected="a name that no file of an earlier run has",
        found=str(there),
    )


def require_no_loss(state: RunState, files: RunFiles) -> None:
    """Refuse to train anew over a run, finished or not, that nobody gave up.

    Raises:
        UsageError: with what keeps it and what replaces it.
    """
    finished = state.epoch == state.epochs
    extending = f"and more {named('epochs')} to extend it" if finished else "to go on with it"
    raise UsageError(
        f"{shown_path(files.state)} holds a run of which {state.epoch} of {state.epochs} epochs are done.",
        f"Add {named('resume')} {extending}, {named('overwrite')} to start anew, or name another {named('output')}.",
        argument="resume",
        expected="no earlier run of this name",
        found=f"{state.epoch} of {state.epochs} epochs",
    )


def extension_notice(state: RunState, earlier: TrainingOptions, now: TrainingOptions) -> str:
    """What a run with more epochs than it was begun with is, and what becomes of its learning rate.

    Args:
        state: of the run.
        earlier: its options, as it was begun.
        now: the same with more epochs.
    """
    said = f"the run is extended from {earlier.epochs} to {now.epochs} epochs"
    last, following = learning_rate_in(earlier, max(0, state.epoch - 1)), learning_rate_in(now, state.epoch)
    rate = f"epoch {state.epoch + 1} has the learning rate {following:.3g}, after {last:.3g} in epoch {state.epoch}"
    same = all(learning_rate_in(earlier, epoch) == learning_rate_in(now, epoch) for epoch in range(state.epoch))
    if same:
        return f"{said}, as if it had been begun with {now.epochs}: {rate}"
    return (
        f"{said}: {rate}, because schedule {now.schedule} spans all {now.epochs} epochs. A run that is begun with "
        f"{now.epochs} epochs ends with another network"
    )


def _of_a_first_epoch(files: RunFiles) -> bool:
    """Whether the figures are those of an epoch that was not finished: at most one line, and no state of it."""
    try:
        written = read_beside(files.metrics, _LONGEST_FIRST_EPOCH)
    except (OSError, ValueError):
        return False
    return written.count(b"\n") <= 1
