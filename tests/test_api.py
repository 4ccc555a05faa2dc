"""Three lines in a notebook."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import bnsharp_cli
from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.data.batches import DrawnBatches
from tests.api_cases import Model, Outputs, Record, X, Y, inputs_and_targets
from tests.cases import mlp_bn, vectors


def test_measure_is_what_the_command_measures(sample_network: nn.Module, digit_batches: DrawnBatches) -> None:
    result = bnsharp_cli.measure(sample_network, digit_batches.batches)
    assert result.name == "bn"
    assert result.value == pytest.approx(result.details["limit"], rel=0.05)
    assert json.dumps(result.to_dict())


def test_a_criterion_of_the_users_and_running_statistics() -> None:
    torch.manual_seed(0)
    module = mlp_bn()
    inputs, _ = vectors()[0]
    batches = [(inputs, torch.zeros(len(inputs), 3))]
    result = bnsharp_cli.measure(module, batches, nn.functional.mse_loss, bn="running", delta=1e-2, power=1.0)
    assert result.details["delta"] == 1e-2
    assert result.value > 0


def test_a_generator_of_batches_is_read_once() -> None:
    torch.manual_seed(0)
    result = bnsharp_cli.measure(mlp_bn(), (batch for batch in vectors()), name="delta-linf")
    assert result.value > 0


def test_rescale_test_gives_the_verdict() -> None:
    torch.manual_seed(0)
    report = bnsharp_cli.rescale_test(mlp_bn(), vectors(), delta=1e-3)
    assert report.invariant
    assert len(report.copies) == 11


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": "flatness"}, "name: expected one of"),
        ({"bn": "x"}, "bn: expected batch"),
        ({"delta": 0}, "delta: expected"),
    ],
)
def test_arguments_that_cannot_be_meant(options: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        bnsharp_cli.measure(mlp_bn(), vectors(), **options)
    with pytest.raises(UsageError, match="at least one"):
        bnsharp_cli.measure(mlp_bn(), [])


ANSWERS: dict[str, Callable[[torch.Tensor], Any]] = {
    "tensor": lambda y: y,
    "logits": lambda y: Outputs(hidden=y.exp(), logits=y),
    "out": lambda y: {"aux": 2 * y, "out": y},
    "record": Record,
    "tuple": lambda y: (y, y.exp()),
}


BATCHES: dict[str, Callable[[torch.Tensor, torch.Tensor], Any]] = {
    "pairs": lambda x, y: [(x, y)],
    "arguments": lambda x, y: [((x, torch.ones_like(x)), y)],
    "keywords": lambda x, y: [({"values": x, "mask": torch.ones(48, 4, dtype=torch.int64)}, y)],
    "mapping": lambda x, y: [{"values": x.double(), "labels": y}],
    "loader": lambda x, y: DataLoader(TensorDataset(x, y), 48),
    "arrays": lambda x, y: [(x.numpy(), y.numpy())],
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("form", BATCHES)
def test_what_people_pass_is_the_same_network_on_the_same_batch(form: str, answer: str) -> None:
    x, y = inputs_and_targets()
    expected = bnsharp_cli.measure(Model(), [(x, y)])
    output = 0 if answer == "tuple" else None
    found = bnsharp_cli.measure(Model(ANSWERS[answer]), BATCHES[form](x, y), output=output)
    assert found.value == expected.value


def test_a_function_of_the_users_is_given_everything_in_float64() -> None:
    def criterion(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        assert isinstance(outputs, Outputs)
        assert outputs.logits.dtype == outputs.hidden.dtype == torch.float64
        return nn.functional.cross_entropy(outputs.logits, targets)

    batch = inputs_and_targets()
    result = bnsharp_cli.measure(Model(ANSWERS["logits"]), [batch], criterion)
    assert result.value == bnsharp_cli.measure(Model(), [batch]).value


def test_targets_may_be_nested_too() -> None:
    x, y = inputs_and_targets()
    result = bnsharp_cli.measure(Model(), [(x, {"y": y})], lambda o, t: nn.functional.cross_entropy(o, t["y"]))
    assert result.value == bnsharp_cli.measure(Model(), [(x, y)]).value


def test_a_criterion_with_weights_is_not_touched() -> None:
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))
    x, y = inputs_and_targets()
    result = bnsharp_cli.measure(Model(), [(x, y)], criterion)
    weights = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    same = bnsharp_cli.measure(Model(), [(x, y)], lambda o, t: nn.functional.cross_entropy(o, t, weight=weights))
    assert result.value == same.value
    assert criterion.weight.dtype == torch.float32


SURROUNDINGS: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@pytest.mark.parametrize("around", SURROUNDINGS)
@pytest.mark.parametrize("training", [True, False])
def test_what_surrounds_the_call_makes_no_difference(around: str, training: bool) -> None:
    expected = bnsharp_cli.measure(Model(), [inputs_and_targets()])
    model = Model().train(training)
    with SURROUNDINGS[around]():
        x, y = inputs_and_targets()
        assert bnsharp_cli.measure(model, [(x, y)]).value == expected.value


def test_the_model_and_torchs_random_state_are_what_they_were() -> None:
    model = Model(ANSWERS["logits"]).train()
    model.norm.eval()
    model.last.weight.grad = torch.ones_like(model.last.weight)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loader = DataLoader(TensorDataset(*inputs_and_targets()), 24, shuffle=True)
    state = torch.get_rng_state()
    bnsharp_cli.measure(model, loader)
    bnsharp_cli.rescale_test(model, loader)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == [True, True, False, True, True]
    assert torch.equal(model.last.weight.grad, torch.ones_like(model.last.weight))
    assert model.hidden.weight.grad is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_wrappers_are_taken_off() -> None:
    expected = bnsharp_cli.measure(Model(), [inputs_and_targets()])
    for wrapped in (torch.compile(Model()), nn.DataParallel(Model())):
        assert bnsharp_cli.measure(wrapped, [inputs_and_targets()]).value == expected.value


def test_a_model_that_keeps_a_graph_says_what_to_do() -> None:
    model = Model()
    expected = bnsharp_cli.measure(model, [(X, Y)]).value
    model.last_loss = model(X).sum()
    assert bnsharp_cli.measure(model, [(X, Y)]).value == expected
    model.losses = [model(X).sum()]
    with pytest.raises(UsageError, match="cannot be copied"):
        bnsharp_cli.measure(model, [(X, Y)])


def test_a_measurement_prints_on_a_line_and_as_a_table() -> None:
    result = bnsharp_cli.measure(Model(), [(X, Y)])
    assert isinstance(result, bnsharp_cli.Measurement)
    assert repr(result).startswith(f"Measurement(bn {result.value:.6g}, ± quadrature ")
    assert result.status.value in repr(result)
    assert "tensor" not in repr(result)
    assert f"<tr><th>bn</th><td>{result.value:.6g}</td></tr>" in result._repr_html_()
    assert {"measure", "rescale_test", "Measurement"} <= set(dir(bnsharp_cli))


def test_the_package_shows_what_a_program_needs_and_nothing_else() -> None:
    assert dir(bnsharp_cli) == sorted(bnsharp_cli.__all__) == [
        "Asam", "Blocks", "BnsharpError", "CheckpointRefusedError", "CopyReport", "Cost", "DataRefusedError",
        "EntropySgd", "EntropySgdOptions", "Generalization", "InternalError", "InvarianceReport", "InvarianceRow",
        "InvarianceTable", "MeasureOptions", "Measurement",
        "Measurements",
        "NotMeasurableError", "Sam", "SamOptions", "Search", "Sgds", "SgdsOptions", "SharpnessMonitor",
        "Status", "Uncertainty",
        "UnfitMeasureError", "UsageError", "__version__", "find_blocks", "generalization_gap", "invariance_table",
        "measure", "rescale_test", "token_cross_entropy",
    ]  # fmt: skip
    for name in bnsharp_cli.__all__:
        assert getattr(bnsharp_cli, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'sharpness'"):
        _ = bnsharp_cli.sharpness


def test_type_checkers_see_what_is_imported_on_first_use() -> None:
    tree = ast.parse(Path(bnsharp_cli.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        (node.module, alias.name) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    found = {(f"bnsharp_cli.{module}", name) for module, names in bnsharp_cli._MODULES.items() for name in names}
    assert seen == found
    assert {name for _, name in seen} == {*bnsharp_cli.__all__} - {"__version__"}


def test_the_package_itself_is_light() -> None:
    code = (
        "import bnsharp_cli, sys; bnsharp_cli.MeasureOptions, bnsharp_cli.UsageError, bnsharp_cli.SgdsOptions;"
        "assert 'torch' not in sys.modules; bnsharp_cli.measure; assert 'torch' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Attempting to run cuBLAS, but there was no current CUDA context")
def test_cuda_agrees_with_the_cpu_within_rounding(sample_network: nn.Module, digit_batches: DrawnBatches) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and torch sees none")
    on_cpu = bnsharp_cli.measure(sample_network, digit_batches.batches, precision="float64")
    on_gpu = bnsharp_cli.measure(sample_network, digit_batches.batches, precision="float64", device="cuda")
    assert on_gpu.value == pytest.approx(on_cpu.value, rel=1e-9)
