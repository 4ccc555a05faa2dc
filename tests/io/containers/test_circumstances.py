"""Reading where the program was started in an unusual way, and where somebody writes to the file meanwhile."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers import limited_process, read_container
from bnsharp_cli.io.containers.checked_description import UnsoundDescriptionError, checked_description
from bnsharp_cli.io.containers.describe import describe_files
from bnsharp_cli.io.containers.description import Description
from bnsharp_cli.io.files.regular_files import open_regular
from tests.hostile.forge import saved

ROOT = Path(__file__).resolve().parents[3]
CONTENT = {"w": torch.arange(4.0), "s": {1, 2}, "b": b"x", ("t", 1): 1j, datetime.date(2024, 1, 1): 2**70}
READ = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from bnsharp_cli.io.containers import limited_process
from bnsharp_cli.io.files.regular_files import open_regular
limited_process.described_here = None  # only a limited process may read
with open_regular(Path(sys.argv[1])) as file:
    assert len(limited_process.described([file]).tensors) == 1
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.pt"
    path.write_bytes(saved(CONTENT))
    return path


def in_a_shell(program: str, path: Path, before: str = ":", redirected: str = "") -> int:
    """The exit code of a program that a shell starts."""
    line = f'{before}; exec "$0" -c "$1" "$2" {redirected}'
    return subprocess.run(["bash", "-c", line, sys.executable, program, path], check=False).returncode


@pytest.mark.parametrize(
    "closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&-", "0<&- 2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-", "</dev/null"]
)
def test_a_limited_process_reads_without_standard_streams(path: Path, closed: str) -> None:
    assert in_a_shell(READ, path, redirected=closed) == 0


@pytest.mark.parametrize("setting", ["ulimit -n 64", "ulimit -c unlimited", "ulimit -s 1024", "trap '' XCPU CHLD PIPE"])
def test_a_limited_process_reads_within_the_limits_of_its_user(path: Path, setting: str) -> None:
    assert in_a_shell(READ, path, before=setting) == 0


def test_children_that_nobody_waits_for_are_no_obstacle(path: Path) -> None:
    ignoring = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)" + READ
    assert in_a_shell(ignoring, path) == 0


def open_descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def test_nothing_is_left_behind(path: Path) -> None:
    read_container.read_container(path)
    before = open_descriptors()
    for _ in range(3):
        read_container.read_container(path)
    assert open_descriptors() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("kind", ["zip", "big"])
def test_no_thread_is_needed(path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    if kind == "big":
        path.write_bytes(saved({"w": torch.arange(2.0**20)}))
    expected = read_container.read_container(path).sha256
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert read_container.read_container(path).sha256 == expected


def test_threads_read_beside_each_other(path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        contents = [*pool.map(lambda _: read_container.read_container(path).content["w"].tolist(), range(8))]
    assert contents == [[0, 1, 2, 3]] * 8


@pytest.mark.parametrize("program", ["/usr/bin/true", "/opt/blender", "", None])
def test_a_program_with_python_inside_is_not_started_once_more(
    path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None
) -> None:
    started: list[object] = []
    monkeypatch.setattr(sys, "executable", program)
    monkeypatch.setattr(subprocess, "Popen", lambda *arguments, **_: started.append(arguments))
    assert read_container.read_container(path).kind == "zip"
    assert not started


def test_a_stopped_process_is_ended(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = "import os, signal; os.write(1, b'!'); os.kill(os.getpid(), signal.SIGSTOP)"
    monkeypatch.setattr(limited_process, "_PROGRAM", stopping)
    monkeypatch.setattr(limited_process, "_LONGEST_WAIT", 1)
    with pytest.raises(CheckpointRefusedError, match="more time or memory"):
        read_container.read_container(path)


# somebody who writes to the file after it was described, and sets its time back
@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    def between(change: Callable[[], object]) -> None:
        described = limited_process.described

        def and_then(files: list[object], *folder: object) -> Description:
            description = described(files, *folder)
            change()
            return description

        monkeypatch.setattr(read_container, "described", and_then)

    return between


def overwritten(path: Path, content: bytes, keep_time: bool) -> None:
    status = path.stat()
    with path.open("r+b") as stream:
        stream.write(content)
        stream.truncate()
    if keep_time:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("keep_time", [False, True])
def test_a_file_that_is_overwritten_meanwhile_is_refused(
    tmp_path: Path, meanwhile: Callable[[Callable[[], object]], None], form: str, keep_time: bool
) -> None:
    contents = [{"a": torch.zeros(64), "b": torch.ones(64)}, {"b": torch.zeros(64), "a": torch.ones(64)}]
    files = [save(one) if form == "safetensors" else saved(one, legacy=form == "legacy") for one in contents]
    if form == "safetensors":  # it sorts names, so another one makes the difference
        files[1] = files[0].replace(b'"a"', b'"c"', 1)
    assert len(files[0]) == len(files[1])
    path = tmp_path / "net.pt"
    path.write_bytes(files[0])
    meanwhile(lambda: overwritten(path, files[1], keep_time))
    with pytest.raises(
        CheckpointRefusedError, match="the checksum of its|data.pkl is wrong" if keep_time else "changed"
    ):
        read_container.read_container(path)


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_file_that_is_cut_meanwhile_is_refused(
    tmp_path: Path, meanwhile: Callable[[Callable[[], object]], None], form: str, keep: float
) -> None:
    content = {"w": torch.arange(2.0**18)}
    path = tmp_path / "net.pt"
    path.write_bytes(save(content) if form == "safetensors" else saved(content, legacy=form == "legacy"))
    meanwhile(lambda: os.truncate(path, int(path.stat().st_size * keep)))
    with pytest.raises(CheckpointRefusedError, match="changed while it was read"):
        read_container.read_container(path)


def test_the_digest_is_of_the_bytes_that_are_used(
    tmp_path: Path, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    import hashlib

    path = tmp_path / "net.pt"
    path.write_bytes(save({"w": torch.zeros(8)}))
    other = save({"w": torch.ones(8)})
    meanwhile(lambda: overwritten(path, other, keep_time=True))
    container = read_container.read_container(path)
    assert container.content["w"].tolist() == [1] * 8
    assert container.sha256 == hashlib.sha256(other).hexdigest()


# a description that is changed on its way, position by position
_WRONG = (
    None,
    True,
    -1,
    0,
    1,
    99,
    2**40,
    2**70,
    1.5,
    float("nan"),
    "",
    "x",
    "dict",
    [],
    [0],
    [1],
    [99],
    {},
    [[]],
    [0, 0],
)


def _changes(value: object) -> Iterator[object]:
    """``value`` with one part of it changed, for every part and every wrong value."""
    for wrong in _WRONG:
        if type(wrong) is not type(value) or wrong != value:
            yield wrong
    if isinstance(value, list):
        yield value[:-1]
        yield [*value, *value[-1:]]
        for index, part in enumerate(value):
            for changed in _changes(part):
                yield [*value[:index], changed, *value[index + 1 :]]


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"stored": [[0, 64, 16, "little", "float32"], [0, 64, 16, "big", "float32"]]}, "two orders"),
        ({"stored": [[0, 64, 16, "big", "int16"], [0, 64, 16, "big", "float32"]]}, "two orders"),
        ({"stored": [[0, 64, 15, "big", "float32"]]}, "whole elements"),
        ({"nodes": [["dict"], ["list"], ["set", [1]]]}, "a key that is none"),
        ({"nodes": [["dict"], ["dict", [0], None]]}, "a key that is none"),
        ({"nodes": [["dict"], ["tuple", [0]], ["dict", [1], None]]}, "a key that is none"),
        ({"nodes": [["dict"], ["unread", 1, "a.b"]]}, "an object that is none"),
        ({"nodes": [["dict"], ["unread", True, "n" * 257]]}, "an object that is none"),
        ({"nodes": [["dict"], ["unread", False, None]]}, "an object that is none"),
        ({"nodes": [["list"]]}, "content without names"),
        ({"nodes": [["dict", "a", 1]]}, "metadata that are no texts"),
    ],
)
def test_a_description_that_nobody_can_build_is_refused(part: dict[str, object], says: str) -> None:
    parts = {
        "roots": [["zip", [0], [0]]],
        "nodes": [["dict"]],
        "stored": [],
        "tensors": [],
        "checksums": [],
        "notes": [],
    }
    with pytest.raises(UnsoundDescriptionError, match=says):
        checked_description(json.dumps([*{**parts, **part}.values()]).encode(), [4096], 1)


def test_a_changed_description_is_refused_or_built_without_a_failure(path: Path) -> None:
    tried = built = 0
    with open_regular(path) as file:
        sound = json.loads(describe_files([file]).to_bytes())
        for changed in _changes(sound):
            tried += 1
            try:
                description = checked_description(json.dumps(changed).encode(), [file.size], 1)
                read = read_container._read([file], description, range(1))
                made = read_container._built(path, description, read)
            except (UnsoundDescriptionError, CheckpointRefusedError):
                continue
            built += 1
            (root,) = description.roots
            assert isinstance(made[root.content[0]], dict)
            assert isinstance(made[root.metadata[0]], dict)
    assert tried > 1500
    assert built > 10
