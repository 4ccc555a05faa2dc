"""The table that ends ``measure`` of several checkpoints."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint
from bnsharp_cli.measurement.measures.measurement import Status
from bnsharp_cli.report.summary_table import SummaryCell, SummaryRow, print_summary, sorted_rows, summary_csv
from bnsharp_cli.report.terminal import console
from tests.cli.helpers import bnsharp, one_error

SMALL, LARGE = "sample:digits-small-batch", "sample:digits-large-batch"
FAST = ("--samples", 128, "--batch-size", 64, "--quiet")
SIX = [
    word for name in ("bn", "keskar", "noise", "margin", "weight-norm", "gradient-norm") for word in ("--measure", name)
]


def printed(folder: Path, *arguments: object, expect: int = 0) -> str:
    return bnsharp("measure", *arguments, *FAST, folder=folder, expect=expect).stdout


def documents(folder: Path, *arguments: object) -> list[dict[str, Any]]:
    return [*map(json.loads, printed(folder, *arguments, "--json").splitlines())]


def test_every_network_has_a_row_and_every_measure_a_column_within_80_columns(tmp_path: Path) -> None:
    shown = printed(tmp_path, SMALL, LARGE, *SIX, "--results", "kept")
    table = shown[shown.index("\nnetwork") :]
    found = documents(tmp_path, SMALL, LARGE, *SIX, "--results", "kept")
    assert max(map(len, table.splitlines())) <= 80
    assert table.count("\nnetwork") == table.count(f"\n{SMALL}") == table.count(f"\n{LARGE}") > 1
    for document in found:
        assert f"{document['loss']:.4g}" in table
        for name, record in document["measures"].items():
            error = max(each for each in record["uncertainty"].values() if each is not None)
            mark = "≥" if record["status"] == "iteration-limit" else ""
            assert f"{mark}{record['value']:.4g} ± {error:.1g}" in table, name
    assert "±: the largest error of each value" in table
    assert "≥: a lower bound: the search was still climbing" in table


def test_one_network_has_no_such_table(tmp_path: Path) -> None:
    assert "\nnetwork" not in printed(tmp_path, SMALL)


def test_rows_are_sorted_by_any_column(tmp_path: Path) -> None:
    networks = (SMALL, LARGE, f"{SMALL}-decay")
    found = documents(
        tmp_path, *networks, "--measure", "noise", "--delta", "1e-3,1e-2", "--measure", "bn", "--results", "kept"
    )
    for column, value in {
        "loss": lambda one: one["loss"],
        "noise": lambda one: one["measures"]["noise"]["value"],
        "bn": lambda one: one["measures"]["bn"]["value"],
        "bn@0.01": lambda one: one["measures"]["bn"]["profile"][1]["value"],
        "network": lambda one: one["checkpoint"]["path"],
    }.items():
        order = [one["checkpoint"]["path"] for one in sorted(found, key=value)]
        table = printed(
            tmp_path, *networks, "--measure", "noise", "--delta", "1e-3,1e-2", "--measure", "bn", "--results", "kept",
            *("--table", "csv", "--sort", column),
        )  # fmt: skip
        rows = [*csv.DictReader(io.StringIO(table))]
        assert [Path(path).stem for path in order] == [row["network"].removeprefix("sample:") for row in rows], column


@pytest.mark.parametrize("sort", ["ratio", "keskar", "bn@0.5", "gap", ""])
def test_a_column_that_will_not_be_there_is_refused_before_anything_is_read(tmp_path: Path, sort: str) -> None:
    finished = bnsharp("measure", "none.pt", "none.pt", "--sort", sort, folder=tmp_path, expect=2)
    assert one_error(finished).startswith("bnsharp: --sort: expected one of network, loss, accuracy, bn, found")


def test_tables_for_other_programs_stand_alone(tmp_path: Path) -> None:
    arguments = (SMALL, LARGE, "--measure", "noise", "--results", "kept")
    found = documents(tmp_path, *arguments)
    rows = [*csv.DictReader(io.StringIO(printed(tmp_path, *arguments, "--table", "csv")))]
    for row, document in zip(rows, found, strict=True):
        record = document["measures"]["noise"]
        assert float(row["noise"]) == record["value"]
        assert float(row["noise_error"]) == max(one for one in record["uncertainty"].values() if one is not None)
        assert (row["noise_status"], float(row["loss"])) == (record["status"], document["loss"])
    markdown = printed(tmp_path, *arguments, "--table", "markdown").splitlines()
    assert markdown[0] == "| network | loss | accuracy | noise |"
    assert len(markdown) == 4
    latex = printed(tmp_path, *arguments, "--table", "latex")
    assert latex.startswith("\\begin{tabular}{lrrr}\n")
    assert "$\\pm$" in latex
    assert printed(tmp_path, SMALL, "--measure", "noise", "--results", "kept", "--table", "csv").count("\n") == 2
    json.loads(printed(tmp_path, SMALL, "--table", "csv", "--json"))


def test_what_failed_is_named_below(tmp_path: Path) -> None:
    shown = printed(tmp_path, SMALL, "none.pt", expect=3)
    assert "not measured: none.pt" in shown[shown.index("\nnetwork") :]
    assert printed(tmp_path, "none.pt", "none.pt", expect=3) == ""  # each was told on stderr


def test_figures_on_test_data_are_columns_too(tmp_path: Path) -> None:
    table = printed(tmp_path, SMALL, LARGE, "--test-data", "digits", "--table", "csv", "--sort", "gap")
    rows = [*csv.DictReader(io.StringIO(table))]
    assert float(rows[0]["gap"]) < float(rows[1]["gap"])
    assert float(rows[0]["test-loss"]) > 0
    assert float(rows[0]["test-accuracy_error"]) > 0


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        content = torch.load(embedded_checkpoint(), weights_only=True)
        torch.save(content, tmp_path / "runs" / name / "a|b&[red].pt")
    shown = printed(tmp_path, *sorted((tmp_path / "runs").glob("*/*.pt")))
    assert "\nfirst/a|b&[red].pt" in shown
    assert "\nsecond/a|b&[red].pt" in shown
    markdown = printed(tmp_path, *sorted((tmp_path / "runs").glob("*/*.pt")), "--table", "markdown")
    assert r"| first/a\|b&[red].pt |" in markdown


def row(name: str, **values: float) -> SummaryRow:
    return SummaryRow(Path(name), {(key, None): SummaryCell(value, value / 7) for key, value in values.items()})


def test_long_names_and_many_columns_lose_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    columns = {f"measure-number-{number}": 1.234567e-5 * number for number in range(1, 9)}
    print_summary(console(), [row("n" * 90 + "/" + "m" * 70, **columns), row("b.pt", **columns)], [], 1)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.replace("\n", "").replace(" ", "").count("m" * 20) >= 1
    for name, value in columns.items():
        assert shown.count(name) == 1
        assert shown.count(f"{value:.4g} ± {value / 7:.1g}") == 2


def test_what_has_no_value_comes_last_and_is_left_empty() -> None:
    rows = [row("a", noise=2.0), row("b", bn=1.0), row("c", noise=1.0), row("d", noise=float("nan"))]
    assert [one.path.name for one in sorted_rows(rows, "noise")] == ["c", "a", "b", "d"]
    assert [*csv.DictReader(io.StringIO(summary_csv(rows)))][1]["noise"] == ""


def test_values_below_resolution_are_marked() -> None:
    assert SummaryCell(0.5, 0.1, Status.BELOW_RESOLUTION).texts == ("~0.5", " ± 0.1")
