"""What was measured alike is compared, and what was not is refused by the name of the difference."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint
from tests.cli.helpers import bnsharp, one_error

SMALL, LARGE = "sample:digits-small-batch", "sample:digits-large-batch"
FAST = ("--samples", 512, "--batch-size", 32, "--quiet")
TWO = ("--measure", "bn", "--measure", "loss")


def compared(folder: Path, *arguments: str | int | float, expect: int = 0) -> dict[str, dict[str, object]]:
    printed = bnsharp("compare", *arguments, "--json", folder=folder, expect=expect).stdout
    return {one["measure"]: one for one in json.loads(printed)["comparison"]}


def test_the_sharper_of_two_networks_is_named_with_its_factor_and_interval(tmp_path: Path) -> None:
    found = compared(tmp_path, SMALL, LARGE, *TWO, *FAST)
    turned = compared(tmp_path, LARGE, SMALL, *TWO, *FAST)
    bn = found["bn"]
    assert bn["networks"] == ["A", "B"]
    assert bn["verdict"] in {"flatter", "undecided"}
    assert turned["bn"]["ratio"] == pytest.approx(1 / float(str(bn["ratio"])))
    shown = bnsharp("compare", SMALL, LARGE, *TWO, *FAST, folder=tmp_path).stdout
    assert str(bn["sentence"])[:20] in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "A  sample:digits-small-batch" in shown


def test_a_network_and_itself_are_not_told_apart(tmp_path: Path) -> None:
    found = compared(tmp_path, SMALL, SMALL, *TWO, *FAST)
    for one in found.values():
        assert one["verdict"] == "undecided"
        assert one["difference"] == 0 if one["ratio"] is None else one["ratio"] == pytest.approx(1)


def test_copies_under_a_rescaling_are_not_told_apart(tmp_path: Path, few_copies: None) -> None:
    few = ("--samples", 64, "--batch-size", 16, "--quiet")
    bnsharp("rescale-test", SMALL, "--save-copies", "copies", *few, folder=tmp_path)
    copies = sorted(path for path in (tmp_path / "copies").iterdir() if path.name in {"a-0.001.pt", "random-1.pt"})
    assert len(copies) == 2
    found = compared(tmp_path, *map(str, copies), "--measure", "bn", "--precision", "float64", *few)
    assert found["bn"]["verdict"] == "undecided"
    assert found["bn"]["ratio"] == pytest.approx(1, abs=1e-6)


def test_kept_results_are_compared_without_a_pass(tmp_path: Path) -> None:
    kept = ("--results", "kept")
    for sample in (SMALL, LARGE):
        bnsharp("measure", sample, *TWO, *FAST, *kept, folder=tmp_path)
    files = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "kept").iterdir())
    document = json.loads(bnsharp("compare", *files, "--json", folder=tmp_path).stdout)
    assert (document["cost"]["forward"], document["cost"]["backward"]) == (0, 0)
    mixed = json.loads(bnsharp("compare", files[1], LARGE, *TWO, *FAST, *kept, "--json", folder=tmp_path).stdout)
    again = compared(tmp_path, SMALL, LARGE, *TWO, *FAST)
    assert {one["measure"]: one["ratio"] for one in mixed["comparison"]} == pytest.approx(
        {name: one["ratio"] for name, one in again.items()}
    )


@pytest.fixture(scope="module")
def kept_result(tmp_path_factory: pytest.TempPathFactory) -> str:
    return bnsharp("measure", SMALL, *FAST, "--json", folder=tmp_path_factory.mktemp("kept")).stdout


@pytest.mark.parametrize(
    ("more", "argument"),
    [
        (("--samples", 256), "--samples"),
        (("--seed", 1), "--seed"),
        (("--batch-size", 64), "--batch-size"),
        (("--bn", "running"), "--bn"),
        (("--partition", "filter"), "--partition"),
        (("--delta", 0.01), "--delta"),
        (("-p", 1), "-p"),
        (("--split", "test"), "--split"),
    ],
    ids=lambda more: str(more[0]) if isinstance(more, tuple) else "",
)
def test_results_that_were_not_measured_alike_are_refused(
    tmp_path: Path, kept_result: str, more: tuple[str, str | int | float], argument: str
) -> None:
    (tmp_path / "one.json").write_text(kept_result)
    (tmp_path / "two.json").write_text(bnsharp("measure", LARGE, *FAST, *more, "--json", folder=tmp_path).stdout)
    finished = bnsharp("compare", "one.json", "two.json", folder=tmp_path, expect=2)
    said = one_error(finished)
    assert "were not measured alike" in said
    assert argument in said


def test_other_directions_are_not_held_against_each_other(tmp_path: Path) -> None:
    """Little memory draws other directions; documents that do not name the memory had enough of it."""
    noise = ("--measure", "noise", "--noise-draws", 2, "--relative-to", "filter", *FAST, "--json")
    files = {"little": ("--memory", "small"), "ample": (), "unsaid": ()}
    for name, more in files.items():
        document = json.loads(bnsharp("measure", SMALL, *noise, *more, folder=tmp_path).stdout)
        if name == "unsaid":
            del document["options"]["memory"]
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    said = one_error(bnsharp("compare", "ample.json", "little.json", folder=tmp_path, expect=2))
    assert "were not measured alike" in said
    assert "--memory" in said
    bnsharp("compare", "ample.json", "unsaid.json", folder=tmp_path)


def test_one_network_is_no_comparison(tmp_path: Path) -> None:
    finished = bnsharp("compare", SMALL, *FAST, folder=tmp_path, expect=2)
    assert one_error(finished).startswith("bnsharp: Two networks are compared, and there is 1 network.")


def test_another_architecture_is_compared_by_measures_that_allow_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    (tmp_path / "mine.py").write_text(
        "import torch\ndef net():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    )
    torch.save({"1.weight": torch.randn(10, 64), "1.bias": torch.zeros(10)}, tmp_path / "linear.pt")
    data = ("--measure", "bn", "--measure", "noise", "--noise-draws", 2, "--json", *FAST)
    first = bnsharp("measure", SMALL, *data, folder=tmp_path).stdout
    (tmp_path / "one.json").write_text(first)
    checkpoint = torch.load(embedded_checkpoint("digits-small-batch"), weights_only=False)
    shape = checkpoint["preprocessing"]
    mean, std = (",".join(map(str, shape[name])) for name in ("mean", "std"))
    own = ("--arch", "mine.py:net", "--data", "digits", "--mean", mean, "--std", std)
    (tmp_path / "two.json").write_text(bnsharp("measure", "linear.pt", *own, *data, folder=tmp_path).stdout)
    document = json.loads(bnsharp("compare", "one.json", "two.json", "--json", folder=tmp_path).stdout)
    assert {one["measure"] for one in document["comparison"]} == {"loss", "accuracy", "noise"}
    assert any("the architectures differ, so bn are not compared" in note for note in document["notes"])


def number(text: str) -> float | None:
    return float(text) if text else None


def test_losses_accuracies_and_gaps_come_first_where_both_have_test_data(tmp_path: Path) -> None:
    arguments = (*TWO, *FAST, "--test-data", "digits")
    document = json.loads(bnsharp("compare", SMALL, LARGE, *arguments, "--json", folder=tmp_path).stdout)
    rows = {one["measure"]: one for one in document["comparison"]}
    assert [*rows] == ["loss", "accuracy", "test-loss", "test-accuracy", "gap", "accuracy-gap", "bn"]
    first, second = document["networks"]
    for name, key in (("test-loss", "loss"), ("test-accuracy", "accuracy"), ("gap", "gap")):
        assert rows[name]["values"] == pytest.approx([first["test"][key], second["test"][key]])
    assert rows["test-loss"]["ratio"] == pytest.approx(first["test"]["loss"] / second["test"]["loss"])
    assert rows["gap"]["difference"] == pytest.approx(first["test"]["gap"] - second["test"]["gap"])
    assert rows["accuracy-gap"]["difference"] == pytest.approx(
        rows["accuracy"]["difference"] - rows["test-accuracy"]["difference"]
    )
    assert {one["verdict"] for name, one in rows.items() if name != "bn"} <= {"larger", "smaller", "undecided"}
    printed = bnsharp("compare", SMALL, LARGE, *arguments, folder=tmp_path).stdout
    assert "test: 360 samples of digits (test)" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_a_result_without_test_data_is_told_and_other_test_data_is_refused(tmp_path: Path) -> None:
    for name, more in (("none", ()), ("all", ("--test-data", "digits")), ("own", ("--test-data", "npz:a.npz"))):
        np.savez(tmp_path / "a.npz", x=np.zeros((32, 1, 8, 8), np.float32), y=np.arange(32) % 10)
        said = bnsharp("measure", SMALL, "--measure", "loss", *FAST, *more, "--json", folder=tmp_path).stdout
        (tmp_path / f"{name}.json").write_text(said)
    document = json.loads(bnsharp("compare", "none.json", "all.json", "--json", folder=tmp_path).stdout)
    assert {one["measure"] for one in document["comparison"]} == {"loss", "accuracy"}
    assert any("A has no test data" in note and "with --test-data" in note for note in document["notes"])
    said = one_error(bnsharp("compare", "all.json", "own.json", folder=tmp_path, expect=2))
    assert "--test-data is digits, 360 samples for A and npz:a.npz, 32 samples for B" in said


def test_tables_for_other_programs(tmp_path: Path) -> None:
    for sample, name in ((SMALL, "one.json"), (LARGE, "two.json")):
        (tmp_path / name).write_text(bnsharp("measure", sample, *TWO, *FAST, "--json", folder=tmp_path).stdout)
    arguments = ("compare", "one.json", "two.json")
    document = json.loads(bnsharp(*arguments, "--json", folder=tmp_path).stdout)
    rows = [*csv.DictReader(io.StringIO(bnsharp(*arguments, "--table", "csv", folder=tmp_path).stdout))]
    numbers = ("ratio", "difference", "low", "high")
    assert [(row["measure"], *(number(row[name]) for name in numbers)) for row in rows] == [
        (one["measure"], *(one[name] for name in numbers)) for one in document["comparison"]
    ]
    by_ratio = [
        *csv.DictReader(io.StringIO(bnsharp(*arguments, "--table", "csv", "--sort", "ratio", folder=tmp_path).stdout))
    ]
    ratios = [number(row["ratio"]) for row in rows]
    assert [number(row["ratio"]) for row in by_ratio] == [*sorted(one for one in ratios if one is not None), None]
    markdown = bnsharp(*arguments, "--table", "markdown", folder=tmp_path).stdout.splitlines()
    assert markdown[0] == "| measure | δ | A | B | verdict |"
    assert all(line.count("|") == 6 for line in markdown)
    latex = bnsharp(*arguments, "--table", "latex", folder=tmp_path).stdout
    assert latex.startswith(r"\begin{tabular}{llrrl}")
    assert latex.count(r"\\") == 1 + len(rows)
