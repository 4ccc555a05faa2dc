"""The loop and its rules against torch's own optimiser."""

from __future__ import annotations

import copy
import functools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.api import find_blocks
from bnsharp_cli.errors import NotMeasurableError, UsageError
from bnsharp_cli.training.evaluation import LossAndAccuracy, evaluate
from bnsharp_cli.training.examples import ExamplesInMemory, StreamedExamples, evaluation_parts
from bnsharp_cli.training.loop import Training
from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.training.registry import TRAINING_RULES, EntropySgdOptions, SgdsOptions
from bnsharp_cli.training.rules import LossClosure, Sgd
from tests.cases import images, mlp_bn, vectors

EXAMPLES = ExamplesInMemory(*vectors(96)[0])


def trained(module: nn.Module, examples: object, options: TrainingOptions) -> list[float]:
    """All epochs; the mean loss of each."""
    training = Training(module, examples, options)
    return [training.run_epoch() for _ in range(options.epochs)]


def test_the_loop_is_plain_sgd_with_a_step_schedule() -> None:
    torch.manual_seed(0)
    module = mlp_bn()
    reference = copy.deepcopy(module).train()
    options = TrainingOptions(
        epochs=4, batch_size=40, learning_rate=0.2, weight_decay=1e-2, milestones=(1, 3), decay=0.5, seed=7
    )
    assert len(trained(module, EXAMPLES, options)) == 4

    optimizer = torch.optim.SGD(reference.parameters(), lr=0.2, momentum=0.9, weight_decay=1e-2)
    generator = torch.Generator().manual_seed(7)
    for rate in (0.2, 0.1, 0.1, 0.05):
        optimizer.param_groups[0]["lr"] = rate
        order = torch.randperm(96, generator=generator)
        for part in (order[:40], order[40:80]):
            optimizer.zero_grad()
            functional.cross_entropy(reference(EXAMPLES.inputs[part]), EXAMPLES.targets[part]).backward()
            optimizer.step()
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, reference.state_dict()[name]), name


def test_a_batch_larger_than_the_data_is_the_data() -> None:
    torch.manual_seed(0)
    losses = trained(mlp_bn(), EXAMPLES, TrainingOptions(epochs=30, batch_size=10_000, learning_rate=0.5))
    assert losses[-1] < losses[0]


def test_streamed_examples_train_as_those_in_memory() -> None:
    modules = []
    for ahead in (None, True, False):
        torch.manual_seed(0)
        modules.append(mlp_bn())
        streamed = StreamedExamples(
            lambda part: (EXAMPLES.inputs[part], EXAMPLES.targets[part]), 96, (4,), ahead=bool(ahead)
        )
        trained(modules[-1], EXAMPLES if ahead is None else streamed, TrainingOptions(epochs=3, batch_size=32))
    for other in modules[1:]:
        assert all(map(torch.equal, modules[0].state_dict().values(), other.state_dict().values()))


def test_what_is_random_goes_on_from_a_state_and_leaves_torchs_own_alone() -> None:
    """Dropout, crops and flips after three of five epochs, from the state of another process."""
    ((inputs, targets),) = images(48)
    examples = ExamplesInMemory(inputs, targets)
    options = TrainingOptions(epochs=5, batch_size=16, augment=("crop", "flip"), seed=3, nesterov=True)

    def network() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 4))

    whole = Training(network(), examples, options)
    before = torch.get_rng_state()
    for _ in range(3):
        whole.run_epoch()
    assert torch.equal(torch.get_rng_state(), before)
    state = copy.deepcopy(whole.state_dict())
    other = Training(network(), examples, options)
    torch.manual_seed(99)
    other.load_state_dict(state)
    assert other.gradients == whole.gradients == 9
    for training in (whole, other):
        training.run_epoch()
        training.run_epoch()
    tensors = [training.state_dict()["state_dict"].values() for training in (whole, other)]
    assert all(map(torch.equal, *tensors))
    untouched = Training(network(), examples, replace(options, augment=()))
    untouched.run_epoch()
    assert not torch.equal(untouched.module[0].weight, whole.module[0].weight)


def test_a_state_of_another_shape_is_no_state() -> None:
    training = Training(mlp_bn(), EXAMPLES, TrainingOptions(batch_size=32))
    training.run_epoch()
    state = training.state_dict()
    state["rule"]["state"][0]["momentum_buffer"] = torch.zeros(2)
    with pytest.raises(ValueError, match="another shape"):
        training.load_state_dict(state)


class Greedy(Sgd):
    """Takes three batches, of each one gradient."""

    batches_per_step = 3
    gradients_per_step = 3

    def _step(self, closures: list[LossClosure]) -> Tensor:
        self.seen = [*getattr(self, "seen", []), tuple(float(self._plain_pass(closure)) for closure in closures)]
        self._plain_pass(closures[0])
        self._descend()
        return torch.tensor(self.seen[-1][0])


def test_a_rule_of_several_batches_gets_independent_ones_and_keeps_the_order_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = TrainingOptions(epochs=2, batch_size=32, learning_rate=1e-30, momentum=0.0, seed=4)
    torch.manual_seed(0)
    module = nn.Linear(4, 3)
    usual = trained(copy.deepcopy(module), EXAMPLES, options)
    monkeypatch.setitem(TRAINING_RULES, "sgd", replace(TRAINING_RULES["sgd"], load=f"{__name__}:Greedy"))
    training = Training(module, EXAMPLES, options)
    assert [training.run_epoch() for _ in range(2)] == usual
    seen = torch.tensor(training.rule.seen)
    assert seen.shape == (6, 3)
    for epoch in seen.split(3):
        torch.testing.assert_close(epoch.mean(0), epoch.mean().expand(3))  # each order has every example once
        assert len(epoch.unique()) == 9
    assert training.gradients == 6 * 4


def test_gradients_longer_than_allowed_are_shortened() -> None:
    ((inputs, targets),) = vectors(96)
    for limit, shortened in ((1e-3, True), (1e3, False)):
        module = nn.Linear(4, 3)
        before = copy.deepcopy(module)
        options = TrainingOptions(epochs=1, batch_size=96, learning_rate=1.0, momentum=0.0, clip_gradient=limit)
        trained(module, ExamplesInMemory(inputs, targets), options)
        moved = torch.cat([(a - b).flatten() for a, b in zip(module.parameters(), before.parameters(), strict=True)])
        functional.cross_entropy(before(inputs), targets).backward()
        length = torch.cat([p.grad.flatten() for p in before.parameters()]).norm()
        expected = limit if shortened else float(length)
        assert float(moved.detach().norm()) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", list(TRAINING_RULES))
def test_every_rule_costs_what_it_says_and_goes_on_from_a_state(name: str) -> None:
    own = {
        "entropy-sgd": EntropySgdOptions(langevin_steps=3),
        "sgds": SgdsOptions(regulariser_batches="independent", search_steps=1),
    }
    options = TrainingOptions(rule=name, epochs=3, batch_size=32, rule_options=own.get(name))
    blocks = functools.partial(find_blocks, mlp_bn(), [vectors(24)[0]])

    def fresh() -> Training:
        torch.manual_seed(0)
        return Training(mlp_bn(), EXAMPLES, options, blocks=blocks)

    whole, other = fresh(), fresh()
    whole.run_epoch()
    assert whole.gradients == 3 * whole.rule.gradients_per_step
    other.load_state_dict(copy.deepcopy(whole.state_dict()))
    for training in (whole, other):
        training.run_epoch()
        training.run_epoch()
    tensors = [training.state_dict()["state_dict"].values() for training in (whole, other)]
    assert all(map(torch.equal, *tensors))
    assert evaluate(whole.module, EXAMPLES).loss < 2


def test_running_statistics_that_lag_behind_are_refreshed() -> None:
    options = TrainingOptions(rule="entropy-sgd", epochs=1, batch_size=32)
    training = Training(mlp_bn(), EXAMPLES, options)
    training.run_epoch()
    with torch.no_grad():
        hidden = training.module[0](EXAMPLES.inputs)
    torch.testing.assert_close(training.module[1].running_mean, hidden.mean(0))


def test_a_rule_that_needs_blocks_says_so() -> None:
    with pytest.raises(UsageError, match="has to know which rows"):
        Training(mlp_bn(), EXAMPLES, TrainingOptions(rule="sgds"))


def test_evaluate_is_eval_mode_over_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module = mlp_bn().train()
    examples = ExamplesInMemory(torch.cat([EXAMPLES.inputs] * 13), torch.cat([EXAMPLES.targets] * 13))
    assert len(evaluation_parts(examples)) == 2
    figures = evaluate(module, examples)
    outputs = module.eval()(EXAMPLES.inputs).detach().double()
    assert figures.loss == pytest.approx(float(functional.cross_entropy(outputs, EXAMPLES.targets)), rel=1e-6)
    assert figures.accuracy == pytest.approx(float((outputs.argmax(1) == EXAMPLES.targets).double().mean()))


def test_large_examples_are_evaluated_a_few_at_a_time() -> None:
    large = StreamedExamples(lambda part: (part, part), 300, (3, 512, 512))
    assert max(map(len, evaluation_parts(large))) * 3 * 512 * 512 <= 2**24
    assert torch.equal(torch.cat(evaluation_parts(large)), torch.arange(300))


def test_a_better_accuracy_counts_more_than_a_better_loss() -> None:
    assert LossAndAccuracy(2.0, 0.9).merit > LossAndAccuracy(1.0, 0.8).merit
    assert LossAndAccuracy(1.0, 0.9).merit > LossAndAccuracy(2.0, 0.9).merit
    assert LossAndAccuracy(1.0, None).merit > LossAndAccuracy(2.0, None).merit


def test_a_loss_that_is_not_finite_stops_at_once() -> None:
    seen: list[int] = []
    training = Training(nn.Linear(4, 3), EXAMPLES, TrainingOptions(batch_size=8, learning_rate=1e38))
    with pytest.raises(NotMeasurableError, match=r"training loss became (nan|inf) in epoch 1"):
        training.run_epoch(lambda done, _: seen.append(done))
    assert len(seen) < 11
    assert training.epoch == 0


def test_a_weight_that_is_not_finite_stops_although_the_loss_was() -> None:
    training = Training(nn.Linear(4, 3), EXAMPLES, TrainingOptions(batch_size=96))
    training.module.register_buffer("unused", torch.tensor([1.0, torch.inf]))
    with pytest.raises(NotMeasurableError, match="'unused' became NaN or infinite in epoch 1"):
        training.run_epoch()


@pytest.mark.parametrize(
    "wrong",
    [
        {"rule": "x"},
        {"epochs": 0},
        {"batch_size": 1},
        {"learning_rate": 0.0},
        {"weight_decay": -1.0},
        {"decay": 0.0},
        {"schedule": "linear"},
        {"clip_gradient": 0.0},
        {"augment": ("crop", "rotate")},
        {"amp": "fp8"},
    ],
)
def test_options_are_validated_once(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        TrainingOptions(**wrong)


def test_milestones_belong_to_the_step_schedule() -> None:
    with pytest.raises(UsageError, match="milestones: schedule cosine has none"):
        TrainingOptions(schedule="cosine", milestones=(3,))
