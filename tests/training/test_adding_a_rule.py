"""A new training rule is a class in a file of its own and one entry; the example of the documentation is this one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from bnsharp_cli.errors import UsageError
from bnsharp_cli.option_records import declared_fields
from bnsharp_cli.training import registry
from bnsharp_cli.training.examples import ExamplesInMemory
from bnsharp_cli.training.loop import Training
from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.training.registry import TRAINING_RULES
from tests.cases import mlp_bn, vectors

RULE = '''
import torch
from bnsharp_cli.training.rules import TrainingRule

class NoisySgd(TrainingRule):
    """SGD on gradients with normal noise of standard deviation ``noise``, seeded by the number of the step."""

    def __init__(self, module, lr, *, noise=0.01, **of_sgd):
        super().__init__(module, lr, **of_sgd)
        self.noise = noise

    @classmethod
    def from_options(cls, module, options, blocks, **of_sgd):
        return cls(module, noise=options.noise, **of_sgd)

    def _step(self, closures):
        loss = self._plain_pass(closures[0])  # puts the gradient into .grad
        generator = torch.Generator().manual_seed(self.steps)
        for parameter in self.module.parameters():
            parameter.grad += self.noise * torch.randn(parameter.shape, generator=generator)
        self._descend()  # takes the step of torch's SGD
        return loss
'''
"""The rule's own file."""

ENTRY = """
@dataclass(frozen=True)
class NoisySgdOptions(RuleOptions):
    noise: float = option(0.01, "standard deviation of the noise", **FROM_ZERO)

entry = RuleEntry(
    name="noisy-sgd",
    summary="SGD on gradients with noise",
    cost="1 gradient",
    source="an example",
    load="noisy_sgd:NoisySgd",
    options=NoisySgdOptions,
)
"""
"""What registry.py gets, under the imports that it has."""

EXAMPLES = ExamplesInMemory(*vectors(96)[0])


@pytest.fixture
def options_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type:
    """The record of the new rule's options, once the rule's file is there and its entry is in the registry."""
    (tmp_path / "noisy_sgd.py").write_text(RULE.lstrip())
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "noisy_sgd", raising=False)
    written = dict(vars(registry))
    exec(ENTRY, written)
    monkeypatch.setitem(TRAINING_RULES, "noisy-sgd", written["entry"])
    return TRAINING_RULES["noisy-sgd"].options


def trained(**options: object) -> dict[str, Tensor]:
    torch.manual_seed(0)
    training = Training(mlp_bn(), EXAMPLES, TrainingOptions(epochs=2, batch_size=32, learning_rate=0.2, **options))
    losses = [training.run_epoch() for _ in range(2)]
    assert losses[1] < losses[0]
    assert functional.cross_entropy(training.module(EXAMPLES.inputs), EXAMPLES.targets) < losses[0]
    return training.module.state_dict()


def test_it_trains_and_without_noise_it_is_sgd(options_class: type) -> None:
    silent = trained(rule="noisy-sgd", rule_options=options_class(noise=0.0))
    for name, tensor in trained(rule="sgd").items():
        assert torch.equal(tensor, silent[name]), name
    noisy = trained(rule="noisy-sgd")
    assert not torch.equal(noisy["0.weight"], silent["0.weight"])


def test_its_options_are_declared_checked_and_recorded(options_class: type) -> None:
    (noise,) = declared_fields(options_class)
    assert (noise.name, noise.default, noise.declared.help) == ("noise", 0.01, "standard deviation of the noise")
    with pytest.raises(UsageError, match="noise: expected a number from 0 on, found -1"):
        options_class(noise=-1.0)
    options = TrainingOptions.from_flat(rule="noisy-sgd", noise=0.5)
    assert options.to_dict()["noise"] == 0.5
    assert options.own_options.gradients_per_step == 1


def test_the_example_is_short() -> None:
    assert sum(bool(line.strip()) for line in (RULE + ENTRY).splitlines()) <= 30
