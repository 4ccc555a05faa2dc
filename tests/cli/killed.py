"""The command in processes that are killed, forked from one that imports torch once for all of them.

A plan says when: after some seconds, or the n-th time that the process is about to do something to a file of the run.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bnsharp_cli
from tests.kept import make_parser
from tests.serving import Server, serve, served_by

TOUCHING = {"open", "os.rename", "os.chmod", "os.remove", "os.truncate", "tempfile.mkstemp"}
"""Audit events of what is done to files."""


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, or the negative signal; and after how many seconds."""

    code: int
    seconds: float


@dataclass(frozen=True)
class Victims:
    """Starts the command, and kills it."""

    server: Server

    def __call__(
        self,
        *arguments: object,
        folder: Path,
        after: float | None = None,
        at: int | None = None,
        signal_name: str = "SIGKILL",
    ) -> Ended:
        """Run it in ``folder``.

        Args:
            *arguments: of the command.
            folder: where; what it prints is in ``stdout`` and ``stderr`` there.
            after: seconds until it is killed, unless it has ended.
            at: which of its doings to files named ``run.…`` it does not live to see, from 0.
            signal_name: of the signal that it gets there.
        """
        when = {"after": after, "at": at, "signal_name": signal_name}
        plan = {"arguments": [*map(str, arguments)], "folder": str(folder), **when}
        return Ended(**self.server.ask(plan))


@contextmanager
def victims() -> Iterator[Victims]:
    """One parent for all."""
    with served_by("tests.cli.killed") as server:
        yield Victims(server)


def _module(path: Path) -> str:
    parts = path.relative_to(Path(bnsharp_cli.__file__).parents[1]).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def _serve() -> None:
    for module in ("torchvision.models", "sklearn.datasets", "sklearn.model_selection"):
        importlib.import_module(module)
    for path in Path(bnsharp_cli.__file__).parent.glob("*/**/*.py"):
        if path.stem != "lightning":
            importlib.import_module(_module(path))
    make_parser()
    serve(lambda plan: _run(**plan))


def _run(arguments: list[str], folder: str, after: float | None, at: int | None, signal_name: str) -> dict[str, float]:
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _child(arguments, folder, at, signal.Signals[signal_name])
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return {"code": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - began}


def _child(arguments: list[str], folder: str, at: int | None, fatal: signal.Signals) -> None:
    from bnsharp_cli.cli.main import main

    os.chdir(folder)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born deaf to it
    if at is not None:
        _die_at(at, fatal)
    sys.argv = ["bnsharp", *arguments]
    try:
        main()
    except SystemExit as leaving:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(leaving.code)
    os._exit(70)


def _die_at(at: int, fatal: signal.Signals) -> None:
    touched = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal touched
        if event in TOUCHING and Path(str(arguments[0])).name.lstrip(".").startswith("run."):
            touched += 1  # first: an interrupt leaves this function, and must not come again at the cleaning up
            if touched == at + 1:
                os.kill(os.getpid(), fatal)

    sys.addaudithook(hook)


if __name__ == "__main__":
    _serve()
    os._exit(0)
