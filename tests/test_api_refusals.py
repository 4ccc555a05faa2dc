"""What the Python interface says of arguments that have no meaning."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError, UsageError
from tests.api_cases import Model, X, Y


@pytest.mark.parametrize(
    ("model", "batches", "says"),
    [
        (Model(), (X, Y), r"expected \(inputs, targets\) in each batch, found a Tensor"),
        (Model(), X, "expected a list or a loader, found a Tensor"),
        (Model(), {"values": X, "labels": Y}, "expected a list or a loader, found a dict"),
        (Model(), 3, "expected a list or a loader, found an int"),
        (Model(), [(X, Y, Y)], r"expected \(inputs, targets\) in each batch, found 3 entries"),
        (Model(), [{"values": X}], r"no targets in \{values\}, expected one of labels"),
        (Model(), [("text", Y)], "no tensor in a str"),
        (Model(), [(X.sum(), Y)], "found a single number"),
        (nn.ReLU(), [(X, Y)], "ReLU has no parameters"),
        (Model().to("meta"), [(X, Y)], "Model has parameters without values"),
        ("model", [(X, Y)], "expected a torch.nn.Module, found a str"),
        (Model(lambda y: {"a": y, "b": y}), [(X, Y)], r"no logits and no out: a \(48, 3\), b \(48, 3\)"),
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


def refusal(call: Callable[..., object], **arguments: Any) -> UsageError:
    with pytest.raises(UsageError) as refused:
        call(**{"model": Model(), "batches": [(X, Y)], **arguments})
    return refused.value


@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("model", (None, 3, [Model()], Model)),
        ("batches", (None, 3, "ab", [3], [(X,)], [(1, 2)], [(X[:0], Y[:0])])),
        ("batches", ([(np.array(["a", "b"]), Y)], [(np.array([None, 1], dtype=object), Y)])),
        ("criterion", (5, None, "cross_entropy")),
        ("name", (7, None, [], ("bn",))),
        ("bn", (3, None, [], True)),
        ("device", ("cud", 3, [], object(), "meta", "mps", torch.device("meta"), "cuda:99")),
        ("delta", ("x", None, [], -1, math.nan, 1j, torch.tensor(0.1), 2.0)),
        ("power", ("inf", None, 0, math.nan)),
        ("search", (3, None, [], "newton")),
        ("iterations", ("1", 1.5, -1, True)),
        ("restarts", ("1", 1.5, None)),
        ("search_nodes", (2.5, 3, None)),
        ("rtol", ("x", 1, None)),
        ("partition", (3, None, "x")),
        ("precision", (torch.float64, "float16", None)),
        ("uncertainty", (True, None)),
        ("seed", ("a", 1.5, None, 2**70)),
        ("step_size", ("x", None)),
        ("ball_samples", (2.5, None, 1)),
    ],
)
def test_an_argument_of_another_kind_is_refused_by_name(argument: str, wrong: tuple[Any, ...]) -> None:
    for value in wrong:
        error = refusal(bnsharp_cli.measure, **{argument: value})
        assert str(error).startswith(f"{argument}: "), value


@pytest.mark.parametrize("tolerance", ["a", 0, -1, [], math.nan, True])
def test_a_tolerance_is_a_positive_number(tolerance: Any) -> None:
    error = refusal(bnsharp_cli.rescale_test, tolerance=tolerance)
    assert (error.argument, error.expected) == ("tolerance", "a positive number")


@pytest.mark.parametrize("function", ["measure", "rescale_test", "find_blocks"])
def test_every_function_refuses_what_is_no_network_and_no_batches(function: str) -> None:
    call = getattr(bnsharp_cli, function)
    assert refusal(call, model=None).argument == "model"
    assert refusal(call, batches=3).argument == "batches"
    assert refusal(call, criterion=5).argument == "criterion"
    assert refusal(call, partition="x").argument == "partition"


def test_the_epsilon_of_the_invariance_test_is_a_word_of_the_command() -> None:
    assert refusal(bnsharp_cli.rescale_test, epsilon="x").argument == "epsilon"


def test_the_invariance_test_is_of_the_papers_partition() -> None:
    error = refusal(bnsharp_cli.rescale_test, partition="extended")
    assert error.reason == "partition: expected paper, found 'extended'."


def test_delta_lp_does_not_exist_for_an_infinite_power() -> None:
    error = refusal(bnsharp_cli.measure, name="delta-lp", power=math.inf)
    assert (error.argument, error.found) == ("power", math.inf)


def test_precisions_of_inputs_and_weights_that_do_not_fit_are_said_in_a_line() -> None:
    with pytest.raises(NotMeasurableError, match="does not accept a batch"):
        bnsharp_cli.measure(Model(), [(X.long(), Y)])
    with pytest.raises(NotMeasurableError, match="does not accept targets"):
        bnsharp_cli.measure(Model(), [(X, Y.float())])


def test_unknown_options_are_named() -> None:
    with pytest.raises(UsageError, match="There is no option delt"):
        bnsharp_cli.measure(Model(), [(X, Y)], delt=1e-3)


class Unprintable:
    """A value that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


class Parameterless(Model):
    """A network that does not tell its parameters."""

    def parameters(self, recurse: bool = True) -> Any:
        raise KeyError("not told")


def test_a_value_that_cannot_be_shown_is_named_by_its_type() -> None:
    error = refusal(bnsharp_cli.measure, bn=Unprintable())
    assert error.reason == "bn: expected batch or running, found an Unprintable that cannot be shown."


def test_networks_whose_parameters_cannot_be_read_are_refused() -> None:
    assert refusal(bnsharp_cli.measure, model=Parameterless()).reason == (
        "model: its parameters cannot be listed: KeyError: 'not told'"
    )
    with warnings.catch_warnings(action="ignore"):  # torch.jit is deprecated
        network = torch.jit.script(nn.Linear(4, 3))
    scripted = refusal(bnsharp_cli.measure, model=network)
    assert scripted.reason == "model: expected a network of Python code, found a RecursiveScriptModule."
    assert "without values" in refusal(bnsharp_cli.measure, model=nn.LazyLinear(3)).reason


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        (X.to_sparse, "a sparse tensor"),
        (lambda: X.to("meta"), "a meta tensor"),
        (lambda: {"values": X.to_sparse_csr()}, "a sparse tensor"),
        (lambda: torch.nested.nested_tensor([X[:3], X[3:]]), "a nested tensor"),
        (lambda: torch.quantize_per_tensor(X, 0.1, 0, torch.qint8), "a quantized tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_no_array_are_refused(inputs: Callable[[], Any], found: str) -> None:
    for function in ("measure", "rescale_test", "find_blocks"):
        error = refusal(getattr(bnsharp_cli, function), batches=[(inputs(), Y)])
        assert error.reason == f"batches: expected dense tensors that hold values, found {found}."


def test_find_blocks_refuses_unknown_arguments_as_measure_does() -> None:
    assert refusal(bnsharp_cli.find_blocks, delta=1).argument == "delta"


@pytest.mark.parametrize("failure", [MemoryError(), torch.OutOfMemoryError("no memory")])
def test_memory_that_ran_out_is_told_as_the_command_does(failure: Exception) -> None:
    def criterion(outputs: Any, targets: Any) -> Any:
        raise failure

    with pytest.raises(NotMeasurableError) as refused:
        bnsharp_cli.measure(Model(), [(X, Y)], criterion)
    assert refused.value.__cause__ is not None
    assert "memory" in refused.value.reason
