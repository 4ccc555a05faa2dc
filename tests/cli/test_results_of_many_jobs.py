"""``compare FOLDER``: what array jobs wrote is compared, and what is spoiled, stale or there twice is told."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnsharp_cli.workflows.results_folders import result_files
from tests.cli.helpers import bnsharp, one_error

SAMPLES = ("small-batch", "large-batch", "small-batch-decay")
FAST = ("--samples", 128, "--batch-size", 32, "--quiet")
MARK = '{"schema": "bnsharp/1", '


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, sample_path: Path) -> Path:
    """Three checkpoints, and what a job of its own each measured of them."""
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "results").mkdir()
    for number, name in enumerate(SAMPLES):
        shutil.copy(sample_path.parent / f"digits-{name}.pt", folder / f"run{number}.pt")
    for number in range(len(SAMPLES)):
        out = f"results/job{(9, 10, 11)[number]}.json"
        bnsharp("measure", f"run{number}.pt", "--data", "digits", *FAST, "--output", out, folder=folder)
    return folder


@pytest.fixture
def folder(measured: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(measured, tmp_path / "jobs"))


def document(folder: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "results" / name).read_text())
    return loaded


def compared(folder: Path, *arguments: object) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(bnsharp("compare", *arguments, "--json", folder=folder).stdout)
    return loaded


def without_time(found: dict[str, Any]) -> dict[str, Any]:
    return {name: entry for name, entry in found.items() if name not in {"cost", "notes"}}


def test_a_folder_stands_for_its_results_in_the_order_of_their_numbers(folder: Path) -> None:
    found = compared(folder, "results")
    files = [f"results/job{number}.json" for number in (9, 10, 11)]
    assert without_time(found) == without_time(compared(folder, *files))
    assert [one["checkpoint"]["path"] for one in found["networks"]] == ["run0.pt", "run1.pt", "run2.pt"]
    assert (found["cost"]["forward"], found["cost"]["backward"]) == (0, 0)
    assert found["notes"] == compared(folder, *files)["notes"]


def test_shards_in_several_files_and_folders_are_put_together(folder: Path) -> None:
    (folder / "shard.1.jsonl").write_text("".join(json.dumps(document(folder, f"job{n}.json")) + "\n" for n in (9, 11)))
    (folder / "one").mkdir()
    (folder / "two").mkdir()
    shutil.move(folder / "shard.1.jsonl", folder / "one")
    shutil.copy(folder / "results" / "job10.json", folder / "two")
    found = compared(folder, "one", "two")
    assert [one["checkpoint"]["path"] for one in found["networks"]] == ["run0.pt", "run2.pt", "run1.pt"]
    assert [one["measure"] for one in found["comparison"]].count("bn") == 2


def test_a_result_that_is_there_twice_is_used_once(folder: Path) -> None:
    shutil.copy(folder / "results" / "job10.json", folder / "results" / "job12.json")
    found = compared(folder, "results")
    assert len(found["networks"]) == 3
    assert "results/job12.json has the same result as results/job10.json, which is used once" in found["notes"]
    assert without_time(compared(folder, "results", "results")) == without_time(found)


def test_two_results_of_one_key_with_other_numbers_are_refused(folder: Path) -> None:
    other = document(folder, "job10.json")
    bn = other["measures"]["bn"]
    bn["value"] += bn["uncertainty"]["rounding"]
    (folder / "results" / "job12.json").write_text(json.dumps(other))
    assert len(compared(folder, "results")["networks"]) == 3  # by no more than rounding
    bn["value"] += 4 * bn["uncertainty"]["rounding"]
    (folder / "results" / "job12.json").write_text(json.dumps(other))
    said = one_error(bnsharp("compare", "results", folder=folder, expect=2))
    own = document(folder, "job10.json")["measures"]["bn"]["value"]
    values = f"bn is {own:.9g} and {bn['value']:.9g}"
    assert f"results/job10.json and results/job12.json have the same key and differ: {values}." in said


def test_a_result_of_weights_that_have_changed_is_left_out(folder: Path) -> None:
    shutil.copy(folder / "run2.pt", folder / "run1.pt")
    found = compared(folder, "results")
    assert [one["checkpoint"]["path"] for one in found["networks"]] == ["run0.pt", "run2.pt"]
    assert found["notes"][0] == (
        "results/job10.json is left out: stale, since run1.pt has other content than what was measured"
    )
    explicit = compared(folder, "results/job9.json", "results/job10.json")  # who names a file gets it
    assert [one["checkpoint"]["path"] for one in explicit["networks"]] == ["run0.pt", "run1.pt"]
    (folder / "run1.pt").unlink()  # on another machine nobody can tell
    assert len(compared(folder, "results")["networks"]) == 3


def test_where_all_is_stale_the_reason_is_told(folder: Path) -> None:
    for number in range(3):
        (folder / f"run{number}.pt").write_bytes(b"another file")
    finished = bnsharp("compare", "results", folder=folder, expect=2)
    lines = finished.stderr.splitlines()
    assert [line for line in lines if "is left out: stale" in line] == lines[:3]
    assert lines[3] == "bnsharp: Two networks are compared, and there is 0 networks."


def test_a_second_result_of_one_network_with_another_key_is_stale(folder: Path) -> None:
    other = document(folder, "job10.json") | {"key": "0" * 64}
    (folder / "results" / "job12.json").write_text(json.dumps(other))
    said = one_error(bnsharp("compare", "results", folder=folder, expect=2))
    assert "results/job10.json and results/job12.json are two results of bn of one network" in said
    assert "one of them is stale" in said


def test_other_samples_are_refused_by_the_name_of_the_file(folder: Path) -> None:
    bnsharp(
        "measure", "run1.pt", "--data", "digits", *FAST, "--seed", 1, "--output", "results/job10.json", folder=folder
    )
    said = one_error(bnsharp("compare", "results", folder=folder, expect=2))
    assert "results/job10.json" in said
    assert "--seed" in said


def test_jobs_that_measured_different_things_of_one_network_make_one_result(folder: Path) -> None:
    """The comparison is that of a single measurement of both."""
    for number in range(2):
        own = ("measure", f"run{number}.pt", "--data", "digits", *FAST, "--output")
        tested = ("--test-data", "digits")
        bnsharp(*own, f"results/noise{number}.json", "--measure", "noise", *tested, folder=folder)
        bnsharp(*own, f"both{number}.json", "--measure", "bn", "--measure", "noise", *tested, folder=folder)
    (folder / "results" / "job11.json").unlink()
    found = compared(folder, "results")
    both = compared(folder, "both0.json", "both1.json")
    assert found["comparison"] == both["comparison"]
    assert {"loss", "test-loss", "gap", "bn", "noise"} <= {one["measure"] for one in found["comparison"]}
    assert "results/noise0.json adds noise to the network of results/job9.json" in found["notes"]
    assert len({one["key"] for one in found["networks"]}) == 2


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _giant(path: Path) -> None:
    with path.open("wb") as stream:
        stream.write(MARK.encode())
        stream.truncate(2**26 + 1)


FAILURE = {
    "schema": "bnsharp/1",
    "path": "run7\x1b[31m.pt",
    "error": {
        "reason": "It is\u202e spoiled.",
        "remedy": "None.",
        "argument": None,
        "expected": "",
        "found": "",
        "exit_code": 3,
    },
}
SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_text(""), "empty"),
    "half-written": (lambda path: path.write_text(MARK + '"command": "mea'), "holds no JSON document"),
    "foreign": (lambda path: path.write_text('{"loss": 1}'), "no result of bnsharp"),
    "link": (lambda path: path.symlink_to("/etc/passwd"), "a link, which is not followed"),
    "pipe": (_fifo, "not a regular file"),
    "folder": (lambda path: path.mkdir(), "not a regular file"),
    "huge": (_giant, "has 67,108,865 bytes"),
    "failure": (lambda path: path.write_text(json.dumps(FAILURE)), "run7.pt could not be measured: It is? spoiled."),
    "another command": (
        lambda path: path.write_text(MARK + '"command": "<b>\\u202e"}'),
        "found a result of <b>\\u202e",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_what_is_no_sound_result_is_left_out_and_told_in_one_line(case: str, folder: Path) -> None:
    write, says = SPOILED[case]
    write(folder / "results" / "job10b.json")
    (folder / "results" / "slurm-7.out").write_text("not looked at")
    found = compared(folder, "results")
    assert len(found["networks"]) == 3
    (note,) = [note for note in found["notes"] if "job10b" in note]
    assert note.startswith("results/job10b.json is left out: ")
    assert says in note
    assert note.isprintable()
    printed = bnsharp("compare", "results", folder=folder).stdout
    assert "results/job10b.json is left out: " in " ".join(printed.split())
    assert max(map(len, printed.splitlines())) <= 80


def test_a_comparison_in_the_folder_is_no_network(folder: Path) -> None:
    bnsharp("compare", "results", "--output", "results/comparison.json", folder=folder)
    found = compared(folder, "results")
    assert len(found["networks"]) == 3
    assert "results/comparison.json is left out: a result of compare, not of one network" in found["notes"]


def test_no_result_of_the_folder_is_written_over(folder: Path) -> None:
    before = (folder / "results" / "job10.json").read_bytes()
    said = one_error(bnsharp("compare", "results", "--output", "results/job10.json", folder=folder, expect=2))
    assert said == "bnsharp: Cannot write results/job10.json: this command reads it."
    assert (folder / "results" / "job10.json").read_bytes() == before


def test_several_seeds_of_a_folder_are_refused(folder: Path) -> None:
    said = one_error(bnsharp("compare", "results", "--seeds", 2, folder=folder, expect=2))
    assert "--seeds measures with 2 seeds" in said


def test_a_folder_of_a_model_is_no_folder_of_results(folder: Path) -> None:
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text('{"architectures": ["BertModel"]}')
    assert not result_files(folder / "model").results
    said = one_error(bnsharp("compare", "results", "model", "--data", "digits", folder=folder, expect=3))
    assert "model" in said


def test_more_files_than_are_looked_at_are_refused(folder: Path) -> None:
    for number in range(1000):
        (folder / "results" / f"x{number}.json").write_text("")
    said = one_error(bnsharp("compare", "results", folder=folder, expect=2))
    assert said == "bnsharp: results has more than 1,000 files that may be results."
