"""Lists of measures and radii in Python: each value is that of a call of its own, and what is no list is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch

import bnsharp_cli
from bnsharp_cli import Measurement, Measurements
from bnsharp_cli.errors import BnsharpError, UsageError
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.report.json_document import render
from tests.border.networks import ROWS, Net, batches, mean_loss, probe
from tests.border.oracle import bn_along_gradient

RADII = [1e-3, 1e-2]
NAMES = ", ".join(MEASURES)
OPTIONS: dict[str, Any] = {"precision": "float64", "ball_samples": 4}


@pytest.mark.parametrize(
    "radii",
    [RADII, tuple(RADII), np.array(RADII), torch.tensor(RADII, dtype=torch.float64), [np.float64(RADII[0]), 1e-2]],
    ids=["list", "tuple", "array", "tensor", "numpy's numbers"],
)
def test_a_list_of_radii_gives_a_profile(radii: Any) -> None:
    found = bnsharp_cli.measure(Net(), batches(), delta=radii, **OPTIONS)
    assert isinstance(found, Measurements)
    assert [one.details["delta"] for one in found] == RADII
    for one, delta in zip(found, RADII, strict=True):
        assert one == bnsharp_cli.measure(Net(), batches(), delta=delta, **OPTIONS)
        along = bn_along_gradient(Net(), mean_loss(), ROWS, delta)
        assert along * (1 - 1e-6) <= one.value <= along * 1.1


def learnable() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Examples of which the network has three in four right, so that every measure exists."""
    network, found = Net(), []
    for inputs, targets in batches():
        with torch.no_grad():
            own = network(inputs).argmax(1)
        found.append((inputs, torch.where(torch.arange(len(own)) % 4 == 0, targets, own)))
    return found


@pytest.mark.parametrize("asked", ["all", ["all"], [*MEASURES], tuple(MEASURES), ["bn", "all"]])
def test_all_measures_at_once(asked: Any) -> None:
    found = bnsharp_cli.measure(Net(), learnable(), measure=asked, **OPTIONS)
    assert [*found.profiles] == [*MEASURES]
    for name in MEASURES:
        assert found[name] == bnsharp_cli.measure(Net(), learnable(), name=name, **OPTIONS)


@pytest.mark.parametrize("name", [*MEASURES])
def test_one_name_gives_one_measurement(name: str) -> None:
    one = bnsharp_cli.measure(Net(), learnable(), measure=name, **OPTIONS)
    assert isinstance(one, Measurement)
    assert one == bnsharp_cli.measure(Net(), learnable(), name=name, **OPTIONS)
    assert [*bnsharp_cli.measure(Net(), learnable(), measure=[name], **OPTIONS)] == [one]


def several() -> Measurements:
    return bnsharp_cli.measure(probe(), batches(), measure=["keskar", "bn", "keskar"], delta=RADII, **OPTIONS)


def test_measurements_are_a_sequence_and_know_their_measures() -> None:
    found = several()
    assert isinstance(found, Sequence)
    assert [(one.name, one.details["delta"]) for one in found] == [
        ("keskar", 1e-3), ("keskar", 1e-2), ("bn", 1e-3), ("bn", 1e-2)
    ]  # fmt: skip
    assert len(found) == 4
    assert found[-1] == found[3] == found.profile("bn")[1]
    assert found[:2] == found.profile("keskar")
    assert found[0] in found
    with pytest.raises(IndexError):
        found[4]
    with pytest.raises(UsageError, match="name: expected a measure at one radius, found 'bn at 2 radii'") as refused:
        found["bn"]
    assert refused.value.remedy == "Take profile('bn'), which has one for each radius."
    for ask in (found.profile, found.__getitem__):
        with pytest.raises(UsageError, match="name: expected one of keskar, bn, found 'delta-lp'"):
            ask("delta-lp")


def test_the_extended_partition_is_found_by_the_name_that_was_asked_for() -> None:
    found = bnsharp_cli.measure(Net(), batches(), measure=["bn"], partition="extended")
    assert found["bn"].name == "bn-extended"


def test_the_record_is_that_of_the_commands_document() -> None:
    found, record = several(), several().to_dict()
    assert [*record] == ["keskar", "bn"]
    assert [one["delta"] for one in record["bn"]["profile"]] == RADII
    assert record["bn"]["value"] == found.profile("bn")[0].value
    assert json.loads(render(record))["keskar"]["profile"][1]["value"] == found[1].value


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"delta": []}, "delta: expected positive numbers, found ()"),
        ({"delta": [1e-3, "x"]}, "delta: expected positive numbers, found a str"),
        ({"delta": [1e-3, None]}, "delta: expected positive numbers, found None"),
        ({"delta": [1e-3, True]}, "delta: expected positive numbers, found a bool"),
        ({"delta": [1e-3, 0]}, "delta: expected a positive number, found 0"),
        ({"delta": [[1e-3]]}, "delta: expected positive numbers, found a list"),
        ({"delta": {1e-3}}, "delta: expected a positive number, found a set"),
        ({"delta": {"a": 1e-3}}, "delta: expected a positive number, found a dict"),
        ({"delta": np.full((2, 2), 0.1)}, "delta: expected a positive number, found a"),
        ({"delta": iter([1e-3])}, "delta: expected a positive number, found a list_iterator"),
        ({"delta": "1e-3"}, "delta: expected a positive number, found a str"),
        ({"delta": [1e-3, 1.5]}, "delta: expected less than 1 where radii are relative to weights, found 1.5"),
        ({"measure": []}, f"measure: expected names of {NAMES}, all, found ()"),
        ({"measure": ["bn", "flatness"]}, f"measure: expected one of {NAMES}, all, found 'fl"),
        ({"measure": [1]}, f"measure: expected names of {NAMES}, all, found 1"),
        ({"measure": {"bn"}}, f"measure: expected names of {NAMES}, all, found a set"),
        ({"measure": "flatness"}, "measure: expected one of bn"),
        ({"measure": ["bn", "delta-lp"], "power": float("inf")}, "measure delta-lp needs a finite power."),
        ({"measure": "bn", "name": "keskar"}, "name and measure both say what to measure. Give measure alone."),
        ({"name": ["bn"]}, f"name: expected one of {NAMES}, found ['bn']"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_list_of_measures_or_radii_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        bnsharp_cli.measure(Net(), batches(), **wrong)
    assert str(refused.value).startswith(says)


def test_results_are_shown_within_80_columns() -> None:
    shown = ["bn", "delta-lp", "delta-linf", "keskar", "noise"]
    found = bnsharp_cli.measure(
        probe(), batches(), measure=shown, delta=[1.25e-5, 0.1], restarts=1, parameters=["head.weight", "body.*.bias"]
    )
    lines = repr(found).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["measure", "δ", "value", "±", "error", "status"]
    rows, further = lines[1 : len(found) + 1], " ".join(lines[len(found) + 1 :])
    for row, one in zip(rows, found, strict=True):
        radius = [f"{one.details['delta']:g}"] if "delta" in one.details else []
        assert row.split()[: len(radius) + 2] == [one.name, *radius, f"{one.value:.6g}"]
    assert further.endswith(" ".join(found[0].notes))
    assert all(f"{name} was not measured: " in further for name in found.skipped)
    for one in found:
        assert max(map(len, repr(one).splitlines())) <= 80
        assert " ".join(repr(one).split()).endswith(f"notes {'; '.join(one.notes)})")


class Cells(HTMLParser):
    """The texts of a table's cells, and the names of everything else."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag in {"td", "th"}:
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        self.cells[-1] += data


HOSTILE = "<script>alert(1)</script> & \"'"


def read(shown: str) -> Cells:
    parser = Cells()
    parser.feed(shown)
    assert parser.tags == {"table", "tr", "th", "td"}
    return parser


def test_a_notebook_shows_a_table_in_which_everything_is_escaped() -> None:
    found = several().each(lambda one: one.noted([HOSTILE]))
    cells = read(found._repr_html_()).cells
    assert cells[:6] == ["measure", "δ", "value", "± error", "status", "cost"]
    assert f"{found[0].value:.6g}" in cells
    assert cells[-1] == HOSTILE
    assert HOSTILE in read(found[0]._repr_html_()).cells[-1]
    plain = bnsharp_cli.measure(Net(), batches(), measure=["bn"])
    assert len(read(plain._repr_html_()).cells) == 12


def test_data_frames() -> None:
    pandas = pytest.importorskip("pandas")
    found = several()
    frame = found.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert [*frame["measure"]] == ["keskar", "keskar", "bn", "bn"]
    assert [*frame["delta"]] == [*RADII, *RADII]
    assert [*frame["value"]] == [one.value for one in found]
    assert [*frame["forward"]] == [one.cost.forward for one in found]
    assert found[0].to_frame().equals(frame[:1])
    assert all(kind in "iuf" for kind in frame.drop(columns=["measure", "status"]).dtypes.map(lambda each: each.kind))


def test_data_frames_need_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    for one in (several(), several()[0]):
        with pytest.raises(BnsharpError, match="pandas is not installed") as refused:
            one.to_frame()
        assert refused.value.remedy == "Install it with `pip install pandas`, or use to_dict()."
        assert one.to_dict()
    report = bnsharp_cli.rescale_test(Net(), batches(), ball_samples=2)
    with pytest.raises(BnsharpError, match="pandas is not installed") as refused:
        report.to_frame()
    assert refused.value.remedy.endswith("or use the to_dict() of each of its copies.")
    assert all(copy.to_dict()["measures"]["bn"] for copy in report.copies)


def test_a_profile_is_drawn_with_its_errors() -> None:
    found = several()
    figure = found.plot()
    (axes,) = figure.axes
    drawn = {line.get_label(): line for line in axes.containers}
    assert [*drawn] == ["keskar", "bn"]
    for name, container in drawn.items():
        line, _, (bars,) = container.lines
        assert [*line.get_xdata()] == RADII
        assert [*line.get_ydata()] == [one.value for one in found.profile(name)]
        for (low, high), one in zip(bars.get_segments(), found.profile(name), strict=True):
            assert (high[1] - low[1]) / 2 == pytest.approx(one.largest_error[1])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_one_measurement_is_drawn_along_its_direction_or_as_a_point() -> None:
    bn, keskar = bnsharp_cli.measure(Net(), batches(), measure=["bn", "keskar"])
    (axes,) = bn.plot().axes
    nodes = axes.lines[-1]
    assert [*nodes.get_ydata()] == [change for _, change in sorted(bn.segment)]
    assert [*nodes.get_xdata()] == pytest.approx([t / 1e-3 for t, _ in sorted(bn.segment)])
    (axes,) = keskar.plot().axes
    assert [*axes.lines[0].get_ydata()] == [keskar.value]


def test_measures_without_a_radius_are_drawn_by_themselves_alone() -> None:
    mixed = bnsharp_cli.measure(Net(), batches(), measure=["bn", "weight-norm"], delta=RADII)
    (axes,) = mixed.plot().axes
    assert [line.get_label() for line in axes.containers] == ["bn"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    alone = bnsharp_cli.measure(Net(), batches(), measure=["weight-norm", "random"])
    rows = alone.plot().axes
    assert [row.get_yticklabels()[0].get_text() for row in rows] == ["weight-norm", "random"]
    assert [row.lines[0].get_xdata()[0] for row in rows] == [one.value for one in alone]
    assert alone[0].plot()._repr_png_().startswith(b"\x89PNG")


def test_pictures_of_nothing_and_of_what_is_not_finite() -> None:
    found = bnsharp_cli.measure(Net(), batches(), measure=["bn"], delta=[1e-3, 1e-2])
    zero = found.each(lambda one: bnsharp_cli.Measurement(one.name, 0.0, one.status, one.uncertainty, one.cost))
    assert zero.plot()._repr_png_().startswith(b"\x89PNG")
    assert zero[0].plot()._repr_png_().startswith(b"\x89PNG")


def test_an_invariance_report_shows_itself() -> None:
    report = bnsharp_cli.rescale_test(probe(), batches(), ball_samples=2)
    lines = repr(report).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["copy", "loss", "drift", "δ-L2", "δ-L∞", "bn", "deviation"]
    assert all(line.startswith(copy.name) for line, copy in zip(lines[1:], report.copies, strict=False))
    assert " ".join(lines[len(report.copies) + 1 :]) == f"{report.verdict} {report.notes[0]}"
    hostile = replace(report, notes=(HOSTILE,), marked_verdict=HOSTILE)
    cells = read(hostile._repr_html_()).cells
    assert (cells[-3], cells[-1]) == (HOSTILE, HOSTILE)
    assert f"{report.reference.measures['bn'].value:.6g}" in cells
    (axes,) = report.plot().axes
    uniform = [copy for copy in report.copies if copy.scale is not None]
    assert [*axes.lines[-1].get_xdata()] == [copy.scale for copy in uniform]
    assert [*axes.lines[-1].get_ydata()] == [copy.measures["bn"].value for copy in uniform]


def test_an_invariance_report_as_a_data_frame() -> None:
    pytest.importorskip("pandas")
    report = bnsharp_cli.rescale_test(Net(), batches(), ball_samples=2)
    frame = report.to_frame()
    assert [*frame["copy"]] == [copy.name for copy in report.copies]
    assert [*frame["bn"]] == [copy.measures["bn"].value for copy in report.copies]
