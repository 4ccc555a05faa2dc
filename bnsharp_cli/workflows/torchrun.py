"""Several processes started by ``torchrun``: they meet, the first one speaks, and they leave together."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bnsharp_cli.errors import UsageError, shown
from bnsharp_cli.io.files.importing import importing_libraries

if TYPE_CHECKING:
    from bnsharp_cli.measurement.surface.processes import Processes

_TIME_LIMIT = "BNSHARP_TIME_LIMIT"
_SECONDS = 600.0


def launched() -> bool:
    """Whether ``torchrun`` started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first() -> bool:
    """Whether this process prints and writes: the only one, or the first of several."""
    return not launched() or os.environ.get("RANK") == "0"


def local_rank() -> int:
    """The number of this process among those on its machine; its GPU has the same."""
    return int(os.environ.get("LOCAL_RANK", "0")) if launched() else 0


def current() -> Processes:
    """The processes that share the work of this command."""
    with importing_libraries():
        from bnsharp_cli.measurement.surface.processes import ALONE, ProcessGroup

    return ProcessGroup() if launched() else ALONE


def require_alone(command: str) -> None:
    """Refuse several processes for a command that has nothing to share.

    Raises:
        UsageError: ``torchrun`` started several.
    """
    if launched():
        raise UsageError(
            f"bnsharp {command} runs in one process.",
            "Start it without torchrun.",
            expected="one process",
            found=f"{os.environ.get('WORLD_SIZE')} processes",
        )


@contextmanager
def first_one_speaks() -> Iterator[None]:
    """Silence every process but the first."""
    if is_first():
        yield
    else:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            yield


def wait_for_the_first() -> None:
    """Leave together: ``torchrun`` ends all as soon as one fails, and what the first has to say must not be lost."""
    if not launched():
        return
    import torch.distributed as dist

    if dist.is_initialized():
        with suppress(RuntimeError):
            dist.barrier()
        dist.destroy_process_group()


@contextmanager
def together() -> Iterator[None]:
    """Meet the other processes; from then on a failure of one is a failure of all."""
    if not launched():
        yield
        return
    with importing_libraries():
        from bnsharp_cli.measurement.surface.processes import join

    with join(_time_limit()).together():
        yield


def _time_limit() -> float:
    """Seconds that one process waits for another."""
    text = os.environ.get(_TIME_LIMIT, str(_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise UsageError(
            f"{_TIME_LIMIT}: expected a number of seconds, found '{shown(text)}'.",
            "For example 600.",
            expected="a number of seconds",
            found=text,
        )
    return seconds
