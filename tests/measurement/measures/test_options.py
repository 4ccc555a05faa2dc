"""Options and records: validated once, plain in JSON and back."""

from __future__ import annotations

import json
import math

import pytest

from bnsharp_cli.errors import BnsharpError, UsageError
from bnsharp_cli.measurement.measures.measurement import Measurement, Search, Status, Uncertainty
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.report.json import render


@pytest.mark.parametrize(
    "wrong",
    [
        {"delta": 0.0},
        {"delta": math.inf},
        {"delta": math.nan},
        {"power": 0.9},
        {"power": math.nan},
        {"search": "newton"},
        {"iterations": -1},
        {"restarts": -1},
        {"step_size": 0.0},
        {"search_nodes": 3},
        {"rtol": 1.0},
        {"partition": "x"},
        {"precision": "half"},
        {"ball_samples": 1},
    ],
)
def test_options_out_of_range_name_themselves(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="--" + next(iter(wrong)).replace("_", "-") + ": expected"):
        MeasureOptions(**wrong)


def test_defaults_are_the_papers() -> None:
    options = MeasureOptions()
    assert (options.delta, options.power) == (1e-3, 2.0)
    assert options.to_dict()["iterations"] == 2
    assert MeasureOptions(power=math.inf).to_dict()["power"] == "inf"


def test_a_measurement_survives_json() -> None:
    measured = Measurement(
        "bn",
        1.25,
        Status.CONVERGED,
        Uncertainty(quadrature=1e-6, rounding=1e-9),
        Cost(24, 5),
        Cost(3),
        Search("power", 2, 2, (1.0, 1.25)),
        {"delta": 1e-3, "limit": 1.2},
    )
    record = json.loads(render(measured.to_dict()))
    assert Measurement.from_dict("bn", record) == measured


def test_json_has_no_infinities() -> None:
    assert json.loads(render({"a": math.inf, "b": [math.nan, 1.0], "c": (1, 2)})) == {
        "a": None,
        "b": [None, 1.0],
        "c": [1, 2],
    }


def test_every_status_has_a_meaning_and_every_error_a_code() -> None:
    assert all(status.meaning for status in Status)
    assert {error.exit_code for error in BnsharpError.__subclasses__()} == {2, 3, 4}
