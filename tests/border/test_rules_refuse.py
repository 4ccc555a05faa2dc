"""What a rule cannot train, drive or go on from: one error of ours that names the argument, and nothing changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import UsageError
from bnsharp_cli.training.registry import EntropySgdOptions, SgdsOptions
from bnsharp_cli.training.rules import TrainingRule
from bnsharp_cli.training.sam import Asam, Sam
from bnsharp_cli.training.sgds import Sgds

torch.manual_seed(0)
X, Y = torch.randn(32, 6), torch.arange(32) % 3
AdamW, SGD = torch.optim.AdamW, torch.optim.SGD


def network(width: int = 8) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 3))


def loss_of(module: nn.Module) -> Callable[[], Tensor]:
    return lambda: functional.cross_entropy(module(X), Y)


def sgds(params: Any, lr: Any = None, coefficient: float = 1.0, **more: Any) -> Sgds:
    options = SgdsOptions(delta=0.1, coefficient=coefficient, regulariser_clip=10.0, search_steps=1)
    return Sgds(params, bnsharp_cli.find_blocks(network(), [(X, Y)]), lr, options=options, **more)


def entropy(params: Any, lr: Any = None, **more: Any) -> bnsharp_cli.EntropySgd:
    return bnsharp_cli.EntropySgd(params, lr, options=EntropySgdOptions(langevin_steps=2), **more)


KINDS: dict[str, Callable[..., TrainingRule]] = {"sam": Sam, "asam": Asam, "sgds": sgds, "entropy": entropy}
weight = nn.Parameter(torch.ones(2))

PARAMS: dict[str, tuple[Callable[[], Any], str]] = {
    "nothing": (lambda: [], "a network with parameters"),
    "an exhausted generator": (lambda: iter(()), "a network with parameters"),
    "a tensor": (lambda: torch.ones(3), "a torch.nn.Module, parameters or groups of them"),
    "a name": (lambda: "model", "a torch.nn.Module, parameters or groups of them"),
    "a set": (lambda: {weight}, "a torch.nn.Module, parameters or groups of them"),
    "one group": (lambda: {"params": [weight]}, "a torch.nn.Module, parameters or groups of them"),
    "numbers": (lambda: [1.0, 2.0], "parameters that torch can train"),
    "no leaf": (lambda: [weight * 2], "parameters that torch can train"),
    "groups and parameters": (lambda: [{"params": [weight]}, weight], "groups alone"),
    "a group without parameters": (lambda: [{"lr": 0.1}], "parameters that torch can train"),
    "groups that overlap": (lambda: [{"params": [weight]}, {"params": [weight]}], "parameters that torch can train"),
    "some names": (lambda: [("weight", weight), nn.Parameter(torch.ones(1))], "parameters that torch can train"),
}


@pytest.mark.parametrize("kind", ["sam", "asam", "entropy"])
@pytest.mark.parametrize("wrong", PARAMS)
def test_what_cannot_be_trained_is_refused(kind: str, wrong: str) -> None:
    made, expected = PARAMS[wrong]
    with pytest.raises(UsageError, match=r"^params: ") as refused:
        KINDS[kind](made(), 0.1)
    assert (refused.value.argument, refused.value.expected) == ("params", expected)


SETTINGS = {
    "lr": [-1.0, float("nan"), "a", None],
    "momentum": [1.0, -0.1, "a"],
    "weight_decay": [-1.0, None],
    "nesterov": [True, "yes"],
    "maximize": [True],
    "clip_gradient": [1.0],
    "scaler": [None],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", [*SETTINGS, "own"])
def test_settings_of_a_group_are_checked_as_those_of_a_rule_are(kind: str, setting: str) -> None:
    """Those that a group cannot have would be left out without a word."""
    name = {"sam": "rho", "asam": "eta", "sgds": "delta", "entropy": "scope"}[kind] if setting == "own" else setting
    for found in SETTINGS.get(setting, [0.1]):
        module = network()
        groups = [{"params": [one]} for one in module.named_parameters()]
        with pytest.raises(UsageError, match=rf"^{name}: expected ") as refused:
            KINDS[kind]([{**groups[0], name: found}, *groups[1:]], 0.1)
        assert refused.value.argument == name
        rule = KINDS[kind](groups[:-1], 0.1)
        with pytest.raises(UsageError, match=rf"^{name}: expected "):
            rule.add_param_group({**groups[-1], name: found})
        assert len(rule.param_groups) == len(groups) - 1


def test_what_is_no_group_is_not_added() -> None:
    rule = Sam(network(), 0.1)
    for wrong in (None, 3, [weight], {"lr": 0.1}, {"params": [*rule.parameters]}, {"params": {weight}}, {"params": 3}):
        with pytest.raises(UsageError, match=r"^param_group: ") as refused:
            rule.add_param_group(wrong)
        assert refused.value.argument == "param_group"
    assert len(rule.param_groups) == 1


BASES: dict[str, Callable[[nn.Module], Any]] = {
    "a class": lambda _: AdamW,
    "a name": lambda _: "adamw",
    "the network": lambda module: module,
    "one that needs a closure": lambda module: torch.optim.LBFGS(module.parameters()),
    "one of sparse gradients": lambda module: torch.optim.SparseAdam(module.parameters()),
    "another rule": lambda module: Sam(module, 0.1),
    "one of another network": lambda _: AdamW(network().parameters()),
    "one that ascends": lambda module: AdamW(module.parameters(), maximize=True),
}


@pytest.mark.parametrize("kind", ["sam", "asam", "sgds"])
@pytest.mark.parametrize("wrong", BASES)
def test_a_base_that_cannot_take_the_steps_is_refused(kind: str, wrong: str) -> None:
    module = network()
    with pytest.raises(UsageError, match=r"^(base|maximize): expected") as refused:
        KINDS[kind](module, base=BASES[wrong](module))
    assert refused.value.argument == ("maximize" if wrong == "one that ascends" else "base")
    if refused.value.argument == "base":
        remedy = refused.value.remedy.removeprefix("For example ").removesuffix(".")
        rule = eval(f"make(model, {remedy})", {"make": KINDS[kind], "model": module, "torch": torch})
        rule.step(loss_of(module))
        assert isinstance(rule._base, AdamW)


def test_settings_beside_a_base_and_other_parameters_are_refused() -> None:
    module = network()
    for name, found in {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True}.items():
        with pytest.raises(UsageError, match=rf"^{name}: expected none beside base") as refused:
            Sam(module, base=AdamW(module.parameters()), **{name: found})
        assert refused.value.argument == name
    for params in (network().parameters(), [*module.parameters()][:2]):
        with pytest.raises(UsageError, match=r"^base: expected an optimiser of the same parameters"):
            Sam(params, base=AdamW(module.parameters()))
    with pytest.raises(UsageError, match=r"^base: expected no argument of EntropySgd"):
        entropy(module, 0.1, base=AdamW(module.parameters()))
    assert Sam(module.parameters(), base=AdamW(module.parameters())).steps == 0
    assert len(Sam(module, base=AdamW(module[3].parameters())).trained) == 2


def test_the_class_of_an_optimiser_where_a_step_size_belongs_is_refused() -> None:
    """As the widespread SAM takes it: ``SAM(model.parameters(), torch.optim.SGD, lr=0.1)``."""
    with pytest.raises(UsageError, match=r"^lr: expected a number from 0 on"):
        Sam(network().parameters(), SGD)
    with pytest.raises(UsageError, match=r"^base_optimizer: expected no argument of Sam"):
        Sam(network().parameters(), base_optimizer=SGD, lr=0.1)


def trained(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Any]:
    for _ in range(2):
        optimizer.zero_grad()
        loss_of(module)().backward()
        optimizer.step()
    return copy.deepcopy(optimizer.state_dict())


STATES: dict[str, Callable[[], dict[str, Any]]] = {
    "of AdamW": lambda: (lambda m: trained(AdamW(m.parameters()), m))(network()),
    "of RMSprop": lambda: (lambda m: trained(torch.optim.RMSprop(m.parameters(), momentum=0.9), m))(network()),
    "of a wider network": lambda: (lambda m: trained(SGD(m.parameters(), 0.1, 0.9), m))(network(9)),
    "of fewer parameters": lambda: (lambda m: trained(SGD(m[3].parameters(), 0.1, 0.9), m))(network()),
    "that ascends": lambda: (lambda m: trained(SGD(m.parameters(), 0.1, 0.9, maximize=True), m))(network()),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", STATES)
def test_the_state_of_another_optimiser_or_network_is_refused_and_changes_nothing(kind: str, of: str) -> None:
    module = network()
    rule = KINDS[kind](module, 0.1, momentum=0.9)
    rule.step(*[loss_of(module)] * rule.batches_per_step)
    before = copy.deepcopy(rule.state_dict())
    with pytest.raises(UsageError) as refused:
        rule.load_state_dict(STATES[of]())
    assert refused.value.argument == ("maximize" if of == "that ascends" else "state_dict")
    torch.testing.assert_close(rule.state_dict(), before, rtol=0, atol=0)


def test_the_state_of_sgd_is_refused_where_the_base_is_another() -> None:
    module = network()
    state = trained(SGD(module.parameters(), 0.1, 0.9), module)
    with pytest.raises(UsageError, match=r"^state_dict: it does not belong to this Sam: KeyError: 'betas'"):
        Sam(module, base=AdamW(module.parameters())).load_state_dict(state)


@pytest.mark.parametrize("params", ["parameters", "renamed", "of a wrapper"])
def test_blocks_go_by_names(params: str) -> None:
    module = network()
    given = {
        "parameters": module.parameters(),
        "renamed": [(f"net.{name}", one) for name, one in module.named_parameters()],
        "of a wrapper": nn.Sequential(module).named_parameters(),
    }[params]
    with pytest.raises(UsageError, match=r"^blocks: nothing is known of ") as refused:
        sgds(given, 0.1)
    assert refused.value.argument == "blocks"
    rule = sgds(module, 0.1)
    rule.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    with pytest.raises(UsageError, match=r"^blocks: nothing is known of param_groups\.1\.0"):
        rule.step(loss_of(module))


def test_names_are_enough_for_blocks() -> None:
    """Groups of named parameters in another order take the same steps as the network."""
    ends = []
    for named in (False, True):
        module = network()
        every = [*module.named_parameters()]
        params = [{"params": every[3:]}, {"params": every[:3]}] if named else module
        rule = sgds(params, 0.1, momentum=0.9)
        for _ in range(3):
            rule.step(loss_of(module))
        ends.append([*module.state_dict().values()])
    for mine, theirs in zip(*ends, strict=True):
        torch.testing.assert_close(mine, theirs)
