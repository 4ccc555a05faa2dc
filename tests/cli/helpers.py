"""Running the command as a user does: in an empty folder, with stdout and stderr apart."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from bnsharp_cli.cli.main import main
from bnsharp_cli.io.containers import read_container
from bnsharp_cli.io.containers.limited_process import described_here


@dataclass(frozen=True)
class Finished:
    """What a run printed."""

    stdout: str
    stderr: str


def bnsharp(*arguments: object, folder: Path, expect: int | tuple[int, ...] = 0) -> Finished:
    """Run the command in ``folder`` on a terminal of 80 columns and check its exit code, one of ``expect``.

    Checkpoints are read here, without a process for each of thousands; ``tests/hostile`` reads them as a user does.
    """
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch("sys.argv", ["bnsharp", *map(str, arguments)]),
        mock.patch.object(read_container, "described", described_here),
        mock.patch.dict(os.environ, COLUMNS="80"),
    ):
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    assert code in (expect if isinstance(expect, tuple) else (expect,)), (code, out.getvalue(), err.getvalue())
    return Finished(out.getvalue(), err.getvalue())


def one_error(finished: Finished) -> str:
    """The reason of a failure: nothing on stdout, one line of reason and one of remedy on stderr."""
    assert finished.stdout == ""
    lines = finished.stderr.strip().splitlines()
    assert len(lines) == 2, finished.stderr
    assert lines[0].startswith("bnsharp: ")
    assert lines[1].startswith("         ")
    return lines[0]
