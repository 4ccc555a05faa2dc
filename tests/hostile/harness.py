"""The command in a process of its own for every case, forked from one that imports torch once.

A forked process is as separate as a fresh one: its memory, its exit code and its crash are its own. What it costs is
counted from the moment it is forked, so that importing torch is not counted.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import resource
import signal
import struct
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.kept import make_parser
from tests.serving import Server, serve, served_by

TIME_LIMIT = 120
_ADDRESS_SPACE = 8 * 2**30
_CAPABILITIES = 0x20080522, 0, *[0] * 6
"""Of capset(2): version 3, this process, nothing effective, permitted or inheritable."""


@dataclass(frozen=True)
class Finished:
    """How a case ended: memory in bytes above the parent's, processor time in seconds."""

    code: int
    stdout: str
    stderr: str
    memory: int
    seconds: float


@dataclass(frozen=True)
class Harness:
    """Runs the command with given arguments in a folder."""

    server: Server

    def __call__(
        self, *arguments: object, folder: Path, unprivileged: bool = False, environment: dict[str, str] | None = None
    ) -> Finished:
        plan = {
            "arguments": [*map(str, arguments)],
            "folder": str(folder),
            "unprivileged": unprivileged,
            "environment": environment or {},
        }
        return Finished(**self.server.ask(plan))


@contextmanager
def harness() -> Iterator[Harness]:
    """One parent for all cases."""
    with served_by("tests.hostile.harness") as server:
        yield Harness(server)


def _serve() -> None:
    import safetensors.torch  # noqa: F401  # imported before the fork, so that no case pays for it
    import torch
    import torchvision.datasets  # noqa: F401  # nor for this

    with contextlib.suppress(ImportError):
        import timm  # noqa: F401  # nor for those that build networks
        import transformers.models.vit.modeling_vit  # noqa: F401  # nor for these

    torch.set_num_threads(1)
    make_parser()
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        for command in (["measure"], ["check"], ["bound", "--kl", "1"], ["rescale-test"], ["inspect"]):
            _command([*command, "missing.pt"])
    serve(lambda plan: asdict(_run(plan)))


def _run(plan: dict[str, Any]) -> Finished:
    folder = Path(plan["folder"])
    outputs = [folder / ".stdout", folder / ".stderr"]
    baseline_read, baseline_write = os.pipe()
    child = os.fork()
    if child == 0:
        _child(plan, outputs, baseline_write)
    os.close(baseline_write)
    with os.fdopen(baseline_read) as stream:
        baseline = int(stream.read())
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(TIME_LIMIT)
    _, status, usage = os.wait4(child, 0)
    signal.alarm(0)
    texts = [path.read_text(errors="backslashreplace") for path in outputs]
    for path in outputs:
        path.unlink()
    return Finished(
        os.waitstatus_to_exitcode(status),
        *texts,
        memory=(usage.ru_maxrss - baseline) * 1024,
        seconds=usage.ru_utime + usage.ru_stime,
    )


def _give_up_capabilities() -> None:
    """From here on root may read what its owner may read, no more."""
    header, data = struct.pack("Ii", *_CAPABILITIES[:2]), struct.pack("6I", *_CAPABILITIES[2:])
    if ctypes.CDLL(None, use_errno=True).capset(header, data):
        raise OSError(ctypes.get_errno(), "capset")


def _child(plan: dict[str, Any], outputs: list[Path], baseline: int) -> None:
    code = 70
    try:
        os.chdir(plan["folder"])
        for path, descriptor in zip(outputs, (1, 2), strict=True):
            os.dup2(os.open(path.name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), descriptor)
        os.environ.update(plan["environment"])
        sys.stdin = io.StringIO("y\n" * 9)  # somebody who says yes to every question
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + _ADDRESS_SPACE,) * 2)
        if plan["unprivileged"]:
            _give_up_capabilities()
        os.write(baseline, str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss).encode())
        os.close(baseline)
        code = _command(plan["arguments"])
    except BaseException:  # the parent must hear of it, whatever it is
        traceback.print_exc()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _command(arguments: list[str]) -> int:
    from bnsharp_cli.cli.main import main

    sys.argv = ["bnsharp", *arguments]
    try:
        main()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return 0


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    _serve()
