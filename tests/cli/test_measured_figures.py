"""Figures of what is measured: the same numbers as those of measure and compare, for every copy T_a too."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint
from tests.cli.helpers import bnsharp, one_error
from tests.cli.test_hostile_names import NAME, require_printable

SMALL, LARGE = "sample:digits-small-batch", "sample:digits-large-batch"
FAST = ("--samples", 256, "--batch-size", 64, "--quiet")
STAGES = {
    "run.epoch2": "digits-large-batch",
    "run.epoch10": "digits-small-batch-decay",
    "run.epoch9": "digits-small-batch",
}


def rows_of(folder: Path, kind: str, *arguments: object) -> tuple[list[dict[str, str]], str]:
    """The numbers of a figure, and its caption in one line."""
    said = bnsharp("figure", kind, *arguments, "--plot", "f.svg", "--values", "f.csv", folder=folder).stdout
    with (folder / "f.csv").open(newline="") as stream:
        return [*csv.DictReader(stream)], " ".join(said.split())


def document_of(folder: Path, command: str, *arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bnsharp(command, *arguments, "--json", folder=folder).stdout)
    return found


def number(text: str) -> float | None:
    return float(text) if text else None


def test_values_over_delta_are_those_of_measure(tmp_path: Path) -> None:
    radii = (1e-3, 1e-2, 0.1)
    rows, caption = rows_of(tmp_path, "delta", SMALL, LARGE, *FAST, "--delta", "0.1,1e-2", "--delta", 1e-3)
    assert [(row["network"], float(row["delta"])) for row in rows] == [
        (name, one) for name in (SMALL, LARGE) for one in radii
    ]
    found = document_of(tmp_path, "measure", SMALL, *FAST, *(word for one in radii for word in ("--delta", one)))
    for row, one in zip(rows, found["measures"]["bn"]["profile"], strict=False):
        assert float(row["value"]) == one["value"]
        population = one["population"] or {"low": None, "high": None}
        assert [number(row["low"]), number(row["high"])] == [population["low"], population["high"]]
        assert row["regime"] == ("linear" if abs(one["limit_ratio"] - 1) <= 0.01 else "beyond")
        assert row["status"] == one["status"]
    assert {row["regime"] for row in rows} == {"linear", "beyond"}
    for word in (
        "256 samples of digits (train), batches of 64, seed 0, batch statistics",
        "0.1 a sea",
    ):
        assert word in caption
    assert ("95 % intervals" in caption) == any(row["low"] for row in rows)


def test_kept_results_are_drawn_without_a_pass_and_with_the_same_numbers(tmp_path: Path) -> None:
    radii = ("--delta", "1e-3,0.1")
    bnsharp("measure", SMALL, *FAST, *radii, "--output", "kept.json", folder=tmp_path)
    rows, caption = rows_of(tmp_path, "delta", "kept.json")
    assert "0F + 0B in" in caption
    assert rows_of(tmp_path, "delta", SMALL, *FAST, *radii)[0] == rows
    said = one_error(bnsharp("figure", "layers", "kept.json", "--plot", "l.png", "--quiet", folder=tmp_path, expect=2))
    assert "checkpoint: expected results with a value that is divided by layer, as measure" in said.replace(
        "CHECKPOINT", "checkpoint"
    )


def test_layers_are_the_parts_of_measure(tmp_path: Path) -> None:
    many = ("--samples", 1280, "--batch-size", 128, "--quiet")
    rows, caption = rows_of(tmp_path, "layers", SMALL, *many)
    parts = document_of(tmp_path, "measure", SMALL, *many, "--by", "layer")["measures"]["bn"]["parts"]["each"]
    assert [row["layer"] for row in rows] == [part["name"] for part in parts]
    for row, part in zip(rows, parts, strict=True):
        assert {name: number(row[name]) for name in ("value", "share", "population", "low", "high")} == {
            name: part[name] for name in ("value", "share", "population", "low", "high")
        }
    assert any(row["low"] for row in rows)
    assert "the bars add up to the value; diamonds: on the whole split. Lines: 95 % intervals" in caption
    _, beyond = rows_of(tmp_path, "layers", SMALL, *FAST, "--delta", 0.3)
    assert "bars do not add up" in beyond
    assert "Lines" not in beyond


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three checkpoints of a run and the state of an optimiser."""
    folder = tmp_path_factory.mktemp("training")
    (folder / "run").mkdir()
    for name, sample in STAGES.items():
        shutil.copy(embedded_checkpoint(sample), folder / "run" / f"{name}.pt")
    (folder / "run" / "optimizer.pt").write_bytes(b"no weights")
    return folder


def test_a_training_has_the_values_of_compare_along(run: Path) -> None:
    rows, caption = rows_of(
        run, "training", "run", *FAST, "--test-data", "digits", "--measure", "bn", "--measure", "gradient-norm"
    )
    files = [f"run/{name}.pt" for name in STAGES]
    arguments = (*files, "--along", *FAST, "--test-data", "digits", "--measure", "bn", "--measure", "gradient-norm")
    networks = document_of(run, "compare", *arguments)["networks"]
    expected = [(one["name"], value) for one in networks for value in one["values"]]
    assert len(rows) == len(expected)
    for row, (name, value) in zip(rows, expected, strict=True):
        assert (row["network"], row["measure"]) == (name, value["measure"])
        assert [number(row[one]) for one in ("delta", "value", "low", "high")] == [
            value[one] for one in ("delta", "value", "low", "high")
        ]
    assert "along 3 checkpoints, run.epoch2.pt to run.epoch10.pt" in caption
    assert "loss, accuracy, test-loss, test-accuracy" in caption


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies T_a of the embedded network, one with all rows a thousand times as long."""
    folder = tmp_path_factory.mktemp("copies")
    bnsharp("rescale-test", SMALL, *FAST, "--save-copies", "copies", folder=folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "options", "precise"),
    [
        ("delta", ("--delta", "1e-3,0.1"), 1e-6),
        ("layers", (), 1e-6),
        ("spectrum", ("--iterations", 6, "--hessian-probes", 2, "--hessian-starts", 2), 1e-6),
    ],
)
def test_a_copy_has_the_same_figure(copies: Path, kind: str, options: tuple[object, ...], precise: float) -> None:
    """In float64, where ε of the copies is scaled with their weights."""
    fine = (*FAST, "--precision", "float64", *options)
    copy = min((copies / "copies").glob("a-1000*.pt"))
    own, _ = rows_of(copies, kind, SMALL, *fine)
    other, _ = rows_of(copies, kind, copy, *fine)
    assert len(own) == len(other) > 1
    for one, two in zip(own, other, strict=True):
        for name in one.keys() - {"network", "error"}:
            try:
                expected = float(one[name])
            except ValueError:
                assert one[name] == two[name]
                continue
            assert float(two[name]) == pytest.approx(expected, rel=precise, abs=precise * scale_of(own, name)), name


def scale_of(rows: list[dict[str, str]], name: str) -> float:
    """The largest number of a column."""
    return max(abs(float(row[name])) for row in rows if row[name])


def test_a_spectrum_is_that_of_measure(tmp_path: Path) -> None:
    few = (*FAST, "--iterations", 5, "--hessian-probes", 2, "--hessian-starts", 2)
    rows, caption = rows_of(tmp_path, "spectrum", SMALL, *few)
    record = document_of(tmp_path, "measure", SMALL, *few, "--measure", "hessian")["measures"]["hessian"]
    density = [row for row in rows if row["what"] == "density"]
    for name, entry in (("eigenvalue", "eigenvalues"), ("density", "density"), ("error", "error")):
        assert [float(row[name]) for row in density] == record["density"][entry]
    marked = [(float(row["eigenvalue"]), float(row["error"])) for row in rows if row["what"] == "eigenvalue"]
    assert marked == [(one["value"], one["residual"]) for one in record["largest"]]
    assert marked[0] == (record["value"], record["residual"])
    broadened = f"{record['density']['broadening']:.3g}"
    assert (
        f"2 Lanczos runs from random vectors (band: ± a standard error), each eigenvalue broadened by {broadened}"
        in caption
    )


@pytest.mark.parametrize("kind", ["delta", "layers", "training"])
def test_names_of_files_may_be_anything_and_the_width_is_kept(tmp_path: Path, kind: str) -> None:
    names = [f"_{NAME}.pt", f"{50 * 'long'}.pt"]
    for name, sample in zip(names, ("digits-small-batch", "digits-large-batch"), strict=True):
        shutil.copy(embedded_checkpoint(sample), tmp_path / name)
    said = bnsharp(
        "figure", kind, *names, *FAST, "--plot", "f.png", "--width", "3.25in", "--values", "f.json", folder=tmp_path
    )
    require_printable(said.stdout, said.stderr)
    with Image.open(tmp_path / "f.png") as picture:
        assert picture.width == pytest.approx(3.25 * 300, abs=1)
    document = json.loads((tmp_path / "f.json").read_text(errors="surrogateescape"))
    assert [os.fsdecode(network["checkpoint"]["path"]) for network in document["networks"]] == names
    assert {row["network"] for row in document["rows"]} <= {*names}
    assert "".join(document["caption"].split())[:60] in "".join(said.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("training", SMALL), "A training is shown by several checkpoints"),
        (("layers", SMALL, "--delta", "1e-3,1e-2"), "--delta: expected one number for the figure layers"),
        (("profile", SMALL, "--delta", "1e-3,1e-2"), "--delta: expected one number for the figure profile"),
        (("layers", SMALL, "--measure", "keskar"), "--measure: expected nothing for the figure layers"),
        (("delta", SMALL, "--measure", "noise"), "--measure: expected measures that have a radius, found 'noise'"),
        (("delta", SMALL, "--measure", "pie"), "--measure: expected one of bn"),
        (("delta", SMALL, "--delta", "-1"), "--delta: expected a positive number"),
        (("delta", SMALL, "--test-data", "digits"), "--test-data: expected nothing for the figure delta"),
        (
            ("delta", SMALL, "--style", "nosuch"),
            "--style: expected a style of matplotlib, or a file ending in .mplstyle",
        ),
    ],
)
def test_what_has_no_figure_is_refused_before_any_work(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    finished = bnsharp("figure", *arguments, "--plot", "p.png", *FAST, folder=tmp_path, expect=2)
    assert said in " ".join(one_error(finished).split())
    assert not [*tmp_path.iterdir()]


def test_a_style_is_that_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "own.mplstyle").write_text("axes.prop_cycle: cycler('color', ['123456'])\nbackend: pgf\n")
    bnsharp("measure", SMALL, *FAST, "--delta", "1e-3,0.1", "--output", "kept.json", folder=tmp_path)
    for arguments in (("delta", "kept.json"), ("profile", SMALL, *FAST[:-1], "--random", 0)):
        drawn = ("figure", *arguments, "--plot", "own.svg", "--style", "own.mplstyle")
        finished = bnsharp(*drawn, folder=tmp_path)
        assert "#123456" in (tmp_path / "own.svg").read_text()
        assert "own.mplstyle: backend not taken" in " ".join(finished.stderr.split())


def test_a_spectrum_needs_curvlinops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "curvlinops", None)
    finished = bnsharp("figure", "spectrum", SMALL, *FAST, "--plot", "s.png", folder=tmp_path, expect=4)
    assert one_error(finished) == "bnsharp: curvlinops is not installed."
    assert "pip install 'bnsharp[hessian]'" in finished.stderr
