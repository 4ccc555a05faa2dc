"""Every option that names what is written, with every kind of path: refused in one line, before any work."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from bnsharp_cli.measurement.invariance.options import COPY_NAMES
from bnsharp_cli.workflows.output_files import copy_path
from tests.cli.helpers import bnsharp, one_error

FAST = ("--samples", "64", "--batch-size", "64", "--quiet")
FILES: dict[str, tuple[tuple[str, ...], str]] = {
    "measure --output": (("measure", "net.pt", *FAST, "--output"), ".json"),
    "measure --plot": (("measure", "net.pt", *FAST, "--plot"), ".png"),
    "several --output": (("measure", "net.pt", "net.pt", *FAST, "--output"), ".json"),
    "compare --output": (("compare", "net.pt", "net.pt", *FAST, "--output"), ".json"),
    "compare --plot": (("compare", "net.pt", "net.pt", *FAST, "--plot"), ".png"),
    "figure --plot": (("figure", "profile", "net.pt", *FAST, "--plot"), ".svg"),
    "figure --values": (("figure", "profile", "net.pt", *FAST, "--plot", "p.png", "--values"), ".csv"),
    "report --output": (("report", "net.pt", *FAST, "--output"), ".html"),
    "audit --output": (("audit", "net.pt", *FAST, "--output"), ".json"),
    "check --output": (("check", "net.pt", *FAST, "--output"), ".json"),
    "junit --output": (("check", "net.pt", *FAST, "--output"), ".xml"),
    "check --update-baseline": (("check", "net.pt", *FAST, "--update-baseline", "--baseline"), ".json"),
    "inspect --output": (("inspect", "net.pt", "--output"), ".json"),
    "bound --output": (("bound", "net.pt", "--kl", "50", *FAST, "--output"), ".json"),
    "rescale-test --output": (("rescale-test", "net.pt", *FAST, "--output"), ".json"),
    "rescale-test --plot": (("rescale-test", "net.pt", *FAST, "--plot"), ".svg"),
    "train --output": (("train", "--epochs", "1", "--quiet", "--output"), ".pt"),
}
FOLDERS: dict[str, tuple[str, ...]] = {
    "rescale-test --save-copies": ("rescale-test", "net.pt", *FAST, "--save-copies"),
    "measure --results": ("measure", "net.pt", *FAST, "--results"),
    "compare --results": ("compare", "net.pt", "net.pt", *FAST, "--results"),
    "reproduce --output": ("reproduce", "figure-1", "--only", "SGD", "--quiet", "--output"),
    "train --track": ("train", "--epochs", "1", "--quiet", "--output", "run.pt", "--track"),
}
WORK = (
    "workflows.measuring.open_inputs",
    "workflows.checking.open_inputs",
    "workflows.figures.drawing.open_inputs",
    *(f"workflows.{name}.open_network" for name in ("rescaling", "bounding", "auditing")),
    "workflows.inspection.opened_checkpoint",
    *(f"workflows.{name}.open_setup" for name in ("training", "experiment")),
)
"""What each command does first of all, once it has looked at its arguments."""


BY_ENDING = {name for name in FILES if name.endswith(("--plot", "--values"))} | {"report --output"}
"""Files whose ending says what they hold, so that a name without one is refused for that."""


class WorkBegan(Exception):
    """The command has accepted its arguments."""


@pytest.fixture
def folder(tmp_path: Path, sample_path: Path) -> Iterator[Path]:
    """A network, and commands that end as soon as they begin to work."""
    shutil.copy(sample_path, tmp_path / "net.pt")
    with ExitStack() as patches:
        for name in WORK:
            patches.enter_context(mock.patch(f"bnsharp_cli.{name}", side_effect=WorkBegan))
        yield tmp_path


def content(folder: Path) -> dict[Path, object]:
    """Everything in a folder: files with their bytes, links with what they say, all else by its kind."""
    return {path: _content_of(path) for path in folder.rglob("*")}


def _content_of(path: Path) -> object:
    if path.is_symlink():
        return str(path.readlink())
    return path.read_bytes() if path.is_file() else path.lstat().st_mode


def _link(to: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(to)


def _bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stream:
        stream.bind(os.path.relpath(path))


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "link": (_link("theirs"), "it is a link to another file"),
    "dangling link": (_link("nowhere"), "it is a link to another file"),
    "link to a folder": (_link("images"), "it is a link to another file"),
    "link to itself": (lambda path: path.symlink_to(path.name), "it is a link to another file"),
    "link to a device": (_link("/dev/zero"), "it is a link to another file"),
    "folder": (Path.mkdir, "it is not a regular file"),
    "pipe": (os.mkfifo, "it is not a regular file"),
    "socket": (_bound_socket, "it is not a regular file"),
    "input": (lambda path: os.link(path.parent / "net.pt", path), "this command reads it"),
}
NO_PATHS = {
    "/dev/full": "it is not a regular file",
    "/dev/stdout": "it is a link to another file",
    "/proc/new{}": "",
    "/sys/new{}": "",
    "nowhere/new{}": "No such file or directory",
    "net.pt/new{}": "Not a directory",
    "loop/new{}": "Too many levels of symbolic links",
    "x" * 250 + "{}": "File name too long",
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", FILES)
def test_what_stands_there_is_neither_followed_nor_replaced(
    folder: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    arguments, ending = FILES[name]
    make, says = NO_FILES[kind]
    (folder / "theirs").write_text("theirs")
    (folder / "images").mkdir()
    make(folder / f"new{ending}")
    before = content(folder)
    if name == "train --output" and kind == "input":  # it reads no network, but code
        Path(f"new{ending}").rename("new.py")
        before, ending, arguments = content(folder), ".py", (*arguments[:-1], "--arch", "new.py:net", "--output")
    line = one_error(bnsharp(*arguments, f"new{ending}", folder=folder, expect=2))
    assert line == f"bnsharp: Cannot write new{ending}: {says}."
    assert content(folder) == before


@pytest.mark.parametrize(
    ("name", "path"),
    [(name, path) for name in FILES for path in NO_PATHS if "/dev" not in path or name not in BY_ENDING],
)
def test_where_no_file_can_be_is_refused(folder: Path, name: str, path: str) -> None:
    arguments, ending = FILES[name]
    (folder / "loop").symlink_to("loop")
    before = content(folder)
    named = path.format(ending)
    line = one_error(bnsharp(*arguments, named, folder=folder, expect=2))
    assert f"Cannot write {named}: {NO_PATHS[path]}" in line
    assert content(folder) == before


NO_FOLDERS = {**{kind: NO_FILES[kind][0] for kind in NO_FILES if kind not in {"folder", "input"}}, "file": Path.touch}


@pytest.mark.parametrize("kind", [*NO_FOLDERS, "below a file", "below a loop", "too long"])
@pytest.mark.parametrize("name", FOLDERS)
def test_what_is_no_folder_is_neither_followed_nor_replaced(
    folder: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "theirs").write_text("theirs")
    (folder / "images").mkdir()
    (folder / "loop").symlink_to("loop")
    path = {"below a file": "theirs/new", "below a loop": "loop/new", "too long": "x" * 256}.get(kind, "new")
    if kind in NO_FOLDERS:
        NO_FOLDERS[kind](folder / path)
    before = content(folder)
    given = f"tensorboard:{path}" if name == "train --track" else path
    line = one_error(bnsharp(*FOLDERS[name], given, folder=folder, expect=2))
    assert line.startswith(f"bnsharp: Cannot write to {path}: ")
    assert content(folder) == before


@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
def test_a_new_name_is_accepted(folder: Path, name: str) -> None:
    """The control of all the others: these arguments are right, and only the path was wrong."""
    arguments, ending = FILES[name] if name in FILES else (FOLDERS[name], "")
    before = content(folder)
    given = "tensorboard:new" if name == "train --track" else f"new{ending}"
    assert "WorkBegan" in bnsharp(*arguments, given, folder=folder, expect=4).stderr
    made = {folder / "new", *([folder / given] if name.endswith("--output") else [])}  # which tells what failed
    assert {*content(folder)} - made == {*before}


@pytest.mark.parametrize("kind", [kind for kind in NO_FILES if kind != "input"])
@pytest.mark.parametrize(
    ("arguments", "file", "argument"),
    [
        (("rescale-test", "net.pt", *FAST, "--save-copies", "new"), "a-1e-05.pt", "new/"),
        *(
            (("reproduce", "figure-1", "--only", "SGD", "--quiet", "--output", "new"), file, "new/")
            for file in ("figure-1.png", "figure-1-digits-SGD-seed0.pt", "figure-1-digits-SGD-seed0.best.pt")
        ),
        *((("train", "--quiet", "--output", "new/run.pt"), f"run.{end}", "new/") for end in ("best.pt", "state")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_no_argument_names_alone_are_looked_at_first_too(
    folder: Path, arguments: tuple[str, ...], file: str, argument: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    make, says = NO_FILES[kind]
    names = [copy_path(Path(), name, stored=False).name for name in COPY_NAMES]
    file = names[0] if file == "a-1e-05.pt" else file
    (folder / "new").mkdir()
    (folder / "new/theirs").write_text("theirs")
    make(folder / "new" / file)
    before = content(folder)
    assert one_error(bnsharp(*arguments, folder=folder, expect=2)) == f"bnsharp: Cannot write {argument}{file}: {says}."
    assert content(folder) == before


@pytest.mark.parametrize("name", COPY_NAMES)
@pytest.mark.parametrize("epsilon", ["exact", "stored"])
def test_no_copy_is_written_onto_what_is_read(folder: Path, name: str, epsilon: str) -> None:
    (folder / "copies").mkdir()
    path = copy_path(Path("copies"), name, stored=epsilon == "stored")
    shutil.move(folder / "net.pt", folder / path)
    arguments = ("rescale-test", path, *FAST, "--save-copies", "copies", "--epsilon", epsilon)
    line = one_error(bnsharp(*arguments, folder=folder, expect=2))
    assert line == f"bnsharp: Cannot write {path}: this command reads it."
    np.savez(folder / "data.npz", x=np.zeros((4, 1, 8, 8), np.float32), y=np.arange(4))
    (folder / path).rename(folder / "net.pt")
    os.link(folder / "data.npz", folder / path)
    reads = ("rescale-test", "net.pt", "--data", "npz:data.npz", *arguments[2:])
    assert one_error(bnsharp(*reads, folder=folder, expect=2)) == line


def test_a_copy_and_a_document_are_not_one_file(folder: Path) -> None:
    (folder / "copies").mkdir()
    arguments = ("rescale-test", "net.pt", *FAST, "--save-copies", "copies", "--output", "copies/a0.pt")
    line = one_error(bnsharp(*arguments, folder=folder, expect=2))
    assert line == "bnsharp: --output and --save-copies name the same file."


def test_data_is_no_output_of_an_experiment(folder: Path) -> None:
    (folder / "f1").mkdir()
    np.savez(folder / "data.npz", x=np.zeros((4, 1, 8, 8), np.float32), y=np.arange(4))
    os.link(folder / "data.npz", folder / "f1/figure-1.png")
    arguments = ("reproduce", "figure-1", "--output", "f1", "--budget", "cpu", "--cifar10", "npz:data.npz")
    line = one_error(bnsharp(*arguments, folder=folder, expect=2))
    assert line == "bnsharp: Cannot write f1/figure-1.png: this command reads it."


@pytest.mark.parametrize(
    "command", [("measure",), ("check",), ("audit",), ("bound", "--kl", 1), ("rescale-test",)], ids=str
)
@pytest.mark.parametrize("recorded", ["npz:data.npz", "folder:images"])
def test_data_that_a_checkpoint_records_is_not_written_over(
    tmp_path: Path, sample_path: Path, command: tuple[object, ...], recorded: str
) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((4, 1, 8, 8), np.float32), y=np.arange(4))
    (tmp_path / "images/a").mkdir(parents=True, exist_ok=True)
    (tmp_path / "images/a/1.png").write_bytes(b"an image")
    entries = torch.load(sample_path, weights_only=True)
    torch.save({**entries, "data": "npz", "data_source": {"data": recorded}}, tmp_path / "net.pt")
    output = "data.npz" if recorded.startswith("npz") else "images/a/1.png"
    before = content(tmp_path)
    options = command[1:]
    line = one_error(bnsharp(command[0], "net.pt", *options, "--output", output, "--quiet", folder=tmp_path, expect=2))
    assert line == f"bnsharp: Cannot write {output}: this command reads it."
    assert content(tmp_path) == before


def test_a_copy_is_not_written_over_data_that_a_checkpoint_records(tmp_path: Path, sample_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((4, 1, 8, 8), np.float32), y=np.arange(4))
    entries = torch.load(sample_path, weights_only=True)
    torch.save({**entries, "data": "npz", "data_source": {"data": "npz:data.npz"}}, tmp_path / "net.pt")
    (tmp_path / "copies").mkdir()
    path = copy_path(Path("copies"), COPY_NAMES[0], stored=False)
    os.link(tmp_path / "data.npz", tmp_path / path)
    line = one_error(bnsharp("rescale-test", "net.pt", "--save-copies", "copies", "--quiet", folder=tmp_path, expect=2))
    assert line == f"bnsharp: Cannot write {path}: this command reads it."
