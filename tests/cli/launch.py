"""Several processes as ``torchrun`` starts them, forked from one that imports torch once for all tests."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bnsharp_cli
from tests.kept import make_parser
from tests.serving import Server, serve, served_by


@dataclass(frozen=True)
class Rank:
    """How one process ended, with what it printed."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Launcher:
    """Starts the command in several processes of one thread each."""

    server: Server

    def __call__(self, count: int, *arguments: object, folder: Path, **environment: str) -> list[Rank]:
        """Each rank's end; one that was killed or stopped has the negative signal as its code."""
        plan = {"count": count, "arguments": [*map(str, arguments)], "folder": str(folder), "environment": environment}
        return [Rank(**entry) for entry in self.server.ask(plan)]


@contextmanager
def launcher() -> Iterator[Launcher]:
    with served_by("tests.cli.launch", BNSHARP_TIME_LIMIT="60") as server:
        yield Launcher(server)


def _module(path: Path) -> str:
    parts = path.relative_to(Path(bnsharp_cli.__file__).parents[1]).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def _serve() -> None:
    for module in ("torch.distributed", "torchvision.models", "sklearn.datasets", "sklearn.model_selection"):
        importlib.import_module(module)
    for path in Path(bnsharp_cli.__file__).parent.glob("*/**/*.py"):
        importlib.import_module(_module(path))
    make_parser()
    serve(lambda plan: _run(**plan))


def _run(count: int, arguments: list[str], folder: str, environment: dict[str, str]) -> list[dict[str, Any]]:
    os.chdir(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = [_fork(rank, count, port, arguments, environment) for rank in range(count)]
    codes = [_wait(child) for child in children]
    for child, code in zip(children, codes, strict=True):
        if code == -signal.SIGSTOP:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    said = [{name: Path(f"{name}.{rank}").read_text() for name in ("stdout", "stderr")} for rank in range(count)]
    return [{"code": code, **streams} for code, streams in zip(codes, said, strict=True)]


def _fork(rank: int, count: int, port: int, arguments: list[str], environment: dict[str, str]) -> int:
    child = os.fork()
    if child:
        return child
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{name}.{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in variables.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", TORCHELASTIC_RUN_ID="test", **environment)
    sys.argv = ["bnsharp", *arguments]
    from bnsharp_cli.cli.main import main

    try:
        main()
    except SystemExit as leaving:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(leaving.code)  # what the server imported need not be torn down once more
    raise AssertionError("main returned")


def _wait(child: int) -> int:
    _, status = os.waitpid(child, os.WUNTRACED)
    return -os.WSTOPSIG(status) if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    _serve()
    os._exit(0)
