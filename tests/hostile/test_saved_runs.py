"""What a stranger left beside a run or in the folder of an experiment: exit 2 or 3, one line, and little cost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.hostile.cases import CASES
from tests.hostile.forge import MARKER
from tests.hostile.harness import Finished, Harness
from tests.hostile.test_checkpoints import one_line

NETWORK = ("--arch", "lenet-bn", "--arch-option", "image_size=8", "--arch-option", "in_channels=1")
TRAIN = ("train", *NETWORK, "--data", "digits", "--batch-size", 512, "--epochs", 1, "--output", "run.pt", "--quiet")
EXPERIMENT = ("reproduce", "figure-1", "--only", "SGD", "--quiet", "--output", "f1")
STATE, FIGURES, RESULTS = "run.state", "run.metrics.jsonl", "f1/results.jsonl"
LARGE = 5 * 2**30


@pytest.fixture(scope="module")
def sound(command: Harness, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run and a finished experiment."""
    folder = tmp_path_factory.mktemp("sound")
    for arguments in (TRAIN, EXPERIMENT):
        finished = command(*arguments, folder=folder)
        assert finished.code == 0, finished
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "folder")


def refused(finished: Finished, folder: Path, before: Mapping[str, float]) -> str:
    """The one line of a refusal that cost little, ran nothing and wrote nothing."""
    assert finished.code in {2, 3}, finished
    assert not [*folder.rglob(MARKER)]
    assert listed(folder) == before
    return one_line(finished)


def listed(folder: Path) -> dict[str, float]:
    """Every name with the time at which it was last written to."""
    return {str(path.relative_to(folder)): path.lstat().st_mtime for path in folder.rglob("*") if not path.is_dir()}


def sparse(path: Path) -> None:
    with path.open("r+b" if path.exists() else "wb") as stream:
        stream.truncate(LARGE)


def replaced(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


def written(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def repeated(text: str, size: int = 2**22) -> Callable[[Path], object]:
    """As much of a text as the file may have."""
    return written((text * (size // len(text.encode()))).encode())


ANYWHERE: dict[str, Callable[[Path], object]] = {
    "a hole behind it": sparse,
    "a hole": replaced(sparse),
    "pipe": replaced(os.mkfifo),
    "folder": replaced(Path.mkdir),
    "endless": replaced(lambda path: path.symlink_to("/dev/zero")),
    "link to itself": replaced(lambda path: path.symlink_to(path.name)),
    "random": written(bytes(range(256)) * 4096),
}
LINES: dict[str, Callable[[Path], object]] = {
    "empty mappings": repeated("{}\n"),
    "empty lines": repeated("\n"),
    "lists": repeated("[]\n"),
    "deep": written(b"[" * 2**20 + b"\n"),
    "many lists in a line": written(b"[" + b"[]," * (2**18 - 2) + b"[]]\n"),
    "many names in a line": written(json.dumps({str(number): 0 for number in range(2**17)}).encode() + b"\n"),
    "a name again and again": written(b"{" + b",".join([b'"a": 1'] * 10**5) + b"}\n"),
    "a number of many digits": written(b'{"seed": ' + b"9" * 10**6 + b"}\n"),
    "an infinite number": written(b'{"epoch": 1e999}\n'),
    "NaN": written(b'{"epoch": NaN}\n'),
    "one long text": written(b'{"name": "' + b"a" * 2**21 + b'"}\n'),
    "escapes": written(b'{"name": "\\u001b[2J\\u202e\\n"}\n'),
    "surrogates": written(b'{"name": "\\ud800"}\n'),
    "no text": written(b"\xff\xfe\n"),
    "another encoding": written("{}\n".encode("utf-16")),
}


@pytest.mark.parametrize("kind", ANYWHERE)
@pytest.mark.parametrize("file", [STATE, FIGURES, RESULTS])
def test_what_is_no_such_file_is_refused(command: Harness, folder: Path, file: str, kind: str) -> None:
    ANYWHERE[kind](folder / file)
    before = listed(folder)
    arguments = EXPERIMENT if file == RESULTS else (*TRAIN, "--resume")
    refused(command(*arguments, folder=folder), folder, before)


@pytest.mark.parametrize(
    ("file", "kind"), [*((RESULTS, kind) for kind in LINES), *((FIGURES, kind) for kind in [*LINES][::4])]
)
def test_lines_of_strangers_are_refused(command: Harness, folder: Path, file: str, kind: str) -> None:
    LINES[kind](folder / file)
    before = listed(folder)
    arguments = EXPERIMENT if file == RESULTS else (*TRAIN, "--resume")
    refused(command(*arguments, folder=folder), folder, before)


@pytest.mark.parametrize("kind", [*ANYWHERE, *LINES][::4])
def test_figures_of_an_experiment_are_refused(command: Harness, folder: Path, kind: str) -> None:
    {**ANYWHERE, **LINES}[kind](folder / "f1/figure-1-digits-SGD-seed0.metrics.jsonl")
    before = listed(folder)
    refused(command(*EXPERIMENT, folder=folder), folder, before)


NAMES = [name for name in CASES if name != "missing"]
STRANGERS = [(name, "train") for name in NAMES[::12]] + [(name, "reproduce") for name in NAMES[::50]]


@pytest.mark.parametrize(("name", "where"), STRANGERS)
def test_a_hostile_checkpoint_is_no_state(
    command: Harness, folder: Path, tmp_path: Path, name: str, where: str
) -> None:
    case = CASES[name]
    (tmp_path / "made").mkdir()
    path = case.write(tmp_path / "made")
    state = folder / (STATE if where == "train" else "f1/figure-1-digits-SGD-seed0.state")
    state.unlink()
    path.rename(state) if tmp_path in path.parents else state.symlink_to(path)
    if where == "reproduce":
        (folder / RESULTS).write_bytes(b"")
    before = listed(folder)
    how: dict[str, Any] = {"unprivileged": case.unprivileged, "environment": dict(case.environment)}
    finished = command(*((*TRAIN, "--resume") if where == "train" else EXPERIMENT), folder=folder, **how)
    refused(finished, folder, before)


def nested(levels: int) -> object:
    content: object = 0
    for _ in range(levels):
        content = [content]
    return content


STATES: dict[str, Callable[[dict[str, Any]], object]] = {
    "large momentum": lambda state: state["rule"]["state"].update({0: {"momentum_buffer": torch.zeros(2**24)}}),
    "many momenta": lambda state: state["rule"]["state"].update({number: {} for number in range(8, 20_000)}),
    "many settings": lambda state: state["rule"]["param_groups"][0].update(params=[0] * 100_000),
    "many options": lambda state: state["run"].update({f"--{number}": 0 for number in range(9_000)}),
    "deep options": lambda state: state["run"].update({"--seed": nested(90)}),
    "options of options": lambda state: state["run"].update({"--arch-option": {"a": state["run"]}}),
    "many trackers": lambda state: state.update(tracker={f"mlflow:{number}": "" for number in range(50_000)}),
    "long tracker": lambda state: state.update(tracker={"mlflow:" + "x" * 2**20: ""}),
    "long version": lambda state: state["versions"].update(torch="2" * 2**20),
    "escapes": lambda state: state["run"].update({"\x1b[2J": "\u202e\n" * 1000}),
    "large order": lambda state: state.update(order=torch.zeros(2**25, dtype=torch.uint8)),
    "long metrics": lambda state: state.update(metrics=2**62),
    "a weight more": lambda state: state["state_dict"].update(more=torch.zeros(2**24)),
    "a huge number": lambda state: state.update(gradients=10**4000),
}


@pytest.mark.parametrize("kind", STATES)
def test_a_state_that_swells_is_refused(command: Harness, folder: Path, kind: str) -> None:
    state = torch.load(folder / STATE, weights_only=True)
    STATES[kind](state)
    torch.save(state, folder / STATE)
    before = listed(folder)
    refused(command(*TRAIN, "--resume", folder=folder), folder, before)


def test_sound_files_pass_through_the_same_harness(command: Harness, folder: Path) -> None:
    for arguments in ((*TRAIN, "--resume"), EXPERIMENT):
        finished = command(*arguments, folder=folder)
        assert finished.code == 0, finished
        assert finished.stderr == ""
