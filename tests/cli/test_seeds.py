"""``--seeds``: the same as one command for each seed, with the mean and the spread."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bnsharp_cli.measurement.measures.measurement import Measurement, Status, Uncertainty
from bnsharp_cli.measurement.measures.seed_spread import SeedSpread
from bnsharp_cli.measurement.surface.cost import NO_PASSES
from bnsharp_cli.report.seeds_table import print_spreads
from bnsharp_cli.report.terminal import console
from tests.cli.helpers import bnsharp, one_error

SAMPLE, OTHER = "sample:digits-small-batch", "sample:digits-large-batch"
FAST = ("--samples", 128, "--batch-size", 64, "--quiet")
MEASURES = ("--measure", "bn", "--measure", "noise", "--measure", "weight-norm", "--delta", "1e-3,1e-2")


def document(folder: Path, *arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bnsharp("measure", SAMPLE, *FAST, *arguments, "--json", folder=folder).stdout)
    return found


def test_each_seed_is_a_command_of_its_own(tmp_path: Path) -> None:
    together = document(tmp_path, *MEASURES, "--seed", 5, "--seeds", 3)
    alone = [document(tmp_path, *MEASURES, "--seed", seed) for seed in (5, 6, 7)]
    for entry, own, seed in zip(together["seeds"], alone, (5, 6, 7), strict=True):
        assert entry == {"seed": seed, **{key: own[key] for key in ("key", "loss", "accuracy", "measures", "skipped")}}
    changed = {"seeds", "over_seeds", "cost"}
    assert {key: own for key, own in together.items() if key not in changed} == {
        key: own for key, own in alone[0].items() if key not in changed
    }
    assert together["cost"]["backward"] < sum(one["cost"]["backward"] for one in alone)  # the blocks are found once
    for name, key in (("bn", 1), ("noise", 0)):
        values = [one["measures"][name].get("profile", [one["measures"][name]])[key]["value"] for one in alone]
        spread = together["over_seeds"][name][key]
        assert len({*values}) == 3
        assert spread["mean"] == pytest.approx(statistics.fmean(values))
        assert spread["deviation"] == pytest.approx(statistics.stdev(values))
        assert (spread["lowest"], spread["highest"], spread["seeds"]) == (min(values), max(values), 3)
    assert together["over_seeds"]["weight-norm"][0]["deviation"] == pytest.approx(0, abs=1e-12)
    assert [one["delta"] for one in together["over_seeds"]["bn"]] == [1e-3, 1e-2]


def test_one_seed_is_the_plain_command(tmp_path: Path) -> None:
    plain, one = document(tmp_path), document(tmp_path, "--seeds", 1)
    for each in (plain, one):
        del each["cost"]["seconds"]
    assert plain == one


@pytest.mark.parametrize("seeds", [0, -1, 1001, 10**30, "x", 1.5])
def test_other_numbers_of_seeds_are_refused(tmp_path: Path, seeds: object) -> None:
    finished = bnsharp("measure", "none.pt", "--seeds", seeds, folder=tmp_path, expect=2)
    assert "--seeds" in finished.stderr


def test_seeds_beyond_the_last_one_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    finished = bnsharp("measure", "none.pt", "--seed", 2**62 - 1, "--seeds", 2, folder=tmp_path, expect=2)
    assert one_error(finished).startswith("bnsharp: --seed: expected a number of at most 62 bits")


def test_a_picture_is_of_one_seed(tmp_path: Path) -> None:
    finished = bnsharp("measure", "none.pt", "--seeds", 2, "--plot", "x.png", folder=tmp_path, expect=2)
    assert one_error(finished).startswith("bnsharp: --seeds: expected 1 with --plot")


def test_each_seed_is_kept_and_found_again(tmp_path: Path) -> None:
    bnsharp("measure", SAMPLE, *FAST, "--results", "kept", "--seed", 1, folder=tmp_path)
    first = bnsharp("measure", SAMPLE, *FAST, "--results", "kept", "--seeds", 3, folder=tmp_path).stdout
    assert "no pass for 1 seed: measured before, and kept in kept" in first
    assert len([*(tmp_path / "kept").iterdir()]) == 3
    again = bnsharp("measure", SAMPLE, *FAST, "--results", "kept", "--seeds", 3, folder=tmp_path).stdout
    assert "no pass for 3 seeds: measured before, and kept in kept" in again
    assert "F + " not in again
    assert table_of(again) == table_of(first)


def table_of(printed: str) -> str:
    return printed[printed.index("measure") : printed.index("\n\n", printed.index("measure"))]


def test_the_table_has_the_mean_and_the_spread(tmp_path: Path) -> None:
    arguments = (*MEASURES, "--measure", "relative-flatness", "--measure", "keskar", "--seeds", 2)
    printed = bnsharp("measure", SAMPLE, *FAST, *arguments, folder=tmp_path).stdout
    over = document(tmp_path, *arguments)["over_seeds"]
    for spread in over["noise"]:
        assert f"{spread['mean']:.6g} ± {spread['deviation']:.1e}" in " ".join(printed.split())
    assert f"≥{over['keskar'][0]['mean']:.6g}" in printed
    assert "≥: a lower bound: the search was still climbing" in printed
    assert "seeds 0 to 1" in printed.replace("\n", " ")
    assert max(map(len, printed.splitlines())) <= 80
    assert "…" not in "".join(line.split("  ")[0] for line in table_of(printed).splitlines())


def test_a_measure_that_some_seeds_do_not_have_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def one(name: str, value: float) -> Measurement:
        return Measurement(name, value, Status.COMPUTED, Uncertainty(), NO_PASSES)

    documents = [{"loss": 0.5, "accuracy": None, "data": {"seed": seed}} for seed in (3, 4)]
    spreads = [SeedSpread("margin", (one("margin", 1.0),)), SeedSpread("noise", (one("noise", 1.0), one("noise", 2.0)))]
    print_spreads(console(), documents, spreads, legend=False)
    shown = capsys.readouterr().out
    assert "margin: has no value for 1 of 2 seeds" in shown
    assert "noise: has" not in shown
    assert "accuracy" not in shown


def test_compare_with_several_seeds_is_one_comparison_for_each(tmp_path: Path) -> None:
    arguments = ("compare", SAMPLE, OTHER, *FAST, "--measure", "noise", "--results", "kept", "--json")
    together = json.loads(bnsharp(*arguments, "--seed", 3, "--seeds", 2, folder=tmp_path).stdout)
    alone = [json.loads(bnsharp(*arguments, "--seed", seed, folder=tmp_path).stdout) for seed in (3, 4)]
    assert [one["cost"]["forward"] for one in alone] == [0, 0]
    assert [one["comparison"] for one in together["seeds"]] == [one["comparison"] for one in alone]
    assert together["comparison"] == alone[0]["comparison"]
    noise = next(one for one in together["over_seeds"] if one["measure"] == "noise")
    each = [one for own in alone for one in own["comparison"] if one["measure"] == "noise"]
    ratios = [one["ratio"] for one in each]
    assert noise["ratio"] == pytest.approx(statistics.geometric_mean(ratios))
    assert (noise["lowest"], noise["highest"]) == (min(ratios), max(ratios))
    assert noise["verdicts"] == dict(Counter(one["verdict"] for one in each))
    shown = bnsharp(*arguments[:-1], "--seed", 3, "--seeds", 2, folder=tmp_path).stdout
    assert "seeds 3 to 4" in shown
    assert noise["sentence"][:20] in shown
    assert max(map(len, shown.splitlines())) <= 80
    csv_rows = bnsharp(*arguments[:-1], "--seed", 3, "--seeds", 2, "--table", "csv", folder=tmp_path).stdout
    assert f",{noise['ratio']}," in csv_rows


def test_a_result_has_one_seed(tmp_path: Path) -> None:
    bnsharp("measure", SAMPLE, *FAST, "--output", "a.json", folder=tmp_path)
    finished = bnsharp("compare", "a.json", SAMPLE, *FAST, "--seeds", 2, folder=tmp_path, expect=2)
    assert "a.json is a result of one" in one_error(finished)
    assert "--results" in finished.stderr


def test_a_document_of_several_seeds_is_compared_by_its_first(tmp_path: Path) -> None:
    bnsharp("measure", SAMPLE, *FAST, "--seeds", 2, "--output", "several.json", folder=tmp_path)
    bnsharp("measure", SAMPLE, *FAST, "--output", "one.json", folder=tmp_path)
    compared = json.loads(bnsharp("compare", "several.json", "one.json", "--json", folder=tmp_path).stdout)
    assert compared["networks"][0]["measures"] == compared["networks"][1]["measures"]
