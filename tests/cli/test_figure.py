"""``bnsharp figure``: pictures, the numbers beside them, and a caption that says what they are."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint
from tests.cli.helpers import bnsharp, one_error

SAMPLE = "sample:digits-small-batch"
FAST = ("--samples", "64", "--batch-size", "32", "--quiet")


def test_a_profile_of_two_networks(tmp_path: Path) -> None:
    arguments = ("figure", "profile", SAMPLE, "sample:digits-large-batch", *FAST, "--random", 2, "--accuracy")
    said = bnsharp(*arguments, "--plot", "p.png", "--values", "p.csv", "--width", "3.25in", folder=tmp_path).stdout
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.width == pytest.approx(3.25 * 300, abs=1)
    with (tmp_path / "p.csv").open(newline="") as stream:
        rows = [*csv.DictReader(stream)]
    lines = {(row["network"], row["direction"]) for row in rows}
    assert lines == {(name, kind) for name in arguments[2:4] for kind in ("sharpest", "gradient", "random")}
    assert len(rows) == 2 * 4 * 31
    middles = {row["loss"] for row in rows if row["network"] == SAMPLE and float(row["step"]) == 0}
    found = json.loads(bnsharp("measure", SAMPLE, *FAST, "--json", folder=tmp_path).stdout)
    assert len(middles) == 1
    assert float(middles.pop()) == pytest.approx(found["loss"], rel=1e-6)
    sentence = " ".join(said.split())
    assert "on 64 samples of digits (train), batches of 32, seed 0, batch statistics" in sentence
    assert f"bn = {found['measures']['bn']['value']:.4g} ±" in sentence
    assert "2 random directions (seeds from 0 on" in sentence


def test_a_landscape_keeps_to_its_evaluations(tmp_path: Path) -> None:
    arguments = ("figure", "landscape", SAMPLE, *FAST, "--evaluations", 90, "--plot", "l.svg", "--values")
    said = bnsharp(*arguments, "l.npz", folder=tmp_path).stdout
    assert "90 evaluations at the white dots" in " ".join(said.split())
    assert (tmp_path / "l.svg").read_text().startswith("<?xml")
    with np.load(tmp_path / "l.npz", allow_pickle=False) as numbers:
        places = np.stack([numbers["s"], numbers["t"]], axis=1)
        assert numbers["loss"].shape == (90,)
    assert len(np.unique(places, axis=0)) == 90
    assert np.abs(places).max() == 0.5
    bnsharp(*arguments, "l.json", folder=tmp_path)
    document = json.loads((tmp_path / "l.json").read_text())
    losses = [row["loss"] for row in document["rows"]]
    assert losses == pytest.approx([*np.load(tmp_path / "l.npz", allow_pickle=False)["loss"]], rel=1e-12)
    assert (
        document["caption"] == " ".join(said.split("evaluations at")[0].split()) + document["caption"].split(" 90")[-1]
    )
    assert (document["kind"], document["options"]["evaluations"], document["cost"]["backward"]) == ("landscape", 90, 3)
    assert document["networks"][0]["path"].endswith("digits-small-batch.pt")
    for corners in document["triangles"]:
        assert len({*corners}) == 3
        assert all(document["points"][corner][2] == losses[corner] for corner in corners)


def test_what_lies_between_two_networks(tmp_path: Path) -> None:
    arguments = (
        "figure",
        "between",
        SAMPLE,
        "sample:digits-large-batch",
        *FAST,
        "--plot",
        "b.pdf",
        "--values",
        "b.csv",
        "--bend",
        "8",
        "--match",
        "permutations",
    )
    said = " ".join(bnsharp(*arguments, folder=tmp_path).stdout.split())
    assert (tmp_path / "b.pdf").read_bytes().startswith(b"%PDF")
    with (tmp_path / "b.csv").open(newline="") as stream:
        rows = [*csv.DictReader(stream)]
    lines = {row["line"]: [float(one["loss"]) for one in rows if one["line"] == row["line"]] for row in rows}
    assert [len(losses) for losses in lines.values()] == [21] * 4
    for place, name in ((0, SAMPLE), (-1, "sample:digits-large-batch")):
        loss = json.loads(bnsharp("measure", name, *FAST, "--json", folder=tmp_path).stdout)["loss"]
        for losses in lines.values():  # an end is the network itself, or a copy up to ε
            assert losses[place] == pytest.approx(loss, rel=0.05)
    own = lines["line, rows matched in length"]
    straight = [own[0] + number / 20 * (own[-1] - own[0]) for number in range(21)]
    barrier = max(loss - line for loss, line in zip(own, straight, strict=True))
    assert f"line, rows matched in length {barrier:.4g} ±" in said
    assert "trained for 8 steps (4F + 4B, seed 0)" in said  # of two batches, one a step
    assert "The channels of 4 groups were permuted" in said
    highest = [max(losses) for losses in lines.values()]
    assert highest[0] < highest[1]  # the curve, and the line that it begins from


def test_the_curve_can_be_left_out(tmp_path: Path) -> None:
    arguments = ("figure", "between", SAMPLE, "sample:digits-large-batch", *FAST, "--bend", 0, "--plot", "b.svg")
    said = " ".join(bnsharp(*arguments, "--values", "b.json", folder=tmp_path).stdout.split())
    document = json.loads((tmp_path / "b.json").read_text())
    assert {row["line"] for row in document["rows"]} == {"line, rows matched in length", "line, rows as they are"}
    assert document["cost"] == pytest.approx({"forward": 2 * 21 + 2, "backward": 0})  # and each network once
    assert "trained" not in said
    assert len(document["networks"]) == 2


def test_the_plane_of_a_training_path_as_contours_and_as_a_surface(tmp_path: Path) -> None:
    names = ("sample:digits-large-batch", "sample:digits-large-batch-decay", SAMPLE)
    arguments = ("figure", "landscape", *names, *FAST, "--span", "path", "--evaluations", 81, "--values", "l.json")
    said = " ".join(bnsharp(*arguments, "--plot", "l.svg", folder=tmp_path).stdout.split())
    document = json.loads((tmp_path / "l.json").read_text())
    assert "of 3 checkpoints (dots, in their order) around the last (cross)" in said
    assert document["checkpoints"][-1] == [0, 0]
    assert len(document["checkpoints"]) == 3
    for axis, along in enumerate(zip(*document["checkpoints"], strict=True)):
        shown = [point[axis] for point in document["points"]]
        assert min(shown) < min(along)
        assert max(along) < max(shown)
    drawn = ("--plot", "l.png", "--view", "surface", "--width", "3.25in")
    assert "around the last (dot)" in " ".join(bnsharp(*arguments, *drawn, folder=tmp_path).stdout.split())
    with Image.open(tmp_path / "l.png") as picture:
        assert picture.width == pytest.approx(3.25 * 300, abs=1)
    assert json.loads((tmp_path / "l.json").read_text())["points"] == document["points"]


@pytest.mark.slow(
    reason="draws every figure",
    quick="tests/cli/test_hostile_names.py::test_results_of_such_a_file_are_printed_written_and_drawn",
)
def test_names_of_strangers_stay_text(tmp_path: Path) -> None:
    """A name with dollar signs, an escape and a right-to-left override, in every picture that shows it."""
    name = "$x^$ \x1b[31m\u202e.pt"
    shutil.copy(embedded_checkpoint(), tmp_path / name)
    for number, arguments in enumerate(
        [
            ("between", name, "sample:digits-large-batch", "--bend", 0),
            ("landscape", name, "--view", "surface", "--evaluations", 81),
            (
                "landscape",
                "sample:digits-large-batch-decay",
                "sample:digits-large-batch",
                name,
                "--span",
                "path",
                "--evaluations",
                81,
            ),
        ]
    ):
        drawn = ("--plot", f"{number}.svg", "--values", f"{number}.json")
        finished = bnsharp("figure", *arguments, *FAST, *drawn, folder=tmp_path)
        texts = [finished.stdout, *((tmp_path / f"{number}.{ending}").read_text() for ending in ("svg", "json"))]
        assert not any(character in text for text in texts for character in "\x1b\u202e")
        assert "\\x1b[31m" in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("pie", SAMPLE, "--plot", "p.png"),
            "KIND: expected one of profile, landscape, between, delta, layers, spectrum, training, found 'pie'",
        ),
        (("landscape", SAMPLE, SAMPLE, "--plot", "p.png"), "A landscape shows one network"),
        (("landscape", SAMPLE, SAMPLE, "--span", "path", "--plot", "p.png"), "path needs at least 3 checkpoints"),
        (("between", SAMPLE, SAMPLE, "--bend", "-1", "--plot", "p.png"), "--bend: expected at least 0"),
        (("between", SAMPLE, "--plot", "p.png"), "There is a line between two networks"),
        (("between", SAMPLE, SAMPLE, "--bn", "running", "--plot", "p.png"), "--bn: expected batch for what lies"),
        (("between", SAMPLE, SAMPLE, "--partition", "filter", "--plot", "p.png"), "--partition: expected one of paper"),
        (("profile", SAMPLE, "--plot", "p.gif"), "--plot: expected a file ending in .png, .svg or .pdf"),
        (("profile", SAMPLE, "--plot", "p.png", "--values", "p.txt"), "--values: expected a file ending in .csv"),
        (("profile", SAMPLE, "--plot", "p.png", "--width", "wide"), "--width: expected a width such as 3.25in or 8cm"),
        (("profile", SAMPLE, "--plot", "p.png", "--width", "0.5in"), "--width: expected more than 1 inch"),
        (("profile", SAMPLE, "--plot", "p.png", "--reach", "0"), "--reach: expected a number above 0"),
        (("landscape", SAMPLE, "--plot", "p.png", "--evaluations", "80"), "--evaluations: expected at least 81"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_any_work(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    finished = bnsharp("figure", *arguments, *FAST, folder=tmp_path, expect=2)
    assert said in " ".join(one_error(finished).split())
    assert not [*tmp_path.iterdir()]
