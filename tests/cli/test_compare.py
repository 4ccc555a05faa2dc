"""What was measured alike is compared, and what was not is refused by the name of the difference."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

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
    found = compared(tmp_path, SMALL, LARGE, *TWO, *FAST, "--batch-size", 32)
    turned = compared(tmp_path, LARGE, SMALL, *TWO, *FAST, "--batch-size", 32)
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
        assert one["ratio"] == pytest.approx(1)


def test_copies_under_a_rescaling_are_not_told_apart(tmp_path: Path) -> None:
    bnsharp("rescale-test", SMALL, "--save-copies", "copies", *FAST, folder=tmp_path)
    copies = sorted(path for path in (tmp_path / "copies").iterdir() if path.name in {"a-0.01.pt", "random-1.pt"})
    found = compared(tmp_path, *map(str, copies), "--measure", "bn", "--precision", "float64", *FAST)
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
    tmp_path: Path, more: tuple[str, str | int | float], argument: str
) -> None:
    (tmp_path / "one.json").write_text(bnsharp("measure", SMALL, *FAST, "--json", folder=tmp_path).stdout)
    (tmp_path / "two.json").write_text(bnsharp("measure", LARGE, *FAST, *more, "--json", folder=tmp_path).stdout)
    finished = bnsharp("compare", "one.json", "two.json", folder=tmp_path, expect=2)
    said = one_error(finished)
    assert "were not measured alike" in said
    assert argument in said


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
    assert {one["measure"] for one in document["comparison"]} == {"loss", "noise"}
    assert any("the architectures differ, so bn are not compared" in note for note in document["notes"])


def test_tables_for_other_programs(tmp_path: Path) -> None:
    for sample, name in ((SMALL, "one.json"), (LARGE, "two.json")):
        (tmp_path / name).write_text(bnsharp("measure", sample, *TWO, *FAST, "--json", folder=tmp_path).stdout)
    arguments = ("compare", "one.json", "two.json")
    document = json.loads(bnsharp(*arguments, "--json", folder=tmp_path).stdout)
    rows = [*csv.DictReader(io.StringIO(bnsharp(*arguments, "--table", "csv", folder=tmp_path).stdout))]
    assert [(row["measure"], float(row["ratio"])) for row in rows] == [
        (one["measure"], one["ratio"]) for one in document["comparison"]
    ]
    by_ratio = [
        *csv.DictReader(io.StringIO(bnsharp(*arguments, "--table", "csv", "--sort", "ratio", folder=tmp_path).stdout))
    ]
    assert [float(row["ratio"]) for row in by_ratio] == sorted(float(row["ratio"]) for row in rows)
    markdown = bnsharp(*arguments, "--table", "markdown", folder=tmp_path).stdout.splitlines()
    assert markdown[0] == "| measure | δ | A | B | verdict |"
    assert all(line.count("|") == 6 for line in markdown)
    latex = bnsharp(*arguments, "--table", "latex", folder=tmp_path).stdout
    assert latex.startswith(r"\begin{tabular}{llrrl}")
    assert latex.count(r"\\") == 1 + len(rows)
