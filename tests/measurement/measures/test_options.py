"""Options and records: validated once, plain in JSON and back."""

from __future__ import annotations

import inspect
import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from bnsharp_cli.core.search_rules import RULES, PrintedRule
from bnsharp_cli.errors import BnsharpError, UsageError, spelt
from bnsharp_cli.measurement.blocks.blocks import PARTITIONS
from bnsharp_cli.measurement.measures.measurement import Measurement, Search, Status, Uncertainty
from bnsharp_cli.measurement.measures.options import MeasureOptions, option_names, particular_fields
from bnsharp_cli.measurement.measures.perturbation_entries import NoiseOptions, read_shares
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.measures.sharpness_entries import BallOptions
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.option_records import declared_fields
from bnsharp_cli.report.json_document import render


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
        {"sigma": 0.0},
        {"sigma": (0.1, 1.0)},
        {"sigma": ()},
        {"noise_draws": 1},
        {"sigma_draws": 1},
        {"relative_to": "paper"},
    ],
)
def test_options_out_of_range_name_themselves(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong)) + ": expected"):
        MeasureOptions.from_flat(**wrong)


def test_defaults_are_the_papers() -> None:
    options = MeasureOptions()
    assert (options.delta, options.power) == (1e-3, 2.0)
    assert options.to_dict()["iterations"] == 2
    assert MeasureOptions(power=math.inf).to_dict()["power"] == "inf"


FLAT_KEYS = {
    "delta", "power", "search", "iterations", "restarts", "step_size", "search_nodes", "rtol", "partition", "precision",
    "uncertainty", "ball_samples", "by", "seed", "parameters", "layout", "sigma", "noise_draws", "sigma_draws",
    "relative_to", "adaptive_kind", "adaptive_norm", "adaptive_rho", "adaptive_samples", "hessian_probes",
    "hessian_starts", "memory",
}  # fmt: skip


def test_the_record_has_every_option_at_one_level() -> None:
    record = MeasureOptions.from_flat(search="paper", step_size=2.0, ball_samples=4, seed=7).to_dict()
    assert set(record) == FLAT_KEYS == {*option_names()}
    assert record["iterations"] == 5
    assert (record["step_size"], record["ball_samples"], record["seed"]) == (2.0, 4, 7)


def test_options_of_single_rules_and_measures_belong_to_their_records() -> None:
    options = MeasureOptions.from_flat(search="paper", step_size=2.0)
    assert options.particular == {"step_size": 2.0}
    assert options.of(PrintedRule).step_size == 2.0
    assert options.of(BallOptions) == BallOptions(ball_samples=32)
    assert options.rule == PrintedRule(2.0)
    assert {one.name for one in particular_fields()} == {
        "step_size", "ball_samples", "by", "sigma", "noise_draws", "sigma_draws", "relative_to",
        "adaptive_kind", "adaptive_norm", "adaptive_rho", "adaptive_samples", "hessian_probes",
    "hessian_starts",
    }  # fmt: skip


def test_an_option_of_another_search_rule_is_refused() -> None:
    with pytest.raises(UsageError) as refused:
        MeasureOptions.from_flat(step_size=2.0)
    assert str(refused.value) == "step_size: search power has no such option. It is of paper."
    assert (refused.value.argument, refused.value.found) == ("step_size", 2.0)
    assert MeasureOptions.from_flat(step_size=1.0).search == "power"  # the default decides nothing


@pytest.mark.parametrize(
    "name", ["iterations", "restarts", "search_nodes", "ball_samples", "noise_draws", "sigma_draws"]
)
def test_a_slip_of_the_keyboard_does_not_cost_days(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name}: expected at most \d+, found 1000000000\."):
        MeasureOptions.from_flat(**{name: 10**9})


def test_no_option_of_a_rule_or_a_measure_has_the_name_of_a_general_one() -> None:
    general = [one.name for one in declared_fields(MeasureOptions)]
    assert len({*option_names()}) == len(option_names()) == len(general) + len(particular_fields())


@pytest.mark.parametrize("unknown", [{"delt": 1.0}, {"particular": {"delt": 1.0}}, {"particular": {}}])
def test_unknown_names_are_refused(unknown: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"There is no option (delt|particular)"):
        MeasureOptions.from_flat(**unknown)
    with pytest.raises(UsageError, match="There is no option step"):
        MeasureOptions(particular={"step": 1.0})
    with pytest.raises(UsageError, match="particular: expected a mapping, found an int"):
        MeasureOptions(particular=5)


@pytest.mark.parametrize("name", [*option_names()])
@pytest.mark.parametrize("value", ["x", [1.0], object(), b"1"])
def test_values_of_another_type_are_refused_by_name(name: str, value: object) -> None:
    if name == "parameters" and value == "x":  # any text is a glob
        return
    with pytest.raises(UsageError, match=f"^{name}: expected") as refused:
        MeasureOptions.from_flat(**{name: value})
    assert refused.value.argument == name
    assert refused.value.found is value or [refused.value.found] == value


def test_numpys_numbers_are_numbers() -> None:
    options = MeasureOptions(delta=np.float64(0.1), restarts=np.int64(2))
    assert (options.delta, options.restarts) == (0.1, 2)
    assert (type(options.delta), type(options.restarts)) == (float, int)
    assert json.loads(render(MeasureOptions(rtol=np.float32(0.5)).to_dict()))["rtol"] == 0.5


@pytest.mark.parametrize("name", ["iterations", "restarts", "search_nodes", "ball_samples", "seed"])
@pytest.mark.parametrize("four", [4.0, np.float32(4), np.int16(4)])
def test_a_float_without_a_fraction_is_a_whole_number(name: str, four: Any) -> None:
    kept = MeasureOptions.from_flat(**{name: four}).to_dict()[name]
    assert (kept, type(kept)) == (4, int)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"search_nodes": 2.5}, "search_nodes: expected a whole number, found 2.5. For example 6."),
        ({"iterations": math.nan}, "iterations: expected a whole number, found nan. For example 10."),
        ({"seed": math.inf}, "seed: expected a whole number, found inf. For example 0."),
        ({"restarts": True}, "restarts: expected a whole number, found a bool. For example 8."),
        ({"ball_samples": "4"}, "ball_samples: expected a whole number, found a str. For example 32."),
        ({"delta": torch.tensor(0.1)}, "delta: expected a positive number, found a Tensor. For example 1e-3."),
        ({"delta": None}, "delta: expected a positive number, found None. For example 1e-3."),
        ({"delta": -2.0}, "delta: expected a positive number, found -2. For example 1e-3."),
        ({"ball_samples": 1}, "ball_samples: expected at least 2, found 1. For example 32."),
    ],
)
def test_another_type_is_named_instead_of_a_range(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        MeasureOptions.from_flat(**wrong)
    assert str(refused.value) == says


def test_one_size_of_noise_or_several_in_any_order() -> None:
    for given, kept in ((0.1, (0.1,)), (np.float32(0.25), (0.25,)), ([0.3, 0.1, 0.3], (0.1, 0.3))):
        assert MeasureOptions.from_flat(sigma=given).of(NoiseOptions).sigmas == kept
    assert MeasureOptions.from_flat(sigma=0.1).to_dict()["sigma"] == (0.1,)
    assert read_shares(["0.03,0.1", "0.3"]) == NoiseOptions().sigmas
    with pytest.raises(UsageError, match=r"sigma: expected numbers between 0 and 1, found '0\.1, x'"):
        read_shares(["0.1", "x"])


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
def test_seeds_are_those_a_generator_takes(seed: int) -> None:
    with pytest.raises(UsageError, match="seed: expected a seed that torch takes"):
        MeasureOptions(seed=seed)
    torch.Generator().manual_seed(MeasureOptions(seed=seed - (1 if seed > 0 else -1)).seed)


def test_what_a_rule_says_of_itself_decides_its_defaults() -> None:
    assert {name: MeasureOptions(search=name).steps for name in RULES} == {
        "gradient": 0, "power": 2, "ascent": 10, "paper": 5,
    }  # fmt: skip
    assert MeasureOptions(restarts=1).steps == 100
    assert MeasureOptions(restarts=1, search="ascent").steps == 10
    assert MeasureOptions(restarts=1, iterations=3).steps == 3
    helps = {one.name: spelt(one.declared.help, lambda name: f"--{name}") for one in declared_fields(MeasureOptions)}
    assert helps["search"] == "Search for the sharpest direction: power, gradient, ascent or paper."
    assert helps["iterations"] == (
        "Steps of the search [default: power at most 2, or 100 with --restarts; ascent 10, paper 5]."
    )


def test_the_choices_are_those_of_the_code() -> None:
    (partition,) = (one for one in declared_fields(MeasureOptions) if one.name == "partition")
    assert partition.choices == PARTITIONS


@pytest.mark.parametrize("name", MEASURES)
def test_every_entry_loads_a_function_with_the_usual_arguments(name: str) -> None:
    entry = MEASURES[name]
    assert entry.name == name
    arguments = [*inspect.signature(entry.function).parameters]
    assert arguments[:4] == ["surface", "point", "blocks", "options"]


def test_lists_of_options_rules_and_measures_do_not_import_torch() -> None:
    modules = (
        "measurement.measures.options", "measurement.measures.registry", "core.search_rules",
        "measurement.bound.options", "measurement.invariance.options",
    )  # fmt: skip
    for name in modules:
        code = f"import sys, bnsharp_cli.{name}; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0, name


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
