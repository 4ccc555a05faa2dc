"""What chooses parameters and what does not, what is said of those that are frozen, and that nothing else changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError, UsageError
from tests.border.networks import Net, batches, probe


def test_copies_need_invariant_rows_among_the_chosen_ones() -> None:
    with pytest.raises(NotMeasurableError, match=r"^No weights are scale-invariant in trainable alone") as refused:
        bnsharp_cli.rescale_test(probe(), batches(), parameters="trainable")
    assert refused.value.argument == "parameters"
    assert bnsharp_cli.rescale_test(probe(), batches(), parameters="all", ball_samples=2).invariant


def test_frozen_weights_are_said_and_measured_unless_they_are_left_out() -> None:
    frozen = bnsharp_cli.measure(probe(), batches())
    assert frozen.value == bnsharp_cli.measure(Net(), batches()).value
    said = "208 of 276 parameters are frozen (requires_grad=False)"
    assert frozen.notes == (f"{said} and were varied like the others",)
    assert bnsharp_cli.measure(Net(), batches()).notes == ()
    unvaried, note = bnsharp_cli.measure(probe(), batches(), parameters="trainable").notes
    assert unvaried.startswith("none of the measured weights is scale-invariant")
    assert note == f"measured over 68 of 276 parameters (trainable), the others are constants; {said}"
    assert bnsharp_cli.find_blocks(probe(), batches()).notes == frozen.notes
    assert bnsharp_cli.rescale_test(probe(), batches(), ball_samples=2).notes == frozen.notes


@pytest.mark.parametrize(
    ("asked", "remedy"),
    [
        ("haed.*", "For example head.bias or head.weight."),
        ("body", "For example body.*."),
        ("module.head.weight", "For example head.weight or "),
        ("HEAD.*", "For example body.0.weight"),
        ("[", "For example "),
        (["head.*", "boby.0.*"], "For example body.0.bias"),
    ],
)
def test_a_glob_that_matches_nothing_is_refused_with_the_nearest_names(asked: str | list[str], remedy: str) -> None:
    with pytest.raises(UsageError, match=r"^parameters: expected all, trainable or a glob") as refused:
        bnsharp_cli.measure(probe(), batches(), parameters=asked)
    assert refused.value.remedy.startswith(remedy)
    first = refused.value.remedy.removeprefix("For example ").removesuffix(".").split(" or ")[0]
    assert bnsharp_cli.find_blocks(probe(), batches(), parameters=first).tensors


@pytest.mark.parametrize("asked", ["", [], (), [""], 1, None, {"head.*"}, [None], b"head.*"])
def test_what_chooses_no_parameters_is_refused(asked: object) -> None:
    for entry in (bnsharp_cli.measure, bnsharp_cli.rescale_test, bnsharp_cli.find_blocks):
        with pytest.raises(UsageError, match=r"^parameters: expected all, trainable or globs of names, found"):
            entry(Net(), batches(), parameters=asked)


def test_trainable_parameters_of_a_network_that_is_all_frozen() -> None:
    model = Net().requires_grad_(False)
    with pytest.raises(UsageError, match="found 'trainable, where all of them are frozen'") as refused:
        bnsharp_cli.measure(model, batches(), parameters="trainable")
    assert refused.value.remedy == "Choose parameters all, or some by their names."
    assert bnsharp_cli.measure(model, batches(), parameters="all").value > 0


@pytest.mark.parametrize("build", [probe, Net])
def test_nothing_of_the_users_changes(build: Callable[[], nn.Module]) -> None:
    model = build()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    needs = [weight.requires_grad for weight in model.parameters()]
    bnsharp_cli.measure(model, batches(), parameters="head.*", measure="all")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [weight.requires_grad for weight in model.parameters()] == needs
    assert all(weight.grad is None for weight in model.parameters())
