"""A state is taken over only if every field of it is what this rule with these options would hold at that step."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from bnsharp_cli.api import find_blocks
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.training.examples import ExamplesInMemory
from bnsharp_cli.training.loop import Training
from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.training.registry import TRAINING_RULES, EntropySgdOptions, SgdsOptions
from bnsharp_cli.training.saved_state import UnfitStateError
from tests.cases import as_bytes, mlp_bn, vectors

EXAMPLES = ExamplesInMemory(*vectors(96)[0])
OWN = {"entropy-sgd": EntropySgdOptions(langevin_steps=2), "sgds": SgdsOptions(search_steps=1)}
Change = Callable[[dict[str, Any]], object]


def training(rule: str = "sgd", network: Callable[[], nn.Module] = mlp_bn, **more: Any) -> Training:
    """A run of four epochs of three steps, with nothing done."""
    torch.manual_seed(0)
    module = network()
    blocks = functools.partial(find_blocks, module, [vectors(24)[0]])
    options = TrainingOptions(rule=rule, epochs=4, batch_size=32, rule_options=OWN.get(rule), **more)
    return Training(module, EXAMPLES, options, blocks=blocks)


@functools.cache
def _state_after(epochs: int, rule: str, momentum: float) -> dict[str, Any]:
    run = training(rule, momentum=momentum)
    for _ in range(epochs):
        run.run_epoch()
    return run.state_dict()


def refused(run: Training, state: dict[str, Any], says: str) -> None:
    """Refused, and nothing of the run is changed."""
    before = copy.deepcopy(run.state_dict())
    with pytest.raises(UnfitStateError) as refusal:
        run.load_state_dict(state)
    assert says in str(refusal.value)
    assert as_bytes(run.state_dict()) == as_bytes(before)


def kept(state: dict[str, Any]) -> dict[Any, Any]:
    entries: dict[Any, Any] = state["rule"]["state"]
    return entries


def group(state: dict[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = state["rule"]["param_groups"][0]
    return settings


def scaled_momentum(state: dict[str, Any]) -> None:
    for entries in kept(state).values():
        entries["momentum_buffer"] = entries["momentum_buffer"].to(torch.float64)


WITH_MOMENTUM: dict[str, tuple[Change, str]] = {
    "no momentum": (lambda state: kept(state).clear(), "momentum_buffer of parameter 0 is missing"),
    "half the momentum": (lambda state: [kept(state).pop(n) for n in range(4)], "of parameter 0 is missing"),
    "the last momentum": (lambda state: kept(state).pop(7), "momentum_buffer of parameter 7 is missing"),
    "an empty entry": (lambda state: kept(state).update({3: {}}), "momentum_buffer of parameter 3 is missing"),
    "None": (lambda state: kept(state)[3].update(momentum_buffer=None), "parameter 3: expected a tensor, found None"),
    "of another type": (scaled_momentum, "is of another type of numbers"),
    "one too many": (lambda state: kept(state).update({8: kept(state)[7]}), "not of the parameters of this network"),
    "a number that is True": (
        lambda state: state["rule"].update(state={True: kept(state)[1]}),
        "not of the parameters of this network",
    ),
}
ALWAYS: dict[str, tuple[Change, str]] = {
    "a gradient more": (lambda state: state.update(gradients=state["gradients"] + 1), "gradients: expected "),
    "a gradient less": (lambda state: state.update(gradients=state["gradients"] - 1), "gradients: expected "),
    "no gradients": (lambda state: state.update(gradients=0), "gradients: expected "),
    "an epoch more": (lambda state: state.update(epoch=3), ": expected "),
    "the order of another seed": (
        lambda state: state.update(order=torch.Generator().manual_seed(1).get_state()),
        "order is not that of the examples after so many epochs",
    ),
    "the first order": (
        lambda state: state.update(order=torch.Generator().manual_seed(0).get_state()),
        "order is not that of the examples after so many epochs",
    ),
    "another learning rate": (lambda state: group(state).update(lr=0.2), "lr: expected 0.1, found 0.2"),
    "True as learning rate": (lambda state: group(state).update(lr=True), "lr: expected 0.1, found True"),
    "no learning rate": (lambda state: group(state).pop("lr"), "lr is missing"),
    "tensors as numbers": (lambda state: group(state).update(params=[torch.zeros(2)] * 8), "params: expected [0, 1"),
    "an order of parameters": (lambda state: group(state)["params"].reverse(), "params: expected [0, 1"),
    "nesterov as a number": (lambda state: group(state).update(nesterov=0), "nesterov: expected False, found 0"),
    "more of the rule": (lambda state: state["rule"].update(more=1), "rule: more is nothing that such a run writes"),
    "batches before the first": (
        lambda state: state["state_dict"]["1.num_batches_tracked"].fill_(-1),
        "1.num_batches_tracked: expected a whole number from 0 to ",
    ),
    "a precision": (lambda state: state.update(precision={"scale": 2.0}), "precision: scale is nothing that such"),
}


@pytest.mark.parametrize("change", [*WITH_MOMENTUM, *ALWAYS])
@pytest.mark.parametrize("rule", TRAINING_RULES)
def test_a_state_with_one_field_changed_is_refused(rule: str, change: str) -> None:
    state = copy.deepcopy(_state_after(2, rule, 0.9))
    spoil, says = {**WITH_MOMENTUM, **ALWAYS}[change]
    spoil(state)
    refused(training(rule), state, says)


@pytest.mark.parametrize("rule", TRAINING_RULES)
def test_without_momentum_there_is_none(rule: str) -> None:
    state = copy.deepcopy(_state_after(2, rule, 0.0))
    assert not kept(state)
    run = training(rule, momentum=0.0)
    refused(run, {**state, "rule": _state_after(2, rule, 0.9)["rule"]}, "momentum: expected 0.0, found 0.9")
    kept(state)[0] = {}
    refused(run, state, "not of the parameters of this network")


def test_before_the_first_step_there_is_none() -> None:
    state = training().state_dict()
    training().load_state_dict(copy.deepcopy(state))
    kept(state).update(copy.deepcopy(kept(_state_after(2, "sgd", 0.9))))
    refused(training(), state, "not of the parameters of this network")


@pytest.mark.parametrize("schedule", [{"milestones": (1,)}, {"schedule": "cosine"}], ids=["step", "cosine"])
def test_the_learning_rate_is_that_of_the_last_epoch(schedule: dict[str, Any]) -> None:
    run = training(**schedule)
    for _ in range(2):
        run.run_epoch()
    state = run.state_dict()
    expected = 0.1 * (0.1 if "milestones" in schedule else (1 + math.cos(math.pi / 4)) / 2)
    assert group(state)["lr"] == pytest.approx(expected)
    training(**schedule).load_state_dict(copy.deepcopy(state))
    group(state)["lr"] = run.learning_rate if "schedule" in schedule else 0.1
    refused(training(**schedule), state, "lr: expected ")


class PartlyTrained(nn.Module):
    """One layer is frozen, and another one no loss depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.unused = mlp_bn(), nn.Linear(2, 2)
        self.net[0].weight.requires_grad_(False)

    def forward(self, inputs: torch.Tensor) -> Any:
        return self.net(inputs)


def test_parameters_without_a_gradient_have_no_momentum() -> None:
    whole, other = training(network=PartlyTrained), training(network=PartlyTrained)
    for _ in range(2):
        whole.run_epoch()
    state = whole.state_dict()
    names = [name for name, _ in whole.module.named_parameters()]
    assert {names[number] for number in kept(state)} == {*names} - {"net.0.weight", "unused.weight", "unused.bias"}
    other.load_state_dict(copy.deepcopy(state))
    for run in (whole, other):
        run.run_epoch()
    assert as_bytes(other.state_dict()) == as_bytes(whole.state_dict())
    frozen = names.index("net.0.weight")
    kept(state)[frozen] = {"momentum_buffer": torch.zeros_like(whole.module.net[0].weight)}
    refused(training(network=PartlyTrained), state, "not of the parameters of this network")


def test_a_regulariser_without_weight_costs_one_gradient_a_step() -> None:
    own = SgdsOptions(coefficient=0.0, growth=1e200)
    options = TrainingOptions(rule="sgds", epochs=4, batch_size=32, rule_options=own)
    blocks = functools.partial(find_blocks, mlp_bn(), [vectors(24)[0]])
    runs = [Training(mlp_bn(), EXAMPLES, options, blocks=blocks) for _ in range(2)]
    for _ in range(3):
        runs[0].run_epoch()
    assert runs[0].gradients == 9
    runs[1].load_state_dict(runs[0].state_dict())
    assert runs[1].gradients == 9


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale", 3.0),
        ("scale", 2.0**17),
        ("scale", 0.0),
        ("scale", math.inf),
        ("scale", math.nan),
        ("scale", 65536),
        ("scale", torch.tensor(65536.0)),
        ("_growth_tracker", -1),
        ("_growth_tracker", 7),
        ("_growth_tracker", True),
        ("growth_factor", 4.0),
        ("growth_interval", True),
    ],
)
def test_the_scale_of_losses_is_one_that_such_a_run_reaches(name: str, value: object) -> None:
    run = training(amp="fp16")
    for _ in range(2):
        run.run_epoch()
    assert run.gradients == 6
    state = run.state_dict()
    training(amp="fp16").load_state_dict(copy.deepcopy(state))
    state["precision"][name] = value
    refused(training(amp="fp16"), state, f"{name}: expected ")


DIVERGING: dict[str, dict[str, Any]] = {
    "learning rate": {"learning_rate": 1e308},
    "weight decay": {"weight_decay": 1e308},
    "radius": {"rule": "sam", "rho": 1e308},
    "power": {"rule": "sgds", "power": 800, "learning_rate": 50},
    "growth": {"rule": "sgds", "growth": 1e200},
    "scope": {"rule": "entropy-sgd", "scoping": 1e200, "langevin_steps": 2},
}


@pytest.mark.parametrize("name", DIVERGING)
def test_numbers_beyond_every_range_are_divergence(name: str) -> None:
    options = TrainingOptions.from_flat(**DIVERGING[name], epochs=4, batch_size=32)
    torch.manual_seed(0)
    module = mlp_bn()
    run = Training(module, EXAMPLES, options, blocks=functools.partial(find_blocks, module, [vectors(24)[0]]))
    with pytest.raises(NotMeasurableError, match=r"Lower learning_rate"):
        [run.run_epoch() for _ in range(4)]
