"""The files of a training run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.checkpoints.run_files import RunFiles
from bnsharp_cli.io.files.atomic_writing import append_at, remove_leftovers, require_writable, write_atomically


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


@pytest.mark.parametrize(
    ("output", "names"),
    [
        ("run.pt", ("run.best.pt", "run.metrics.jsonl", "run.state")),
        ("a.b.pth", ("a.b.best.pth", "a.b.metrics.jsonl", "a.b.state")),
        ("run", ("run.best", "run.metrics.jsonl", "run.state")),
    ],
)
def test_the_names_begin_as_the_outputs(tmp_path: Path, output: str, names: tuple[str, ...]) -> None:
    files = RunFiles(tmp_path / output)
    assert (files.best.name, files.metrics.name, files.state.name) == names
    files.require_writable()
    assert not list(tmp_path.iterdir())
