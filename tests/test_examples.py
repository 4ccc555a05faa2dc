"""The examples of docs/contributing.md and docs/own-measure.md are the files and entries that they say they are."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar
from unittest import mock

import pytest
import torch
import typer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import bnsharp_cli
from bnsharp_cli.cli import results
from bnsharp_cli.cli.signature import with_options
from bnsharp_cli.core import search_rules
from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints import checkpoint as checkpoints
from bnsharp_cli.measurement.measures import registry as measures
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.option_records import OptionRecord, option
from bnsharp_cli.training import registry as training
from bnsharp_cli.training.options import TrainingOptions
from tests.cli.helpers import bnsharp
from tests.documents import ROOT, Document
from tests.generated import measure_keywords

LONGEST = 30
"""Lines that a measure needs."""
FEW_SAMPLES = ("sample:digits-small-batch", "--samples", 256)


def written(example: str) -> str:
    """An example of docs/contributing.md."""
    text = (ROOT / "docs" / "contributing.md").read_text()
    found = re.search(rf"<!-- example: {example}\b.*? -->\n```python\n(.*?)```", text, re.DOTALL)
    assert found, example
    return found[1]


def as_module(monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> ModuleType:
    """``code`` as the file of the module ``name``."""
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(code, name, "exec"), vars(module))
    return module


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4))


@pytest.fixture
def loader() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    return DataLoader(TensorDataset(torch.randn(16, 3, 8, 8, generator=generator), torch.arange(16) % 4), batch_size=8)


def test_the_measure_of_the_example_is_one_file_and_one_entry(
    monkeypatch: pytest.MonkeyPatch, model: nn.Module, loader: DataLoader[Any], tmp_path: Path
) -> None:
    page = Document(ROOT / "docs" / "own-measure.md")
    code, entering, _ = page.fences("python")
    assert len(code.splitlines()) <= LONGEST
    as_module(monkeypatch, "mean_change", code)
    with mock.patch.dict(measures.MEASURES):
        exec(compile(entering, page.name, "exec"), {})
        entry = measures.MEASURES["mean-change"]
    monkeypatch.setitem(measures.MEASURES, entry.name, entry)

    def measured() -> Any:
        return bnsharp_cli.measure(model, loader, name=entry.name, delta=1e-2, precision="float64")

    plain = measured()
    assert 0 < plain.uncertainty.sampling < plain.value
    assert plain.value < bnsharp_cli.measure(model, loader, delta=1e-2, power=torch.inf, precision="float64").value
    assert entry.cost == f"{plain.cost.forward:g} forwards"
    with torch.no_grad():
        model[0].weight *= 2  # what the entry says of T_a, up to the ε of the norm
    assert measured().value == pytest.approx(plain.value, rel=1e-3)
    printed = bnsharp("measure", *FEW_SAMPLES, "--measure", entry.name, folder=tmp_path).stdout
    assert re.search(rf"^{entry.name} +0.001 .* sampled$", printed, re.MULTILINE)


def test_options_of_a_measure_a_search_rule_and_a_training_rule_are_declared_in_one_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The record is the only file of the product that anyone edits: keywords and help are made from it."""

    @dataclass(frozen=True)
    class Shots(OptionRecord):
        shots: int = option(4, "Shots.", minimum=1)

    entry = replace(measures.MEASURES["keskar"], name="shooting", options=Shots)
    monkeypatch.setitem(measures.MEASURES, entry.name, entry)
    assert "    shots: int\n" in measure_keywords()
    assert MeasureOptions.from_flat(shots=2).of(Shots).shots == 2

    @dataclass(frozen=True)
    class Leap(search_rules.PowerMethod):
        name: ClassVar[str] = "leap"
        leap: float = option(1.0, "Leap.")

    monkeypatch.setitem(search_rules.RULES, Leap.name, Leap)
    assert "    leap: float\n" in measure_keywords()

    @dataclass(frozen=True)
    class Strides(training.RuleOptions):
        stride: int = option(1, "strides", minimum=1)
        hidden: int = option(1, "not for commands", python_only=True)

    monkeypatch.setitem(
        training.TRAINING_RULES, "strides", replace(training.TRAINING_RULES["sgd"], name="strides", options=Strides)
    )
    declared = {one.name for one in TrainingOptions.flat_fields()}
    assert "stride" in declared
    assert "hidden" not in declared


def test_the_search_rule_of_the_example_is_one_class(
    monkeypatch: pytest.MonkeyPatch, model: nn.Module, loader: DataLoader[Any], tmp_path: Path
) -> None:
    names = vars(search_rules)
    before = dict(names)
    exec(compile(written("search rule"), search_rules.__file__, "exec"), names)
    rule = names["HalfPower"]
    for name in {*names} - {*before}:
        monkeypatch.delitem(names, name)
    monkeypatch.setitem(search_rules.RULES, rule.name, rule)
    found, best = (bnsharp_cli.measure(model, loader, search=search, delta=1e-2) for search in (rule.name, "power"))
    assert found.search.rule == rule.name
    assert found.value == pytest.approx(best.value, rel=1e-2)
    assert found.value > bnsharp_cli.measure(model, loader, search="gradient", delta=1e-2).value
    printed = bnsharp("measure", *FEW_SAMPLES, "--search", rule.name, "--json", folder=tmp_path).stdout
    assert json.loads(printed)["measures"]["bn"]["search"]["rule"] == rule.name


def test_the_training_rule_of_the_example_is_one_file_and_one_entry(
    monkeypatch: pytest.MonkeyPatch, model: nn.Module, loader: DataLoader[Any], tmp_path: Path
) -> None:
    as_module(monkeypatch, "bnsharp_cli.training.sign_sgd", written("training rule in"))
    entry = eval(written("training rule entry"), vars(training))
    rule = entry.rule_class(model, lr=0.01)
    before = nn.utils.parameters_to_vector(model.parameters()).detach()
    losses = [rule.step(_closure(model, inputs, targets)) for inputs, targets in list(loader)[:1] * 5]
    moved = (nn.utils.parameters_to_vector(model.parameters()).detach() - before).abs()
    assert rule.steps == 5
    assert moved.max() == pytest.approx(5 * 0.01, rel=1e-3)
    assert losses[-1] < losses[0]
    monkeypatch.setitem(training.TRAINING_RULES, entry.name, entry)
    bnsharp("train", "--rule", entry.name, "--epochs", 1, "--output", "run.pt", folder=tmp_path)
    assert checkpoints.load_checkpoint(tmp_path / "run.pt").metadata["training"]["rule"] == entry.name


def test_the_format_of_the_example_is_one_file_and_one_entry(
    monkeypatch: pytest.MonkeyPatch, model: nn.Module, tmp_path: Path
) -> None:
    module = as_module(monkeypatch, "bnsharp_cli.io.checkpoints.json_format", written("format in"))
    entry = eval(written("format entry"), vars(module) | {"CheckpointFormat": checkpoints.CheckpointFormat})
    monkeypatch.setattr(checkpoints, "CHECKPOINT_FORMATS", (entry, *checkpoints.CHECKPOINT_FORMATS))
    path = tmp_path / "model"
    path.write_text(json.dumps({"weights": {name: tensor.tolist() for name, tensor in model.state_dict().items()}}))
    loaded = checkpoints.load_checkpoint(path)
    assert loaded.format == entry.name
    assert all(loaded.state_dict[name].equal(tensor) for name, tensor in model.state_dict().items())
    path.write_text('{"weights": {"weight": [[1, 2], [3]]}}')
    with pytest.raises(CheckpointRefusedError, match="not a JSON file of weights"):
        checkpoints.load_checkpoint(path)
    assert checkpoints.load_checkpoint(ROOT / "sample_checkpoints" / "digits-small-batch.pt").format == "bnsharp/1"


def test_the_command_of_the_example_is_one_file_and_one_entry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = as_module(monkeypatch, "bnsharp_cli.cli.weights", written("command in"))
    ((function, example),) = eval("{" + written("command entry") + "}", {"weights": command}).items()
    app = typer.Typer()
    app.command(epilog=example)(results.kept_apart(with_options(function)))
    output = tmp_path / "weights.json"
    app(["sample:digits-small-batch", "--output", str(output)], standalone_mode=False)
    assert "conv1.weight 6 1 5 5\n" in capsys.readouterr().out
    assert json.loads(output.read_text())["weights"]["conv1.weight"] == [6, 1, 5, 5]


def _closure(model: nn.Module, inputs: Tensor, targets: Tensor) -> Callable[[], Tensor]:
    return lambda: nn.functional.cross_entropy(model(inputs), targets)
