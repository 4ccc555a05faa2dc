"""Reading in a process of its own, with hard limits of processor time and memory.

Whatever a stranger's file does to the reader, the process ends after seconds and cannot grow, open, write or start
anything. Its answer is checked like any bytes of a stranger (``checked_description.py``). Where a system has no such
limits, the same code runs here, within the budgets of the pickle reader alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.checked_description import UnsoundDescriptionError, checked_description
from bnsharp_cli.io.containers.describe import describe_files, describe_folder
from bnsharp_cli.io.containers.description import LARGEST_DESCRIPTION, Description
from bnsharp_cli.io.containers.remedies import SAVE_WEIGHTS
from bnsharp_cli.io.files.printable_text import escaped, shown_path
from bnsharp_cli.io.files.regular_files import RegularFile

_ROOT = Path(__file__).resolve().parents[3]
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from bnsharp_cli.io.containers.limited_child import main; main()"
_KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
"""Variables without which some interpreters do not start."""

_LONGEST_WAIT = 120
"""Seconds after which a process that does not end, because a disk does not answer, is given up."""

_BEGAN, _LONGEST_REASON = b"!", 8192


class NoLimitsError(Exception):
    """This system has no limited processes, or none could be started."""


def described(files: Sequence[RegularFile], folder: Path | None = None) -> Description:
    """What files hold, found in a limited process.

    Args:
        files: opened; of a folder all that are in it.
        folder: a folder of ``torch.distributed.checkpoint``; ``None`` for files that stand each for itself.

    Raises:
        CheckpointRefusedError: with one line of reason and one of remedy.
    """
    subject = files[0].path if folder is None else folder
    try:
        kind, content = _answer(files, folder, subject)
    except NoLimitsError:
        return described_here(files, folder)
    try:
        if kind == b"D":
            return _checked(content, files, folder)
        reason, remedy, expected, found, about, named = (escaped(text, _LONGEST_REASON) for text in _texts(content))
    except (UnsoundDescriptionError, ValueError, TypeError, RecursionError) as error:
        raise _beyond_limits(subject, "what was read of it contradicts itself") from error
    path, named_path = (Path(text) if text else None for text in (about, named))
    raise CheckpointRefusedError(reason, remedy, expected=expected, found=found, path=path, subject=named_path)


def _texts(content: bytes) -> list[str]:
    texts = json.loads(content)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise TypeError("a refusal is a list of texts")
    return texts


def described_here(files: Sequence[RegularFile], folder: Path | None = None) -> Description:
    """The same, found by this process."""
    description = describe_files(files) if folder is None else describe_folder(folder, files)
    return _checked(description.to_bytes(), files, folder)


def _checked(description: bytes, files: Sequence[RegularFile], folder: Path | None) -> Description:
    return checked_description(description, [file.size for file in files], len(files) if folder is None else 1)


def _answer(files: Sequence[RegularFile], folder: Path | None, subject: Path) -> tuple[bytes, bytes]:
    """What the process says: the kind of its answer, and at most a byte more than a description."""
    descriptors = [file.stream.fileno() for file in files]
    paths = [os.fspath(file.path) for file in files]
    request = {"folder": folder and os.fspath(folder), "files": list(zip(descriptors, paths, strict=True))}
    kind, content = limited_answer(
        _PROGRAM, json.dumps(request).encode(), LARGEST_DESCRIPTION, _LONGEST_WAIT, descriptors=descriptors
    )
    if len(content) > LARGEST_DESCRIPTION:
        raise _beyond_limits(subject, "it says more than any checkpoint says beside its weights")
    if not kind:
        raise _beyond_limits(subject, "reading it takes more time or memory than that of any weights")
    return kind, content


def limited_answer(
    program: str, request: bytes, most: int, seconds: float, *, descriptors: Sequence[int] = ()
) -> tuple[bytes, bytes]:
    """What a limited process says: the kind of its answer, none if it was ended, and at most a byte more than ``most``.

    Args:
        program: a line of Python, which gets the folder of this package as its argument.
        request: what it reads.
        most: bytes that an answer may have.
        seconds: after which it is given up.
        descriptors: of open files that it may read.

    Raises:
        NoLimitsError: it did not begin.
    """
    process = started_limited(program, descriptors=descriptors)
    assert process.stdin is not None
    assert process.stdout is not None
    stop = threading.Timer(seconds, process.kill)
    try:
        with contextlib.suppress(RuntimeError):  # no thread can be started; the limits of the process still hold
            stop.start()
        process.stdin.write(request)
        process.stdin.close()
        began, kind = process.stdout.read(1), process.stdout.read(1)
        content = process.stdout.read(most + 1)
    except BrokenPipeError:
        began = kind = content = b""
    finally:
        stop.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
    if began != _BEGAN:
        raise NoLimitsError
    return kind, content


def started_limited(
    program: str, arguments: Sequence[str] = (), descriptors: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """An interpreter that sees neither the working directory nor what is installed, and no variables.

    Args:
        program: that limits itself; its first argument is the folder of this package.
        arguments: the others.
        descriptors: of files that it gets.

    Raises:
        NoLimitsError: none can be started here.
    """
    if sys.platform == "win32" or getattr(sys, "frozen", False) or not _is_interpreter(sys.executable):
        raise NoLimitsError
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", program, str(_ROOT), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=descriptors,
            cwd="/",
            env={**environment, "LC_ALL": "C"},
        )
    except OSError as error:
        raise NoLimitsError from error


def _is_interpreter(executable: str) -> bool:
    """Whether a program is Python, and not another one that has Python inside and would start once more."""
    return Path(executable or "").name.lower().startswith(("python", "pypy"))


def _beyond_limits(subject: Path, why: str) -> CheckpointRefusedError:
    reason = f"{shown_path(subject)} is not read: {why}."
    return CheckpointRefusedError(reason, SAVE_WEIGHTS, expected="weights alone", found=why, subject=subject)
