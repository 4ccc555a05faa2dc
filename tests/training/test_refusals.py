"""What the exported rules answer to bad arguments: one error of ours, which names the argument."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import bnsharp_cli
from bnsharp_cli.errors import UsageError
from bnsharp_cli.training.rules import Sgd, TrainingRule
from tests.cases import mlp_bn, vectors

BATCHES = vectors(48)
RULES = [bnsharp_cli.Asam, bnsharp_cli.EntropySgd, bnsharp_cli.Sam, bnsharp_cli.Sgds]
OWN: dict[type[TrainingRule], dict[str, Any]] = {
    bnsharp_cli.Asam: {"rho": -1, "eta": -1},
    bnsharp_cli.EntropySgd: {"options": bnsharp_cli.SamOptions()},
    bnsharp_cli.Sam: {"rho": "a"},
    bnsharp_cli.Sgds: {"options": 3, "blocks": nn.Linear(2, 2)},
}


def made(kind: type[TrainingRule], **given: Any) -> TrainingRule:
    module = mlp_bn().train()
    blocks = {"blocks": bnsharp_cli.find_blocks(module, BATCHES)} if kind is bnsharp_cli.Sgds else {}
    return kind(**{"params": module, "lr": 0.1, **blocks, **given})


@pytest.mark.parametrize(
    ("record", "argument", "found", "reason"),
    [
        (bnsharp_cli.SgdsOptions, "nodes", 1, "nodes: expected at least 2, found 1."),
        (bnsharp_cli.SgdsOptions, "nodes", 2.5, "nodes: expected a whole number, found 2.5."),
        (bnsharp_cli.SgdsOptions, "nodes", "8", "nodes: expected a whole number, found a str."),
        (bnsharp_cli.SgdsOptions, "power", 2.5, "power: expected a whole number, found 2.5."),
        (bnsharp_cli.EntropySgdOptions, "langevin_seed", "a", "langevin_seed: expected a whole number, found a str."),
        (bnsharp_cli.EntropySgdOptions, "langevin_noise", None, "expected a number from 0 on, found None."),
    ],
)
def test_bad_options_of_a_rule_are_refused_by_name(record: Any, argument: str, found: object, reason: str) -> None:
    with pytest.raises(UsageError) as refused:
        record(**{argument: found})
    assert refused.value.argument == argument
    assert refused.value.reason.endswith(reason)


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize(
    ("argument", "found", "expected"),
    [
        ("params", None, "a torch.nn.Module"),
        ("params", nn.Tanh(), "a network with parameters"),
        ("lr", "a", "a number from 0 on"),
        ("lr", None, "a number from 0 on"),
        ("lr", True, "a number from 0 on"),
        ("lr", torch.ones(2), "a number from 0 on"),
        ("momentum", 2, "a number in [0, 1)"),
        ("momentum", 1, "a number in [0, 1)"),
        ("momentum", -0.1, "a number in [0, 1)"),
        ("momentum", [0.9], "a number in [0, 1)"),
        ("weight_decay", -1e-4, "a number from 0 on"),
        ("weight_decay", "a", "a number from 0 on"),
        ("clip_gradient", 0, "a positive number"),
        ("clip_gradient", "a", "a positive number"),
        ("nesterov", "yes", "True or False"),
        ("nesterov", torch.ones(2), "True or False"),
        ("foo", 3, "no argument of"),
    ],
)
def test_bad_arguments_are_refused_by_name(
    kind: type[TrainingRule], argument: str, found: object, expected: str
) -> None:
    with pytest.raises(UsageError) as refused:
        made(kind, **{argument: found})
    assert refused.value.argument == argument
    assert refused.value.expected.startswith(expected)
    assert refused.value.reason.startswith(f"{argument}: expected {expected}")


@pytest.mark.parametrize(("kind", "argument"), [(kind, argument) for kind in OWN for argument in OWN[kind]])
def test_bad_arguments_of_single_rules_are_refused_by_name(kind: type[TrainingRule], argument: str) -> None:
    with pytest.raises(UsageError, match=f"^{argument}: expected") as refused:
        made(kind, **{argument: OWN[kind][argument]})
    assert refused.value.argument == argument


@pytest.mark.parametrize("kind", RULES)
def test_a_step_needs_functions(kind: type[TrainingRule]) -> None:
    rule = made(kind)
    for closures in ((3,), (None,), (), ("a", lambda: rule)):
        with pytest.raises(UsageError, match=r"^closure: expected a function that returns a scalar loss") as refused:
            rule.step(*closures)
        assert refused.value.argument == "closure"


@pytest.mark.parametrize("kind", RULES)
def test_missing_arguments_are_refused_by_name(kind: type[TrainingRule]) -> None:
    module = mlp_bn()
    missing = {"lr": 0.1} if kind is bnsharp_cli.Sgds else {}
    with pytest.raises(UsageError, match=r"^(blocks|lr): expected") as refused:
        kind(module, **missing)
    assert refused.value.argument == ("blocks" if kind is bnsharp_cli.Sgds else "lr")


@pytest.mark.parametrize("kind", RULES)
def test_what_torch_takes_as_a_step_size_is_taken(kind: type[TrainingRule]) -> None:
    assert made(kind, lr=0).param_groups[0]["lr"] == 0
    assert float(made(kind, lr=torch.tensor(0.5)).param_groups[0]["lr"]) == 0.5


def test_the_radii_are_the_authors() -> None:
    assert (made(bnsharp_cli.Sam).rho, made(bnsharp_cli.Asam).rho, made(bnsharp_cli.Asam, rho=0.1).rho) == (
        0.05,
        0.5,
        0.1,
    )


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"lr": -1.0}, "lr: expected a number from 0 on, found -1"),
        ({"lr": float("nan")}, "lr: expected a number from 0 on, found nan"),
        ({"momentum": -0.5}, r"momentum: expected a number in \[0, 1\), found -0.5"),
        ({"weight_decay": -1e-4}, "weight_decay: expected a number from 0 on, found -0.0001"),
        ({"nesterov": True}, "nesterov: expected a momentum above 0, found True"),
        ({"params": nn.Tanh()}, "params: expected a network with parameters, found 'Tanh'"),
    ],
)
def test_arguments_out_of_range_are_refused_before_torch_sees_them(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Sgd(**{"params": mlp_bn(), "lr": 0.1, **wrong})
    with pytest.raises(UsageError, match="rho: expected a number from 0 on, found -1"):
        bnsharp_cli.Sam(mlp_bn(), 0.1, rho=-1)


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize(
    "state",
    [
        {"x": 1},
        None,
        3,
        {"state": {}, "param_groups": []},
        {"state": {}, "param_groups": [{"params": []}]},
        {"state": {}, "param_groups": 3},
        {"state": {}, "param_groups": [3]},
    ],
)
def test_a_state_of_something_else_is_refused(kind: type[TrainingRule], state: Any) -> None:
    with pytest.raises(UsageError, match=r"^state_dict: it does not belong to this") as refused:
        made(kind).load_state_dict(state)
    assert refused.value.argument == "state_dict"


def test_a_state_with_a_word_for_a_number_is_refused() -> None:
    state = made(bnsharp_cli.Sam).state_dict()
    state["param_groups"][0]["steps"] = "a"
    with pytest.raises(UsageError, match="steps is no number"):
        made(bnsharp_cli.Sam).load_state_dict(state)
