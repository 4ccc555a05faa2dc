"""The paper's experiments from the outside: a table, a picture, and a folder that remembers."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.cli.helpers import bnsharp, one_error


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With figure 1 in the smallest budget."""
    folder = tmp_path_factory.mktemp("reproduction")
    finished = bnsharp("reproduce", "figure-1", "--output", "f1", folder=folder)
    (folder / "stdout").write_text(finished.stdout)
    (folder / "stderr").write_text(finished.stderr)
    return folder


def results(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "f1/results.jsonl").read_text().splitlines()]


def test_the_table_has_the_papers_numbers_and_ours(folder: Path) -> None:
    lines = (folder / "stdout").read_text().splitlines()
    assert all(len(line) <= 80 for line in lines), lines
    for result, published in zip(results(folder), ("69.87", "71.84", "70.95"), strict=True):
        (row,) = [line for line in lines if line.startswith(f"{result['name']} ")]
        assert row.split()[1:4] == ["1", f"{100 * result['test_accuracy']:.2f}", published]
        assert f"{result['measures']['bn']['value']:.3g}" in row
    assert "Not the paper's experiment: lenet-bn on digits, 3 epochs of its 200" in " ".join(lines)
    assert (folder / "f1/figure-1.png").read_bytes().startswith(b"\x89PNG")


def test_it_says_what_it_costs_before_it_starts(folder: Path) -> None:
    total = sum(result["gradients"] * result["batch_size"] for result in results(folder))
    assert (
        f"3 of 3 runs to train, {total:,} gradients of single samples"
        in (folder / "stderr").read_text().splitlines()[0]
    )
    assert [result["gradients"] for result in results(folder)] == [15, 45, 195]


def test_the_networks_can_be_measured(folder: Path) -> None:
    network = next((folder / "f1").glob("figure-1-digits-SGDS-0-seed0.pt"))
    assert bnsharp("inspect", network, "--json", folder=folder).stdout
    assert len([*(folder / "f1").glob("*.pt")]) == 6  # the last and the best of each


def test_it_goes_on_where_it_was_and_more_seeds_add_runs(folder: Path) -> None:
    path = folder / "f1/results.jsonl"
    before = path.read_text()
    last = before.splitlines(keepends=True)[-1]
    path.write_text(before.removesuffix(last) + last[:40])  # killed while it wrote
    arguments = ("reproduce", "figure-1", "--output", "f1", "--only", "SGD", "--only", "SGDS-5")
    finished = bnsharp(*arguments, "--json", folder=folder)
    assert path.read_text() == before, "the run was finished, so that its result is the same"
    assert "1 of 2 runs to train" in finished.stderr
    document = json.loads(finished.stdout)
    assert document["schema"] == "bnsharp/1"
    assert [result["name"] for result in document["results"]] == ["SGD", "SGDS-5"]
    assert "to train" not in bnsharp(*arguments, folder=folder).stderr
    bnsharp("reproduce", "figure-1", "--output", "f1", "--only", "SGD", "--seeds", 2, "--quiet", folder=folder)
    assert path.read_text().startswith(before)
    added = results(folder)[-1]
    assert (added["name"], added["seed"]) == ("SGD", 1)
    assert added["train_loss"] != results(folder)[0]["train_loss"]


def test_a_run_does_not_depend_on_those_before_it(folder: Path) -> None:
    bnsharp("reproduce", "figure-1", "--output", "alone", "--only", "SGDS-0", "--quiet", folder=folder)
    assert (folder / "alone/results.jsonl").read_text() in (folder / "f1/results.jsonl").read_text()


def test_what_cannot_be_meant(folder: Path) -> None:
    for arguments, code, says in (
        (("figure-2",), 2, "expected one of figure-1, table-1, table-2, found 'figure-2'"),
        (("figure-1", "--budget", "tiny"), 2, "--budget: expected one of smoke, cpu, full, found 'tiny'"),
        (("figure-1", "--only", "SAM"), 2, "--only: expected one of SGD, SGDS-0, SGDS-5, found 'SAM'"),
    ):
        finished = bnsharp("reproduce", *arguments, "--output", "f1", folder=folder, expect=code)
        assert says in one_error(finished)
    (folder / "other").mkdir()
    (folder / "other/results.jsonl").write_text((folder / "f1/results.jsonl").read_text().replace("0.2", "0.3"))
    finished = bnsharp("reproduce", "figure-1", "--output", "other", folder=folder, expect=2)
    assert "results.jsonl has SGD with other options" in one_error(finished)
    (folder / "other/results.jsonl").write_bytes(b"\xff\n")
    finished = bnsharp("reproduce", "figure-1", "--output", "other", folder=folder, expect=3)
    assert "other/results.jsonl cannot be read: UnicodeDecodeError" in one_error(finished)
    (folder / "other/results.jsonl").write_text("[1]\n")
    finished = bnsharp("reproduce", "figure-1", "--output", "other", folder=folder, expect=3)
    assert "does not hold results of this command" in one_error(finished)


def spoiled(folder: Path, called: str, **changes: object) -> Path:
    """A copy of the folder whose first result has other figures."""
    copy = shutil.copytree(folder / "f1", folder / called)
    first, *others = results(folder)
    lines = [json.dumps({**first, **changes}), *map(json.dumps, others)]
    (copy / "results.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return copy


def of_bn(**changes: object) -> dict[str, object]:
    """Measures with another entry of BN-Sharpness."""
    errors = {"quadrature": None, "rounding": 1e-9, "sampling": None}
    sound = {"value": 1.0, "status": "converged", "uncertainty": errors}
    return {"bn": {**sound, **changes}, "delta-linf": {"error": "why"}}


@pytest.mark.parametrize(
    "changes",
    [
        {"test_accuracy": "high"},
        {"test_accuracy": 10**300},
        {"train_loss": None},
        {"gradients": [1]},
        {"gradients": 10**4000},
        {"measures": []},
        {"measures": {"bn": 1, "delta-linf": {}}},
        {"measures": {"bn": {"value": "\x1b[31m"}, "delta-linf": {}}},
        {"measures": {"bn": {"value": 1.0, "status": {}}, "delta-linf": {}}},
        {"name": []},
        {"seed": {}},
        {"seed": 0.0},
        {"seed": False},
        {"seed": -1},
        {"seed": "0"},
        {"gradients": 15.0},
        {"gradients": True},
        {"batch_size": False},
        {"train_loss": 1},
        {"test_accuracy": True},
        {"published": "69.87"},
        {"options": []},
        {"more": 1},
        {"measures": {**of_bn(), "more": {}}},
        {"measures": of_bn(value=True)},
        {"measures": of_bn(status="fine")},
        {"measures": of_bn(uncertainty=None)},
        {"measures": of_bn(uncertainty={"rounding": 1e-9})},
        {"measures": of_bn(error="why")},
    ],
    ids=str,
)
def test_results_of_strangers_are_refused(folder: Path, changes: dict[str, object]) -> None:
    name = f"spoiled{abs(hash(str(changes)))}"
    spoiled(folder, name, **changes)
    finished = bnsharp("reproduce", "figure-1", "--output", name, folder=folder, expect=3)
    assert "results.jsonl does not hold results of this command (line 1)." in one_error(finished)


def of_bn(**changes: object) -> dict[str, object]:
    """Measures with another entry of BN-Sharpness."""
    errors = {"quadrature": None, "rounding": 1e-9, "sampling": None}
    sound = {"value": 1.0, "status": "converged", "uncertainty": errors}
    return {"bn": {**sound, **changes}, "delta-linf": {"error": "why"}}


@pytest.mark.parametrize("name", ["experiment", "published", "options", "train_loss", "measures", "seed"])
def test_results_that_lack_something_are_refused(folder: Path, name: str) -> None:
    copy = shutil.copytree(folder / "f1", folder / f"without {name}")
    lines = [{key: value for key, value in line.items() if key != name} for line in results(folder)]
    (copy / "results.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    finished = bnsharp("reproduce", "figure-1", "--output", copy.name, folder=folder, expect=3)
    assert "does not hold results of this command (line 1)." in one_error(finished)


def test_what_another_seed_or_cell_left_is_held_against_the_schema_too(folder: Path) -> None:
    copy = spoiled(folder, "unwanted", seed=7, train_loss=None)
    finished = bnsharp("reproduce", "figure-1", "--output", copy.name, "--only", "SGDS-0", folder=folder, expect=3)
    assert "does not hold results of this command (line 1)." in one_error(finished)


@pytest.mark.parametrize("change", [{}, {"test_accuracy": 1.0}, {"options": {}}], ids=str)
def test_a_run_that_is_there_twice_is_refused(folder: Path, change: dict[str, object]) -> None:
    copy = spoiled(folder, f"twice {change}")
    with (copy / "results.jsonl").open("a") as stream:
        stream.write(json.dumps({**results(folder)[0], **change}) + "\n")
    line = one_error(bnsharp("reproduce", "figure-1", "--output", copy.name, folder=folder, expect=3))
    assert "results.jsonl holds SGD on digits with seed 0 twice, in line " in line


@pytest.mark.parametrize("change", [{"epochs": 3.0}, {"epochs": True}, {"nesterov": 0}, {"milestones": {}}], ids=str)
def test_options_of_another_type_are_other_options(folder: Path, change: dict[str, object]) -> None:
    options = {**dict(results(folder)[0]["options"]), **change}
    copy = spoiled(folder, f"options {change}", options=options)
    line = one_error(bnsharp("reproduce", "figure-1", "--output", copy.name, folder=folder, expect=2))
    assert "results.jsonl has SGD with other options." in line


@pytest.mark.parametrize(
    "change", [{"epoch": 1.0}, {"epoch": 2}, {"test_accuracy": 1}, {"test_accuracy": None}], ids=str
)
def test_figures_of_another_epoch_or_type_are_refused(folder: Path, change: dict[str, object]) -> None:
    copy = spoiled(folder, f"epoch {change}")
    path = copy / "figure-1-digits-SGD-seed0.metrics.jsonl"
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join([json.dumps({**json.loads(first), **change}) + "\n", *others]))
    line = one_error(bnsharp("reproduce", "figure-1", "--output", copy.name, folder=folder, expect=3))
    assert "does not hold the figures of 3 epochs (line 1)." in line


@pytest.mark.parametrize("file", ["results.jsonl", "figure-1-digits-SGD-seed0.metrics.jsonl"])
@pytest.mark.parametrize("kind", ["pipe", "large", "device", "link"])
def test_files_that_do_not_end_are_not_read(folder: Path, file: str, kind: str) -> None:
    copy = spoiled(folder, f"{kind}{file}")
    path = copy / file
    path.rename(folder / f"{kind}{file}.away")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "large":
        with path.open("wb") as stream:
            stream.truncate(2**31)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else folder / f"{kind}{file}.away")
    why = "File too large" if kind == "large" else "not a regular file"
    line = one_error(bnsharp("reproduce", "figure-1", "--output", copy.name, folder=folder, expect=3))
    assert line == f"bnsharp: {copy.name}/{file} cannot be read: {why}."


@pytest.mark.parametrize("content", ["", "[]\n" * 3, '{"test_accuracy": 9}\n' * 3, "[" * 10**5 + "\n", "\x1b\n"])
def test_figures_of_strangers_are_refused(folder: Path, content: str) -> None:
    copy = spoiled(folder, f"figures{len(content)}")
    (copy / "figure-1-digits-SGD-seed0.metrics.jsonl").write_text(content)
    line = one_error(bnsharp("reproduce", "figure-1", "--output", copy.name, folder=folder, expect=3))
    assert "figure-1-digits-SGD-seed0.metrics.jsonl does not hold " in line
