"""A mistyped keyword or choice is a type error, and what type checkers see is what the option records declare."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_type_hints

import pytest

import bnsharp_cli
from bnsharp_cli.measurement.measures.keywords import MeasureKeywords, RescaleKeywords
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.option_records import declared_fields
from bnsharp_cli.training.keywords import SgdKeywords
from bnsharp_cli.training.options import TrainingOptions

PROGRAM = """
import bnsharp_cli
from torch import nn

model = nn.Linear(1, 1)
blocks = bnsharp_cli.find_blocks(model, [])
bnsharp_cli.measure(model, [], bn="running", delta=1e-2, iterations=None, search="power", ball_samples=4)
bnsharp_cli.measure(model, [], parameters="trainable", layout="plain").plot().savefig("one.png")
bnsharp_cli.measure(model, [], parameters=["head.*", "*.bias"], measure="keskar").value
bnsharp_cli.measure(model, [], delta=[1e-3, 1e-2]).profile("bn")[0].value
bnsharp_cli.measure(model, [], measure=["bn", "keskar"], delta=0.1)["keskar"].value
bnsharp_cli.measure(model, [], measure=("bn",), delta=(0.1, 1)).to_frame()
bnsharp_cli.measure(model, [], measure="all")["keskar"].value
bnsharp_cli.rescale_test(model, [], tolerance=1e-6, precision="auto", parameters="trainable")
bnsharp_cli.rescale_test(model, [], tolerance=1e-6, precision="auto", seed=3)
bnsharp_cli.find_blocks(model, [], parameters="trainable")
bnsharp_cli.SharpnessMonitor([], delta=[1e-2, 0.1], measures=["bn"], partition="extended", seed=3)
bnsharp_cli.MeasureOptions(partition="extended")
bnsharp_cli.Sgds(model, blocks, lr=0.1, momentum=0.9, clip_gradient=None)
bnsharp_cli.Asam(model, lr=0.1, rho=0.5, weight_decay=1e-4)

bnsharp_cli.measure(model, [], detla=1e-2)
bnsharp_cli.measure(model, [], bn="batches")
bnsharp_cli.measure(model, [], precision="float16")
bnsharp_cli.measure(model, [], partition="papre")
bnsharp_cli.measure(model, [], iterations="10")
bnsharp_cli.measure(model, [], parameters=1)
bnsharp_cli.measure(model, [], layout="channels_last")
bnsharp_cli.measure(model, [], delta=["small"])
bnsharp_cli.measure(model, [], delta=[1e-3]).value
bnsharp_cli.measure(model, [], measure=[1])
bnsharp_cli.measure(model, [], measure="all").value
bnsharp_cli.measure(model, [], measure="bn")["bn"]
bnsharp_cli.rescale_test(model, [], delta=[1e-3])
bnsharp_cli.rescale_test(model, [], tolerence=1e-6)
bnsharp_cli.rescale_test(model, [], partition="extended")
bnsharp_cli.find_blocks(model, [], partition="papre")
bnsharp_cli.SharpnessMonitor([], detla=1e-2)
bnsharp_cli.MeasureOptions(uncertainty="none")
bnsharp_cli.SgdsOptions(regulariser_batches="other")
bnsharp_cli.Sgds(model, blocks, lr=0.1, momentun=0.9)
bnsharp_cli.EntropySgd(model, lr=0.1, momentun=0.9)
bnsharp_cli.Sam(model, lr=0.1, row=0.5)
bnsharp_cli.Asam(model, lr=0.1, weight_deacy=0.5)
"""
"""After the empty line every statement is a mistake."""

SETTINGS = f"""
[mypy]
mypy_path = {Path(__file__).parents[1]}
[mypy-torch.*,lightning.*,numpy.*,scipy.*]
follow_imports = skip
ignore_missing_imports = True
"""
"""Libraries are left out, which takes seconds instead of minutes."""


def test_a_mistyped_keyword_or_choice_is_a_type_error(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "mypy.ini").write_text(SETTINGS)
    report, problems, _ = api.run(
        ["--config-file", str(tmp_path / "mypy.ini"), "--cache-dir", str(tmp_path), str(tmp_path / "program.py")]
    )
    assert problems == ""
    found = {int(line) for line in re.findall(r"program\.py:(\d+): error", report)}
    first = PROGRAM.count("\n", 0, PROGRAM.rindex("\n\n")) + 3
    assert found == set(range(first, PROGRAM.count("\n") + 1)), report


def test_checkers_are_told_that_the_package_has_types() -> None:
    assert (Path(bnsharp_cli.__file__).parent / "py.typed").is_file()


def test_the_keywords_of_measures_are_the_options_of_the_records() -> None:
    declared = {one.name: one.annotation for one in MeasureOptions.flat_fields()}
    radius = {"delta": declared["delta"]}  # an argument of its own in measure, where there may be several
    assert get_type_hints(MeasureKeywords) | radius == declared, "an option is named in measures/keywords.py too"
    assert {*declared} - {*get_type_hints(RescaleKeywords)} == {"partition"}


def test_the_keywords_of_rules_are_options_of_training() -> None:
    declared = {one.name: one.annotation for one in declared_fields(TrainingOptions)}
    assert get_type_hints(SgdKeywords).items() <= declared.items()
