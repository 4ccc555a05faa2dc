"""Stages of a training as rows and curves, pictures of networks, and the shares of layers."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint
from bnsharp_cli.report.numbered_names import natural_key, numbers_of
from tests.cli.helpers import bnsharp, one_error

SAMPLES = {
    "run.epoch2": "digits-large-batch",
    "run.epoch10": "digits-small-batch-decay",
    "run.epoch9": "digits-small-batch",
}
FAST = ("--samples", 1280, "--batch-size", 64, "--quiet", "--results", "kept")
FILES = tuple(f"{name}.pt" for name in SAMPLES)
ALONG = (*FILES, "--along", *FAST, "--measure", "bn", "--measure", "loss", "--test-data", "digits")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three checkpoints, and their results."""
    folder = tmp_path_factory.mktemp("along")
    for name, sample in SAMPLES.items():
        shutil.copy(embedded_checkpoint(sample), folder / f"{name}.pt")
    bnsharp("compare", *ALONG, folder=folder)
    return folder


def document_of(folder: Path, *arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bnsharp("compare", *arguments, "--json", folder=folder).stdout)
    return found


def test_a_row_for_each_checkpoint_in_the_order_of_its_number(folder: Path) -> None:
    printed = bnsharp("compare", *ALONG, folder=folder).stdout
    rows = [line.split()[0] for line in printed.splitlines() if line.startswith("run.")]
    assert rows[:3] == ["run.epoch2.pt", "run.epoch9.pt", "run.epoch10.pt"]
    assert max(map(len, printed.splitlines())) <= 80
    networks = document_of(folder, *ALONG)["networks"]
    assert [one["name"] for one in networks] == rows[:3]
    row = next(line for line in printed.splitlines() if line.startswith("run.epoch9.pt") and "(" in line)
    (bn,) = [one for one in networks[1]["values"] if one["measure"] == "bn"]
    assert f"{bn['value']:.3g} ({bn['low']:.3g} … {bn['high']:.3g})" in " ".join(row.split())


def test_every_value_has_the_interval_of_its_document(folder: Path) -> None:
    for network in document_of(folder, *ALONG)["networks"]:
        values = {one["measure"]: one for one in network["values"]}
        assert [*values] == ["loss", "accuracy", "test-loss", "test-accuracy", "gap", "accuracy-gap", "bn"]
        population = network["measures"]["bn"]["population"]
        assert [values["bn"][end] for end in ("low", "high")] == [population["low"], population["high"]]
        assert values["test-accuracy"]["value"] == pytest.approx(network["test"]["accuracy"])
        assert values["gap"]["value"] == pytest.approx(network["test"]["gap"])
        for one in values.values():
            assert one["low"] <= one["value"] <= one["high"]
        assert values["test-accuracy"]["high"] <= 1


def test_tables_of_stages_for_other_programs(folder: Path) -> None:
    document = document_of(folder, *ALONG)
    rows = [*csv.DictReader(io.StringIO(bnsharp("compare", *ALONG, "--table", "csv", folder=folder).stdout))]
    wanted = [(network["name"], one) for network in document["networks"] for one in network["values"]]
    assert len(rows) == len(wanted)
    for row, (name, one) in zip(rows, wanted, strict=True):
        assert (row["checkpoint"], row["measure"]) == (name, one["measure"])
        assert float(row["value"]) == one["value"]
    markdown = bnsharp("compare", *ALONG, "--table", "markdown", folder=folder).stdout.splitlines()
    assert markdown[0].startswith("| checkpoint | loss | accuracy | test-loss |")
    assert len(markdown) == 2 + len(FILES)
    latex = bnsharp("compare", *ALONG, "--table", "latex", folder=folder).stdout
    assert latex.startswith(r"\begin{tabular}{lrrrrrrr}")


def texts_of(picture: Path) -> set[str]:
    """What an SVG says, as matplotlib notes it beside the shapes of its letters."""
    return {text.strip() for text in re.findall(r"<!-- (.*?) -->", picture.read_text())}


def test_the_picture_along_a_training_has_a_panel_for_each_measure(folder: Path) -> None:
    bnsharp("compare", *ALONG, "--plot", "along.svg", folder=folder)
    assert {"epoch", "loss", "test-loss", "accuracy", "gap", "bn, δ = 0.001"} <= texts_of(folder / "along.svg")


@pytest.mark.slow(
    reason="measures two networks at three radii for two pictures",
    quick="tests/cli/test_compare_along.py::test_the_picture_along_a_training_has_a_panel_for_each_measure",
)
def test_the_picture_of_networks_has_a_row_for_each_and_profiles_over_several_radii(folder: Path) -> None:
    bnsharp("compare", *FILES[:2], *FAST, "--plot", "one.svg", folder=folder)
    assert {"A  run.epoch2.pt", "B  run.epoch10.pt", "bn, δ = 0.001", "loss"} <= texts_of(folder / "one.svg")
    bnsharp("compare", *FILES[:2], *FAST, "--delta", 1e-3, "--delta", 0.1, "--plot", "more.svg", folder=folder)
    assert {"A  run.epoch2.pt", "δ", "bn"} <= texts_of(folder / "more.svg")
    assert "bn, δ = 0.001" not in texts_of(folder / "more.svg")


@pytest.mark.parametrize("along", [("--along",), ()])
def test_whatever_numbers_a_kept_result_holds_there_is_a_picture(folder: Path, along: tuple[str, ...]) -> None:
    files = []
    for number, value in enumerate((1e308, -1e308, 0.0, 5e-324)):
        for path in sorted((folder / "kept").iterdir())[:1]:
            document = json.loads(path.read_text())
            document["measures"]["bn"]["value"] = value
            document["batch_losses"] = [value] * len(document["batch_losses"])
            document["measures"]["bn"]["population"] = None
            files.append(folder / f"strange{number}.json")
            files[-1].write_text(json.dumps(document))
    bnsharp("compare", *files, *along, "--plot", "strange.png", "--quiet", folder=folder)
    assert (folder / "strange.png").read_bytes().startswith(b"\x89PNG")


def test_shares_of_layers_stand_beside_each_other(folder: Path) -> None:
    arguments = (*FILES[:2], *FAST, "--by", "layer")
    printed = bnsharp("compare", *arguments, folder=folder).stdout
    networks = document_of(folder, *arguments)["networks"]
    parts = [{one["name"]: one["share"] for one in own["measures"]["bn"]["parts"]["each"]} for own in networks]
    assert "bn, δ = 0.001, shares by layer" in printed
    for layer in parts[0]:
        row = next(line.split() for line in printed.splitlines() if line.startswith(f"{layer} "))
        assert row[1:] == [f"{own[layer]:.1%}" for own in parts]


def test_one_order_alone(folder: Path) -> None:
    said = one_error(bnsharp("compare", *FILES, "--along", "--sort", "ratio", folder=folder, expect=2))
    assert "--along sorts rows by the numbers in names" in said


@pytest.mark.parametrize("more", [("--along",), ("--plot", "a.svg"), ("--by", "layer")], ids=lambda more: more[0])
def test_what_shows_single_measurements_has_one_seed(folder: Path, more: tuple[str, ...]) -> None:
    said = one_error(bnsharp("compare", *FILES, *more, "--seeds", 2, folder=folder, expect=2))
    assert f"{more[0]} shows measurements with one seed, and --seeds asks for 2" in said


def test_results_that_do_not_belong_together_are_named_by_their_files(folder: Path) -> None:
    first, other = folder / "kept", folder / "other"
    bnsharp("measure", FILES[0], *FAST, "--results", "other", "--delta", 0.01, folder=folder)
    said = one_error(bnsharp("compare", first, other, "--along", folder=folder, expect=2))
    assert "'run.epoch" in said
    assert "were not measured alike: --delta" in said


def test_names_are_in_the_order_of_their_numbers() -> None:
    names = ["run10.pt", "run9.pt", "run.pt", "run9b.pt"]
    assert sorted(names, key=natural_key) == ["run9.pt", "run9b.pt", "run10.pt", "run.pt"]
    assert numbers_of(["step-5/net.pt", "step-100/net.pt"]) == ("step", [5, 100])
    assert numbers_of(["1.pt", "2.pt"]) == ("number", [1, 2])
    for unlike in (["a1.pt", "b2.pt"], ["a1.pt", "a01.pt"], ["a1-2.pt", "a2-1.pt"], ["a.pt", "b.pt"]):
        assert numbers_of(unlike) is None
