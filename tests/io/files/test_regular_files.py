"""One opener for every file that is read: what it opens, what it refuses, and what it notices."""

from __future__ import annotations

import doctest
import io
import os
import threading
from pathlib import Path
from types import ModuleType

import pytest

from bnsharp_cli.io.files import printable_text, regular_files
from bnsharp_cli.io.files.regular_files import NotRegularFileError, open_regular, reason_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.pt"
    path.write_bytes(bytes(range(100)))
    return path


@pytest.mark.parametrize("module", [regular_files, printable_text], ids=lambda module: module.__name__)
def test_the_examples_are_true(module: ModuleType) -> None:
    assert doctest.testmod(module).attempted
    assert not doctest.testmod(module).failed


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "pipe" if kind == "pipe" else tmp_path if kind == "folder" else Path("/dev/zero")
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(NotRegularFileError) as refused:
        open_regular(path)
    assert reason_of(refused.value) == "not a regular file"


def test_what_takes_the_place_of_a_file_between_look_and_open_is_refused(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    really_open = os.open
    monkeypatch.setattr(os, "open", lambda _path, flags: really_open(tmp_path / "pipe", flags))
    open_descriptors = len([*Path("/dev/fd").iterdir()])
    with pytest.raises(NotRegularFileError):
        open_regular(path)
    assert len([*Path("/dev/fd").iterdir()]) == open_descriptors


def test_a_missing_file_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        open_regular(tmp_path / "net.pt")
    assert reason_of(missing.value) == "No such file or directory"


def test_a_change_is_noticed(path: Path) -> None:
    with open_regular(path) as file:
        assert file.is_unchanged()
        os.utime(path, ns=(0, file.identity.modified + 1))
        assert not file.is_unchanged()


def test_reads_name_their_offset_and_end_with_the_file(path: Path) -> None:
    with open_regular(path) as file:
        assert file.read(98, 99) == bytes([98, 99])
        assert file.read(100, 1) == file.read(200, 1) == b""
        buffer = bytearray(4)
        assert file.read_into(buffer, 97) == 3
        assert buffer == bytes([97, 98, 99, 0])
        assert file.part(10, 5).read_into(buffer, 4) == 1
        assert file.part(10, 5).size == 5
        assert b"".join(file.chunks(90, 99)) == bytes(range(90, 100))
    assert file.stream.closed


def test_the_digest_of_a_part_is_that_of_its_bytes(path: Path, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(bytes(range(10, 15)))
    with open_regular(path) as whole, open_regular(tmp_path / "part") as part:
        assert whole.part(10, 5).sha256() == part.sha256() != whole.sha256()


def test_a_window_is_a_stream_without_a_descriptor(path: Path) -> None:
    with open_regular(path) as file:
        window = file.window(10, 20)
        assert window.seek(-5, os.SEEK_END) == 15
        assert window.read() == bytes(range(25, 30))
        with pytest.raises(io.UnsupportedOperation):
            window.fileno()


def test_windows_in_several_threads_do_not_disturb_each_other(tmp_path: Path) -> None:
    content = os.urandom(2**20)
    (tmp_path / "large").write_bytes(content)
    found: list[bytes] = []
    with open_regular(tmp_path / "large") as file:
        threads = [threading.Thread(target=lambda: found.append(file.window().read())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [content] * 4
