"""The options are declared once, import nothing heavy, and are recorded under the names that files have had always."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch

from bnsharp_cli.errors import UsageError
from bnsharp_cli.option_records import declared_fields
from bnsharp_cli.training.examples import ExamplesInMemory
from bnsharp_cli.training.loop import Training
from bnsharp_cli.training.mixed_precision import AMP_DTYPES
from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.training.registry import TRAINING_RULES, EntropySgdOptions, SamOptions, SgdsOptions
from bnsharp_cli.training.rules import TrainingRule
from bnsharp_cli.training.schedules import SCHEDULES
from tests.cases import mlp_bn, vectors

COMMON = {
    "epochs": 20,
    "batch_size": 128,
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "nesterov": False,
    "schedule": "step",
    "milestones": [],
    "decay": 0.1,
    "clip_gradient": None,
    "augment": [],
    "amp": None,
    "seed": 0,
}
OWN = {
    "sgd": {},
    "sgds": {
        "delta": 0.001,
        "power": 2,
        "coefficient": 0.0001,
        "growth": 1.02,
        "search_steps": 0,
        "clip": 0.1,
        "form": "corrected",
        "batches": "same",
        "nodes": 8,
    },
    "entropy-sgd": {
        "langevin_steps": 20,
        "langevin_scope": 0.03,
        "langevin_scoping": 0.0,
        "langevin_noise": 0.0001,
        "langevin_lr": 0.1,
        "langevin_averaging": 0.75,
        "langevin_seed": 0,
    },
    "sam": {"rho": None},
    "asam": {"rho": None},
}
"""What checkpoints and states of earlier versions hold; written down, so that a change of it shows."""

OF_TORCH = {"maximize": False, "foreach": None, "differentiable": False, "fused": None}


@pytest.mark.parametrize("module", ["options", "registry"])
def test_declarations_import_nothing_heavy(module: str) -> None:
    code = f"import sys, bnsharp_cli.training.{module}; print(sorted({{'torch', 'numpy', 'typer'}} & {{*sys.modules}}))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout == "[]\n"


@pytest.mark.parametrize("rule", OWN)
def test_options_are_recorded_under_the_names_that_files_have(rule: str) -> None:
    recorded = TrainingOptions(rule=rule).to_dict()
    assert [*recorded.items()] == [*{"rule": rule, **COMMON, **OWN[rule]}.items()], "in this order"


def test_the_options_that_a_user_gave_are_recorded() -> None:
    own = SgdsOptions(regulariser_gradient="printed", regulariser_batches="independent", regulariser_clip=1.0)
    recorded = TrainingOptions(rule="sgds", rule_options=own, milestones=(3, 5)).to_dict()
    expected = {"form": "printed", "batches": "independent", "clip": 1.0, "milestones": [3, 5]}
    assert {name: recorded[name] for name in expected} == expected
    recorded = TrainingOptions(rule="entropy-sgd", rule_options=EntropySgdOptions(scope=0.5, langevin_seed=4)).to_dict()
    assert (recorded["langevin_scope"], recorded["langevin_seed"]) == (0.5, 4)


def after_two_epochs(examples: int) -> torch.Tensor:
    """The state of a generator with seed 0 that has drawn two orders."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        torch.randperm(examples, generator=generator)
    return generator.get_state()


@pytest.mark.parametrize("rule", ["sgd", "sam", "entropy-sgd"])
def test_a_state_of_an_earlier_version_is_taken_over(rule: str) -> None:
    torch.manual_seed(0)
    earlier = {
        "epoch": 2,
        "gradients": {"sgd": 6, "sam": 12, "entropy-sgd": 120}[rule],
        "state_dict": copy.deepcopy(mlp_bn().state_dict()),
        "rule": {
            "state": {
                number: {"momentum_buffer": torch.ones_like(p)} for number, p in enumerate(mlp_bn().parameters())
            },
            "param_groups": [
                {
                    "lr": 0.1,
                    "momentum": 0.9,
                    "dampening": 0,
                    "weight_decay": 0.0,
                    "nesterov": False,
                    **OF_TORCH,
                    "steps": 6,
                    "epochs": 2,
                    "params": [0, 1, 2, 3, 4, 5, 6, 7],
                }
            ],
        },
        "order": after_two_epochs(96),
        "precision": {},
    }
    training = Training(
        mlp_bn(), ExamplesInMemory(*vectors(96)[0]), TrainingOptions(rule=rule, epochs=3, batch_size=32)
    )
    training.load_state_dict(earlier)
    assert (training.epoch, training.rule.steps, training.rule.epochs) == (2, 6, 2)
    assert training.gradients == earlier["gradients"]
    assert training.state_dict().keys() == earlier.keys()
    assert training.state_dict()["rule"]["param_groups"][0].keys() == earlier["rule"]["param_groups"][0].keys()
    first = training.rule.state[training.rule.param_groups[0]["params"][0]]["momentum_buffer"]
    assert torch.equal(first, torch.ones_like(first))
    training.run_epoch()
    assert training.epoch == 3


def test_the_declared_choices_are_those_that_there_are() -> None:
    choices = {one.name: one.choices for one in declared_fields(TrainingOptions)}
    assert choices["schedule"] == tuple(SCHEDULES)
    assert choices["amp"] == tuple(AMP_DTYPES)
    (rule,) = (one for one in declared_fields(TrainingOptions) if one.name == "rule")
    assert tuple(rule.declared.complete("")) == tuple(TRAINING_RULES)
    assert all(name in rule.declared.help for name in TRAINING_RULES)


@pytest.mark.parametrize("name", TRAINING_RULES)
def test_every_rule_says_what_it_does_and_where_its_code_is(name: str) -> None:
    entry = TRAINING_RULES[name]
    assert entry.name == name
    assert issubclass(entry.rule_class, TrainingRule)
    assert all(0 < len(text) < 80 for text in (entry.summary, entry.cost, entry.source))
    assert all(one.declared.help for one in declared_fields(entry.options))


def test_no_rule_has_an_option_of_the_name_of_a_common_one() -> None:
    """On the command line they are at one level."""
    common = {one.name for one in declared_fields(TrainingOptions)}
    for entry in TRAINING_RULES.values():
        assert not common & {one.name for one in declared_fields(entry.options)}, entry.name


def test_an_option_that_no_rule_has_is_refused() -> None:
    with pytest.raises(UsageError, match=r"radius: rule sam has no such option\. No rule has it\."):
        TrainingOptions.from_flat(rule="sam", radius=1.0)
    with pytest.raises(UsageError, match=r"rho: rule sgds has no such option\. It is of sam, asam\."):
        TrainingOptions.from_flat(rule="sgds", rho=1.0)


def test_options_of_another_rule_are_refused() -> None:
    with pytest.raises(UsageError, match="rule_options: expected SgdsOptions, found 'SamOptions'") as caught:
        TrainingOptions(rule="sgds", rule_options=SamOptions())
    assert caught.value.argument == "rule_options"


def test_a_refusal_has_its_parts() -> None:
    with pytest.raises(UsageError) as caught:
        TrainingOptions(momentum=1.0)
    error = caught.value
    assert (error.argument, error.expected, error.found) == ("momentum", "a number in [0, 1)", 1.0)
    assert str(error) == "momentum: expected a number in [0, 1), found 1. For example 0.9."
    with pytest.raises(UsageError, match=r"schedule: expected one of step, cosine, found 'linear'"):
        TrainingOptions(schedule="linear")
    with pytest.raises(UsageError, match=r"nesterov: expected a momentum above 0, found 0\. For example 0\.9\."):
        TrainingOptions(nesterov=True, momentum=0.0)
