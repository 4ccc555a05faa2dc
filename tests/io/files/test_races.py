"""What changes between the look at a file and what is done with it: a function in between makes the change."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.files.atomic_writing import append_at, require_writable, write_atomically, write_text_atomically
from bnsharp_cli.io.files.regular_files import NotRegularFileError, open_regular, read_beside


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``out`` is written to; ``theirs`` holds what must stay as it is."""
    (tmp_path / "out").mkdir()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/net.json").write_text("theirs")
    return tmp_path


@pytest.fixture
def untouched(folder: Path) -> Iterator[None]:
    yield
    assert [path.name for path in (folder / "theirs").iterdir()] == ["net.json"]
    assert (folder / "theirs/net.json").read_text() == "theirs"


def once_before(function: str, change: Callable[[], object]) -> Any:
    """``os`` with a change made right before the first call of one of its functions that names a file."""
    original, done = getattr(os, function), []

    def changed(*args: Any, **keywords: Any) -> Any:
        if not done:
            done.append(True)
            change()
        return original(*args, **keywords)

    return mock.patch(f"os.{function}", changed)


def before_opening(path: Path, change: Callable[[Path], object]) -> Any:
    """``os.open`` that removes a file and calls ``change`` with its path right before each time it opens that name."""
    original = os.open

    def changed(name: Any, *args: Any, **keywords: Any) -> int:
        if Path(name).name == path.name:
            path.unlink()
            change(path)
        return original(name, *args, **keywords)

    return mock.patch("os.open", changed)


def swap_the_folder(folder: Path) -> None:
    (folder / "out").rename(folder / "away")
    (folder / "out").symlink_to("theirs")


@pytest.mark.parametrize("moment", ["stat", "rename", "fsync", "write"])
@pytest.mark.usefixtures("untouched")
def test_a_folder_that_becomes_a_link_leads_nowhere_else(folder: Path, moment: str) -> None:
    def write(stream: Any) -> None:
        if moment == "write":
            swap_the_folder(folder)
        stream.write(b"ours")

    with once_before(moment if moment != "write" else "getcwd", lambda: swap_the_folder(folder)):
        write_atomically(folder / "out/net.json", write)
    assert (folder / "away/net.json").read_text() == "ours"
    assert [path.name for path in (folder / "away").iterdir()] == ["net.json"]


@pytest.mark.parametrize("moment", ["rename", "fsync"])
@pytest.mark.usefixtures("untouched")
def test_a_file_that_becomes_a_link_is_replaced_and_not_followed(folder: Path, moment: str) -> None:
    path = folder / "out/net.json"
    with once_before(moment, lambda: path.symlink_to("../theirs/net.json")):
        write_text_atomically(path, "ours")
    assert not path.is_symlink()
    assert path.read_text() == "ours"


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("../theirs/net.json"), os.mkfifo, Path.mkdir])
@pytest.mark.usefixtures("untouched")
def test_what_was_free_when_it_was_looked_at_is_looked_at_again(folder: Path, make: Callable[[Path], object]) -> None:
    path = folder / "out/net.json"
    require_writable(path)
    make(path)
    with pytest.raises(UsageError, match="Cannot write"):
        write_text_atomically(path, "ours")
    assert [entry.name for entry in (folder / "out").iterdir()] == ["net.json"]


@pytest.mark.usefixtures("untouched")
def test_what_is_appended_to_is_not_followed_when_it_becomes_a_link(folder: Path) -> None:
    path = folder / "out/net.json"
    path.write_text("ours")

    def swap() -> None:
        path.unlink()
        path.symlink_to("../theirs/net.json")

    with once_before("open", swap), pytest.raises(UsageError, match="Too many levels of symbolic links"):
        append_at(path, 0, "more")


@pytest.mark.parametrize("read", [open_regular, lambda path: read_beside(path, 100)], ids=["named", "beside"])
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir], ids=["pipe", "folder"])
def test_what_becomes_a_pipe_or_a_folder_is_not_waited_for(
    folder: Path, read: Callable[[Path], object], make: Callable[[Path], object]
) -> None:
    path = folder / "out/net.json"
    path.write_text("ours")
    with before_opening(path, make), pytest.raises(NotRegularFileError):
        read(path)


def test_a_file_beside_that_becomes_a_link_is_not_read(folder: Path) -> None:
    path = folder / "out/net.json"
    path.write_text("ours")
    linked = before_opening(path, lambda stood: stood.symlink_to("../theirs/net.json"))
    with linked, pytest.raises(OSError, match="Too many levels of symbolic links"):
        read_beside(path, 100)


def test_a_file_that_changes_while_it_is_open_is_noticed(folder: Path) -> None:
    path = folder / "theirs/net.json"
    with open_regular(path) as file:
        path.rename(folder / "out/net.json")
        path.write_text("another")
        assert file.read(0, 100) == b"theirs"
        assert file.is_unchanged()
        with (folder / "out/net.json").open("a") as stream:
            stream.write("more")
        assert not file.is_unchanged()
