"""Three lines in a notebook."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import bnsharp_cli
from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.data.batches import DrawnBatches
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


class Outputs(OrderedDict[str, torch.Tensor]):
    """Like a Hugging Face model's: entries that are attributes too."""

    def __getattr__(self, name: str) -> torch.Tensor:
        return self[name]


@dataclass(frozen=True)
class Record:
    """Outputs as a plain record."""

    logits: torch.Tensor
    note: str = "fine"


class Model(nn.Module):
    """One network with several ways to be called and to answer."""

    def __init__(self, answer: Callable[[torch.Tensor], Any] = lambda y: y) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.norm, self.last = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)
        self.dropout = nn.Dropout()
        self.answer = answer

    def forward(self, x: torch.Tensor | None = None, mask: torch.Tensor | None = None, values: Any = None) -> Any:
        x = values if x is None else x
        x = x if mask is None else x * mask
        return self.answer(self.last(self.dropout(torch.relu(self.norm(self.hidden(x))))))


ANSWERS: dict[str, Callable[[torch.Tensor], Any]] = {
    "tensor": lambda y: y,
    "logits": lambda y: Outputs(hidden=y.exp(), logits=y),
    "out": lambda y: {"aux": 2 * y, "out": y},
    "record": Record,
    "tuple": lambda y: (y, y.exp()),
}


def inputs_and_targets() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(48, 4, generator=generator), torch.randint(3, (48,), generator=generator)


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
    assert bnsharp_cli.measure(Model(ANSWERS[answer]), BATCHES[form](x, y)).value == expected.value


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


X, Y = inputs_and_targets()


@pytest.mark.parametrize(
    ("model", "batches", "says"),
    [
        (Model(), (X, Y), r"expected \(inputs, targets\) in each batch, found a Tensor"),
        (Model(), X, "expected a list or a loader, found a Tensor"),
        (Model(), {"values": X, "labels": Y}, "expected a list or a loader, found a dict"),
        (Model(), 3, "expected a list or a loader, found a int"),
        (Model(), [(X, Y, Y)], r"expected \(inputs, targets\) in each batch, found 3 entries"),
        (Model(), [{"values": X}], r"no targets in \{values\}, expected one of labels"),
        (Model(), [("text", Y)], "no tensor in a str"),
        (Model(), [(X.sum(), Y)], "found a single number"),
        (nn.ReLU(), [(X, Y)], "ReLU has no parameters"),
        (Model().to("meta"), [(X, Y)], "Model has parameters without values"),
        ("model", [(X, Y)], "expected a torch.nn.Module, found a str"),
        (Model(lambda y: {"a": y, "b": y}), [(X, Y)], "a dict of a, b, which has no logits and no out"),
    ],
)
def test_what_cannot_be_measured_is_said_in_a_line(model: Any, batches: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        bnsharp_cli.measure(model, batches)


def test_criteria_that_are_no_loss() -> None:
    for criterion, says in (
        (None, "expected a function"),
        (nn.CrossEntropyLoss(reduction="none"), r"returned a tensor of shape \(48,\)"),
        (lambda o, t: o.detach().sum().item(), "returned a float"),
        (lambda o, t: (o.argmax(1) == t).double().mean(), "not differentiable"),
        (lambda o, t: o.square().mean() * torch.rand(()), "two losses for the same outputs"),
    ):
        with pytest.raises(UsageError, match=says):
            bnsharp_cli.measure(Model(), [(X, Y)], criterion)


def test_a_model_that_keeps_a_graph_says_what_to_do() -> None:
    model = Model()
    expected = bnsharp_cli.measure(model, [(X, Y)]).value
    model.last_loss = model(X).sum()
    assert bnsharp_cli.measure(model, [(X, Y)]).value == expected
    model.losses = [model(X).sum()]
    with pytest.raises(UsageError, match="cannot be copied"):
        bnsharp_cli.measure(model, [(X, Y)])


def test_unknown_options_are_named() -> None:
    with pytest.raises(UsageError, match="There is no option delt"):
        bnsharp_cli.measure(Model(), [(X, Y)], delt=1e-3)


def test_a_measurement_prints_on_a_line_and_as_a_table() -> None:
    result = bnsharp_cli.measure(Model(), [(X, Y)])
    assert isinstance(result, bnsharp_cli.Measurement)
    assert repr(result).startswith(f"Measurement(bn {result.value:.6g}, ± quadrature ")
    assert result.status.value in repr(result)
    assert "tensor" not in repr(result)
    assert f"<tr><th>bn</th><td>{result.value:.6g}</td></tr>" in result._repr_html_()
    assert {"measure", "rescale_test", "Measurement"} <= set(dir(bnsharp_cli))


def test_the_package_itself_is_light() -> None:
    code = (
        "import bnsharp_cli, sys; assert 'torch' not in sys.modules; bnsharp_cli.measure; assert 'torch' in sys.modules"
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
