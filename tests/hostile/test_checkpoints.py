"""Every hostile or broken checkpoint: exit 3, one clear line, no code run, little memory, little time."""

from __future__ import annotations

import importlib
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.hostile import code_cases, content_cases, file_cases, pickle_cases
from tests.hostile.cases import CASES
from tests.hostile.forge import MARKER, Evil, saved, weights
from tests.hostile.harness import Finished, Harness

MOST_MEMORY = 200 * 2**20
MOST_SECONDS = 5
AS_LENET = ("--arch", "lenet-bn", "--arch-option", "image_size=8", "--arch-option", "in_channels=1", "--data", "digits")
FAST = ("--samples", 64, "--batch-size", 64, "--quiet")
OTHER_COMMANDS = (("check",), ("bound", "--kl", 1), ("rescale-test",))
REFUSING_COMMANDS = (*OTHER_COMMANDS, ("audit",))  # of a sound network it takes long
MODULES = (code_cases, content_cases, file_cases, pickle_cases)


def measure(command: Harness, path: Path, folder: Path, **how: Any) -> Finished:
    return command("measure", path, *AS_LENET, *FAST, folder=folder, **how)


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 60
    assert all(module.__doc__ for module in MODULES)


@pytest.mark.parametrize("name", CASES)
def test_a_stranger_is_refused(command: Harness, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    folder = tmp_path / "folder"
    folder.mkdir()
    path = case.write(folder)
    before = {entry.name for entry in tmp_path.rglob("*")}
    finished = measure(command, path, folder, unprivileged=case.unprivileged, environment=dict(case.environment))
    assert finished.code == 3, finished
    assert case.says in one_line(finished)
    assert not (folder / MARKER).exists()
    assert {entry.name for entry in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("name", [*CASES][::6])
def test_a_stranger_without_a_stated_network_is_refused(command: Harness, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    path = case.write(tmp_path)
    finished = command(
        "measure", path, *FAST, folder=tmp_path, unprivileged=case.unprivileged, environment=dict(case.environment)
    )
    one_line(finished)
    assert finished.code == 3 or (
        finished.code == 2 and ("--arch" in finished.stderr or "--data" in finished.stderr)
    ), finished
    assert not (tmp_path / MARKER).exists()


@pytest.mark.parametrize(("number", "name"), [*enumerate([*CASES][3::14])])
def test_the_other_commands_refuse_the_same(command: Harness, tmp_path: Path, number: int, name: str) -> None:
    case, (asked, *options) = CASES[name], REFUSING_COMMANDS[number % len(REFUSING_COMMANDS)]
    folder = tmp_path / "folder"
    folder.mkdir()
    path = case.write(folder)
    before = {entry.name for entry in tmp_path.rglob("*")}
    how: dict[str, Any] = {"unprivileged": case.unprivileged, "environment": dict(case.environment)}
    finished = command(asked, path, *options, *AS_LENET, *FAST, folder=folder, **how)
    assert finished.code == 3, finished
    assert case.says in one_line(finished)
    assert {entry.name for entry in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("asked", OTHER_COMMANDS, ids=lambda asked: asked[0])
def test_the_other_commands_accept_a_sound_checkpoint(
    command: Harness, tmp_path: Path, asked: tuple[object, ...]
) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(saved({"state_dict": weights()}))
    finished = command(asked[0], path, *asked[1:], *AS_LENET, *FAST, folder=tmp_path)
    assert finished.code in {0, 1}, finished  # 1 where a measure is not invariant, or a check fails
    assert finished.stdout


def one_line(finished: Finished) -> str:
    """The one line of a refusal that cost little."""
    assert finished.stdout == ""
    lines = finished.stderr.splitlines()
    assert len(lines) == 2, finished.stderr
    assert lines[0].startswith("bnsharp: ")
    assert lines[1].startswith("         ")
    assert all(line.isprintable() for line in lines)
    assert finished.memory < MOST_MEMORY
    assert finished.seconds < MOST_SECONDS
    return lines[0]


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors", "misnamed"])
def test_a_sound_checkpoint_passes_through_the_same_harness(command: Harness, tmp_path: Path, form: str) -> None:
    path = tmp_path / ("net.safetensors" if form == "zip" else "net.pt")
    if form in {"safetensors", "misnamed"}:
        save_file(weights(), path)
    else:
        path.write_bytes(saved({"state_dict": weights()}, legacy=form == "legacy"))
    finished = measure(command, path, tmp_path)
    assert finished.code == 0, finished.stderr
    assert "lenet-bn, 21,612 parameters" in finished.stdout


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_the_marker_appears_when_someone_does_unpickle(tmp_path: Path, protocol: int) -> None:
    pickle.loads(pickle.dumps(Evil(tmp_path), protocol))
    assert (tmp_path / MARKER).exists()


def test_the_harness_sees_memory_time_crashes_and_code(command: Harness, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import time\n"
        "def greedy():\n"
        "    block = bytearray(300 * 2**20)\n"
        "    began = time.process_time()\n"
        "    while time.process_time() < began + 1: pass\n"
        f"    open({MARKER!r}, 'w').close()\n"
        "    raise ValueError(len(block))\n"
        "def crash():\n"
        "    import os\n"
        "    os.abort()\n"
    )
    path = tmp_path / "net.pt"
    path.write_bytes(saved(weights()))
    greedy = command("measure", path, "--arch", "mine.py:greedy", "--data", "digits", folder=tmp_path)
    assert greedy.code == 2
    assert greedy.memory > MOST_MEMORY
    assert greedy.seconds > 1
    assert (tmp_path / MARKER).exists()
    assert command("measure", path, "--arch", "mine.py:crash", "--data", "digits", folder=tmp_path).code < 0


@pytest.mark.parametrize("legacy", [False, True])
def test_a_class_beside_the_weights_is_never_imported_and_changes_nothing(
    command: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, legacy: bool
) -> None:
    (tmp_path / "decoy.py").write_text(f"open({str(tmp_path / MARKER)!r}, 'w').close()\nclass Config: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "decoy", raising=False)
    config = importlib.import_module("decoy").Config()
    config.rate, config.shape = 0.1, [config, torch.ones(3)]
    (tmp_path / "net.pt").write_bytes(saved({"state_dict": weights(), "config": config}, legacy))
    (tmp_path / "twin.pt").write_bytes(saved({"state_dict": weights()}, legacy))
    (tmp_path / MARKER).unlink()
    measured = {}
    for name in ("net", "twin"):
        where = {"PYTHONPATH": str(tmp_path)}
        finished = command("measure", f"{name}.pt", *AS_LENET, *FAST, "--json", folder=tmp_path, environment=where)
        assert finished.code == 0, finished
        document = json.loads(finished.stdout)
        measured[name] = document["loss"], document["measures"]["bn"]["value"]
    assert not (tmp_path / MARKER).exists()
    assert measured["net"] == measured["twin"]
    theirs = torch.load(tmp_path / "net.pt", weights_only=False)["state_dict"]
    assert all(torch.equal(theirs[name], tensor) for name, tensor in weights().items())
