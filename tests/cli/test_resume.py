"""A training run that is killed loses the unfinished epoch and nothing else, and ends with the same bits."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from bnsharp_cli.io.checkpoints.run_files import RunFiles
from tests.cases import as_bytes
from tests.cli.helpers import bnsharp, one_error
from tests.cli.killed import Ended, Victims, victims

EPOCHS = 30
KILLS = 22
NETWORK = """
from torch import nn

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.BatchNorm1d(6), nn.Dropout(0.2), nn.Linear(6, 10))
"""
BATCHES = ("--data", "npz:data.npz", "--batch-size", 32, "--augment", "crop,flip")
RUN = ("train", "--arch", "mine.py:net", *BATCHES, "--output", "run.pt", "--resume")
SHORT = (*RUN, "--epochs", 3)


@pytest.fixture(scope="module")
def run() -> Iterator[Victims]:
    with victims() as started:
        yield started


def fresh(folder: Path) -> Path:
    """A folder with the network's code and its data."""
    folder.mkdir()
    (folder / "mine.py").write_text(NETWORK)
    (images, labels), (more, others) = images_of(0, 96), images_of(1, 40)
    np.savez(folder / "data.npz", x=images, y=labels, x_test=more, y_test=others)
    return folder


def images_of(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(10, size=count)
    images = generator.normal(size=(count, 1, 8, 8)) / 4
    images[np.arange(count), 0, labels % 8, labels // 8] += 2
    return images.astype(np.float32), labels


def epochs_kept(folder: Path) -> int:
    """The epoch that the state says is done, once every file of the run is found whole."""
    files = RunFiles(folder / "run.pt")
    state = files.load_state()
    done = 0 if state is None else state["epoch"]
    lines = files.metrics.read_text().splitlines() if files.metrics.exists() else []
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, len(lines) + 1))
    assert len(lines) in {done, done + 1}
    for path in (files.output, files.best):
        if path.exists():
            assert load_checkpoint(path).metadata["training"]["epoch"] <= done + 1
        else:
            assert done == 0
    return done


def outcome(folder: Path) -> list[object]:
    """Every byte that a run left, without how long it took."""
    assert {path.name for path in folder.glob("*run*")} == {"run.pt", "run.best.pt", "run.metrics.jsonl", "run.state"}
    assert not [path for path in folder.iterdir() if path.name.endswith(".part")]
    lines = [json.loads(line) for line in (folder / "run.metrics.jsonl").read_text().splitlines()]
    figures = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
    state = dict(RunFiles(folder / "run.pt").load_state())
    offset = state.pop("metrics")
    assert offset == (folder / "run.metrics.jsonl").stat().st_size
    return [(folder / "run.pt").read_bytes(), (folder / "run.best.pt").read_bytes(), figures, as_bytes(state)]


def completed(run: Victims, folder: Path, *arguments: object) -> Ended:
    ended = run(*arguments, folder=folder)
    assert ended.code == 0, (folder / "stderr").read_text()
    return ended


def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path: Path, run: Victims) -> None:
    long = (*RUN, "--epochs", EPOCHS)
    whole = completed(run, fresh(tmp_path / "whole"), *long)
    expected = outcome(tmp_path / "whole")
    again = completed(run, tmp_path / "whole", *long)
    assert outcome(tmp_path / "whole") == expected
    moments, kills, folders = random.Random(5), 0, 0
    longest = again.seconds + 4 * max(0.0, whole.seconds - again.seconds) / EPOCHS
    while kills < KILLS:
        folder = fresh(tmp_path / str(folders))
        folders, kept = folders + 1, 0
        while kills < KILLS:
            ended = run(*long, folder=folder, after=moments.uniform(0, longest))
            assert ended.code in {0, -9}, (folder / "stderr").read_text()
            kills += ended.code == -9
            before, kept = kept, epochs_kept(folder)
            assert before <= kept <= EPOCHS
            if ended.code == 0:
                break
        completed(run, folder, *long)
        assert outcome(folder) == expected


@pytest.mark.slow(
    reason="starts a training for each change of a file",
    quick="tests/cli/test_resume.py::test_killed_at_random_moments_it_ends_with_the_same_bits",
)
def test_killed_before_anything_that_it_does_to_a_file(tmp_path: Path, run: Victims) -> None:
    """Every opening, renaming and removing of a start and of the two epochs after it, each time from where it was."""
    long = (*RUN, "--epochs", 3 * EPOCHS)
    completed(run, fresh(tmp_path / "whole"), *long)
    folder = fresh(tmp_path / "killed")
    kept, deaths = 0, 0
    for at in range(32):
        ended = run(*long, folder=folder, at=at)
        assert ended.code in {0, -9}, (folder / "stderr").read_text()
        before, kept = kept, epochs_kept(folder)
        assert before <= kept <= before + 3
        deaths += ended.code == -9
    assert deaths == 32
    assert 10 < kept < 3 * EPOCHS
    completed(run, folder, *long)
    assert outcome(folder) == outcome(tmp_path / "whole")


def test_a_finished_run_is_not_trained_again_and_may_be_replaced(tmp_path: Path) -> None:
    folder = fresh(tmp_path / "run")
    first = bnsharp(*SHORT, folder=folder)
    expected = outcome(folder)
    finished = bnsharp(*SHORT, folder=folder)
    assert finished.stderr == ""
    assert finished.stdout == first.stdout
    assert outcome(folder) == expected
    assert "run.state holds a run of which 3 of 3 epochs are done" in one_error(
        bnsharp(*SHORT[:-3], "--epochs", 2, folder=folder, expect=2)
    )
    assert outcome(folder) == expected
    anew = bnsharp(*SHORT[:-3], "--epochs", 2, "--overwrite", folder=folder)
    assert "(2 epochs of 3 steps)" in anew.stderr
    assert len((folder / "run.metrics.jsonl").read_text().splitlines()) == 2


def test_an_unfinished_run_is_neither_lost_nor_mixed_up(tmp_path: Path, run: Victims) -> None:
    folder = fresh(tmp_path / "run")
    assert run(*RUN, "--epochs", 5000, folder=folder, at=100).code == -9
    kept = RunFiles(folder / "run.pt").load_state()["epoch"]
    finished = bnsharp(*RUN[:-1], "--epochs", 5000, folder=folder, expect=2)
    assert f"run.state holds a run of which {kept} of 5000 epochs are done" in one_error(finished)
    other = ("--epochs", 5001, "--learning-rate", 0.2, "--milestone", 3, "--seed", 1)
    line = one_error(bnsharp(*RUN, *other, folder=folder, expect=2))
    assert "run.state is of a run with other options: " in line
    for change in ("--epochs 5000 (now 5001)", "--learning-rate 0.1 (now 0.2)", "--milestone [] (now [3])"):
        assert change in line
    assert "--momentum" not in line
    assert "--seed 0 (now 1)" in line
    assert RunFiles(folder / "run.pt").load_state()["epoch"] == kept


def test_another_thread_count_is_said(tmp_path: Path) -> None:
    folder = fresh(tmp_path / "run")
    bnsharp(*SHORT, folder=folder)
    content = {**RunFiles(folder / "run.pt").load_state()}
    torch.save({**content, "versions": {**content["versions"], "threads": 17}}, folder / "run.state")
    finished = bnsharp(*SHORT, folder=folder)
    assert "not bit for bit as without the interruption: threads 17, now " in finished.stderr


def test_the_checkpoint_of_another_format_is_no_state(tmp_path: Path) -> None:
    folder = fresh(tmp_path / "run")
    save_checkpoint(folder / "run.state", {"weight": torch.zeros(2)})
    assert "run.state is not the state of a training run" in one_error(bnsharp(*SHORT, folder=folder, expect=3))


def test_an_interruption_says_how_to_go_on(tmp_path: Path, run: Victims) -> None:
    folder = fresh(tmp_path / "run")
    ended = run(*RUN, "--epochs", 10**6, folder=folder, at=100, signal_name="SIGINT")
    assert ended.code == 130
    kept = RunFiles(folder / "run.pt").load_state()["epoch"]
    said = (folder / "stderr").read_text()
    assert f"bnsharp: epoch {kept} of 1000000 is kept; --resume goes on from there" in said
    assert "bnsharp: Interrupted." in said
    assert epochs_kept(folder) == kept
    assert not list(folder.glob(".run*"))


@pytest.mark.parametrize("name", ["run.best.pt", "run.metrics.jsonl", "run.pt", "run.state"])
def test_a_run_does_not_write_through_a_link_that_somebody_left(tmp_path: Path, name: str) -> None:
    """Whoever hands on a folder with a run in it must not have the next command overwrite a file elsewhere."""
    folder = fresh(tmp_path / "run")
    bnsharp(*SHORT[:-1], 2, folder=folder)
    theirs = tmp_path / "theirs"
    (folder / name).rename(theirs)
    before = theirs.read_bytes()
    (folder / name).symlink_to(theirs)
    assert f"Cannot write {name}: it is a link to another file." in one_error(bnsharp(*SHORT, folder=folder, expect=2))
    assert theirs.read_bytes() == before
