"""Files that are whole or not there, and never another file instead."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from bnsharp_cli.errors import BnsharpError, UsageError
from bnsharp_cli.io.files.atomic_writing import (
    append_at,
    remove_leftovers,
    require_writable,
    require_writable_folder,
    write_atomically,
    write_text_atomically,
)


@pytest.fixture(params=[0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_file_gets_the_rights_that_the_umask_leaves(tmp_path: Path, umask: int) -> None:
    write_text_atomically(tmp_path / "figures", "zwölf\n")
    assert (tmp_path / "figures").read_bytes() == "zwölf\n".encode()
    assert stat.S_IMODE((tmp_path / "figures").stat().st_mode) == 0o666 & ~umask
    assert os.umask(umask) == umask


@pytest.mark.parametrize("error", [ValueError, OSError(28, "No space left on device"), KeyboardInterrupt])
def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path, error: BaseException | type[BaseException]) -> None:
    path = tmp_path / "figures"
    path.write_text("before")

    def write(stream: BinaryIO) -> None:
        stream.write(b"half")
        raise error

    with pytest.raises((ValueError, BnsharpError, KeyboardInterrupt)) as raised:
        write_atomically(path, write)
    if isinstance(error, OSError):
        assert raised.value.reason.endswith("figures: No space left on device.")
        assert raised.value.exit_code == 4, "a full disk is no mistake in the command line"
        assert raised.value.remedy == "Make room on the disk, or name a file on another one."
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == {"figures": "before"}


@pytest.mark.parametrize("name", ["none/figures", "folder", "fig\0ures", "a" * 300])
def test_what_cannot_be_written_is_said_before_any_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    for check in (require_writable, lambda path: write_text_atomically(path, "")):
        with pytest.raises(UsageError, match="Cannot write") as refused:
            check(tmp_path / name)
        assert refused.value.reason.isprintable()
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_a_folder_may_be_missing_but_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    require_writable_folder(tmp_path / "new" / "newer")
    for folder in (tmp_path / "file", tmp_path / "file" / "new"):
        with pytest.raises(UsageError, match=r"Cannot write to .*: .*file is not a folder"):
            require_writable_folder(folder)
    with pytest.raises(UsageError, match=r"Cannot write to .*null (byte|character)"):
        require_writable_folder(tmp_path / "a\0b")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_is_appended_follows_what_counts(tmp_path: Path) -> None:
    path = tmp_path / "figures"
    first = append_at(path, 0, "one\n")
    assert append_at(path, first, "lost\n") == 9
    assert append_at(path, first, "") == first
    assert path.read_text() == "one\n"
    append_at(path, first, "zwö\n")
    assert path.read_text() == "one\nzwö\n"
    append_at(path, 0, "anew\n")
    assert path.read_text() == "anew\n"
    with pytest.raises(UsageError, match="has lost lines"):
        append_at(path, 100, "two\n")
    with pytest.raises(UsageError, match="Cannot write"):
        append_at(tmp_path / "none" / "figures", 0, "")


@pytest.mark.parametrize("target", ["theirs", "missing"])
def test_nothing_is_written_through_a_link(tmp_path: Path, target: str) -> None:
    (tmp_path / "theirs").write_text("their own lines\n")
    link = tmp_path / "run.metrics.jsonl"
    link.symlink_to(target)
    for write in (
        lambda: append_at(link, 0, "mine\n"),
        lambda: append_at(link, 5, ""),
        lambda: require_writable(link),
        lambda: write_atomically(link, lambda stream: stream.write(b"mine")),
    ):
        with pytest.raises(UsageError, match=r"run\.metrics\.jsonl: it is a link to another file"):
            write()
    assert (tmp_path / "theirs").read_text() == "their own lines\n"
    assert {path.name for path in tmp_path.iterdir()} == {"theirs", "run.metrics.jsonl"}


def test_a_file_with_two_names_and_a_pipe_are_not_appended_to(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("their own lines\n")
    (tmp_path / "second").hardlink_to(tmp_path / "theirs")
    os.mkfifo(tmp_path / "pipe")
    for name in ("second", "pipe"):
        with pytest.raises(UsageError, match="not a regular file of this name alone"):
            append_at(tmp_path / name, 0, "mine\n")
    assert (tmp_path / "theirs").read_text() == "their own lines\n"


def test_leftovers_of_a_name_are_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = [".a.pt.x.part.pt", ".b.pt.x.part", "a.pt", ".a.pt", "a.pt.part"]
    for name in (*kept, ".a.pt.x.part", ".a.pt.y7.part"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "a.pt")
    assert {path.name for path in tmp_path.iterdir()} == {*kept}
