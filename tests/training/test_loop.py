"""The loop and its rules against torch's own optimiser."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from bnsharp_cli.errors import NotMeasurableError, UsageError
from bnsharp_cli.training.loop import TrainingOptions, evaluate, train
from tests.cases import mlp_bn, vectors

EXAMPLES = vectors(96)[0]


def test_the_loop_is_plain_sgd_with_a_step_schedule() -> None:
    torch.manual_seed(0)
    module = mlp_bn()
    reference = copy.deepcopy(module).train()
    options = TrainingOptions(
        epochs=4, batch_size=40, learning_rate=0.2, weight_decay=1e-2, milestones=(1, 3), decay=0.5, seed=7
    )
    seen: list[tuple[int, float]] = []
    train(module, EXAMPLES, options, lambda epoch, loss: seen.append((epoch, loss)))

    optimizer = torch.optim.SGD(reference.parameters(), lr=0.2, momentum=0.9, weight_decay=1e-2)
    generator = torch.Generator().manual_seed(7)
    inputs, targets = EXAMPLES
    for rate in (0.2, 0.1, 0.1, 0.05):
        optimizer.param_groups[0]["lr"] = rate
        order = torch.randperm(96, generator=generator)
        for part in (order[:40], order[40:80]):
            optimizer.zero_grad()
            functional.cross_entropy(reference(inputs[part]), targets[part]).backward()
            optimizer.step()
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, reference.state_dict()[name]), name
    assert [epoch for epoch, _ in seen] == [0, 1, 2, 3]


def test_a_batch_larger_than_the_data_is_the_data() -> None:
    torch.manual_seed(0)
    losses: list[float] = []
    options = TrainingOptions(epochs=30, batch_size=10_000, learning_rate=0.5)
    train(mlp_bn(), EXAMPLES, options, lambda _, loss: losses.append(loss))
    assert losses[-1] < losses[0]


def test_evaluate_is_eval_mode_over_everything() -> None:
    torch.manual_seed(0)
    module = mlp_bn().train()
    inputs = torch.cat([EXAMPLES[0]] * 13)
    targets = torch.cat([EXAMPLES[1]] * 13)
    figures = evaluate(module, (inputs, targets))
    outputs = module.eval()(EXAMPLES[0]).detach().double()
    assert figures.loss == pytest.approx(float(functional.cross_entropy(outputs, EXAMPLES[1])), rel=1e-6)
    assert figures.accuracy == pytest.approx(float((outputs.argmax(1) == EXAMPLES[1]).double().mean()))


def test_a_loss_that_is_not_finite_stops() -> None:
    options = TrainingOptions(epochs=5, batch_size=96, learning_rate=1e38)
    with pytest.raises(NotMeasurableError, match="training loss became"):
        train(nn.Linear(4, 3), EXAMPLES, options, lambda *_: None)


@pytest.mark.parametrize(
    "wrong",
    [{"rule": "x"}, {"epochs": 0}, {"batch_size": 1}, {"learning_rate": 0.0}, {"weight_decay": -1.0}, {"decay": 0.0}],
)
def test_options_are_validated_once(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="--" + next(iter(wrong)).replace("_", "-")):
        TrainingOptions(**wrong)
