"""A ``GradScaler`` beside a rule, in every way that it can come in: the step of the plain loss, or a refusal."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import UsageError
from bnsharp_cli.training.registry import EntropySgdOptions, SgdsOptions
from bnsharp_cli.training.rules import Sgd, TrainingRule
from bnsharp_cli.training.sam import Asam, Sam
from bnsharp_cli.training.scaled_losses import is_scaled

torch.manual_seed(0)
X, Y = torch.randn(32, 6).double(), torch.arange(32) % 3
STEEP = SgdsOptions(delta=0.1, coefficient=1.0, regulariser_clip=10.0)
RULES: dict[str, Callable[..., TrainingRule]] = {
    "sgd": Sgd,
    "sam": Sam,
    "asam": Asam,
    "entropy-sgd": lambda module, **more: bnsharp_cli.EntropySgd(
        module, options=EntropySgdOptions(langevin_steps=3), **more
    ),
    "sgds": lambda module, **more: bnsharp_cli.Sgds(
        module, bnsharp_cli.find_blocks(module, [(X, Y)]), options=STEEP, **more
    ),
    "sgds exact": lambda module, **more: bnsharp_cli.Sgds(
        module,
        bnsharp_cli.find_blocks(module, [(X, Y)]),
        options=SgdsOptions(delta=0.1, coefficient=1.0, regulariser_clip=10.0, regulariser_gradient="exact-total"),
        **more,
    ),
}


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).double()


def loss_of(module: nn.Module) -> Callable[[], Tensor]:
    return lambda: functional.cross_entropy(module(X), Y)


def flat(module: nn.Module) -> Tensor:
    return torch.cat([tensor.detach().double().flatten() for tensor in module.state_dict().values()])


def switched_on(scale: float = 2.0**12) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=10_000)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_is_given_the_scaler_takes_the_step_of_the_plain_loss(rule: str) -> None:
    module, reference = network(), network()
    mine = RULES[rule](module, lr=0.1, momentum=0.9, scaler=switched_on(3000.0))
    plain = RULES[rule](reference, lr=0.1, momentum=0.9)
    for _ in range(3):
        losses = [
            one.step(*[loss_of(one.module)] * one.batches_per_step) for one in (mine, plain) if one.module is not None
        ]
        torch.testing.assert_close(*losses)
    torch.testing.assert_close(flat(module), flat(reference), rtol=1e-6, atol=1e-6)  # 1/3000 is unscaled in float32
    assert mine.steps == 3


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("failing", [0, 1])
def test_a_step_in_which_a_gradient_overflows_is_left_out_and_the_scale_halved(rule: str, failing: int) -> None:
    module, scaler = network(), switched_on()
    mine = RULES[rule](module, lr=0.1, momentum=0.9, scaler=scaler)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    passes: list[int] = []

    def closure() -> Tensor:
        passes.append(1)
        loss = loss_of(module)()
        if len(passes) == failing + 1:  # a gradient that is infinite, of a loss that is not
            loss = loss + 1e306 * (module[0].weight - module[0].weight.detach()).sum()
        return loss

    expected = float(loss_of(copy.deepcopy(module))().detach())
    loss = mine.step(*[closure] * mine.batches_per_step)
    if mine.gradients_per_step > failing:
        assert len(passes) == failing + 1
        assert scaler.get_scale() == 2.0**11
        assert all(torch.equal(p, kept) for p, kept in zip(module.parameters(), before, strict=True))
        assert (mine.steps, len(mine.state)) == (0, 0)
        assert failing == 0 or float(loss) == pytest.approx(expected)
    passes.append(1)
    mine.step(*[loss_of(module)] * mine.batches_per_step)
    assert bool(torch.isfinite(flat(module)).all())
    assert not torch.equal(module[0].weight, before[0])


SCALED: dict[str, Callable[[torch.amp.GradScaler, Tensor], Tensor]] = {
    "as it is": lambda scaler, loss: scaler.scale(loss),
    "one of several": lambda scaler, loss: scaler.scale([loss, loss])[0],
    "averaged over parts": lambda scaler, loss: sum(scaler.scale(part) for part in (loss, loss)) / 2,
    "a term of it": lambda scaler, loss: loss + 0.1 * scaler.scale(loss),
    "stacked": lambda scaler, loss: torch.stack([scaler.scale(loss), loss]).mean(),
    "by its number": lambda scaler, loss: loss * scaler.get_scale(),
    "by a method kept before": lambda scaler, loss: KEPT.setdefault(id(scaler), scaler.scale)(loss),
}
KEPT: dict[int, Callable[[Tensor], Tensor]] = {}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("way", SCALED)
@pytest.mark.parametrize("given", [False, True], ids=["alone", "given to the rule too"])
def test_a_loss_that_the_closure_scales_is_refused(rule: str, way: str, given: bool) -> None:
    module, scaler = network(), switched_on()
    mine = RULES[rule](module, lr=0.1, **({"scaler": scaler} if given else {}))
    before = flat(module)[: module[0].weight.numel()]
    for _ in range(2):
        with pytest.raises(UsageError, match="The closure scaled the loss by a GradScaler") as refused:
            mine.step(*[lambda: SCALED[way](scaler, loss_of(module)())] * mine.batches_per_step)
        assert refused.value.argument == "closure"
        assert refused.value.remedy == "Return the loss itself and give the rule the scaler: scaler=scaler."
    assert torch.equal(flat(module)[: len(before)], before)
    RULES[rule](module, lr=0.1, scaler=scaler).step(*[loss_of(module)] * mine.batches_per_step)  # the remedy works
    assert not torch.equal(flat(module)[: len(before)], before)


def test_losses_that_are_only_multiplied_are_not_taken_for_scaled_ones() -> None:
    factor = torch.tensor(4.0)
    weight = torch.nn.Parameter(torch.ones(3))
    loss = weight.square().sum()
    scaler = switched_on()
    scaler.scale(torch.zeros(()))
    for plain in (factor * loss, loss * torch.tensor(4.0), (loss + factor) / 3, 0.5 * loss, loss.exp() * loss):
        assert not is_scaled(plain)
    off = torch.amp.GradScaler("cpu", enabled=False)
    assert not is_scaled(off.scale(loss))
    assert is_scaled(factor * scaler.scale(loss))


def test_a_penalty_on_gradients_that_were_scaled_on_the_way_is_no_scaled_loss() -> None:
    """As torch's own examples of mixed precision have it: scaled for autograd.grad, unscaled before it is used."""
    module, scaler = network(), switched_on()

    def closure() -> Tensor:
        loss = loss_of(module)()
        (scaled,) = torch.autograd.grad(scaler.scale(loss), [module[0].weight], create_graph=True)
        return loss + (scaled / scaler.get_scale()).square().sum()

    assert torch.isfinite(Sam(module, 0.1, scaler=scaler).step(closure))


@pytest.mark.parametrize("rule", RULES)
def test_scaler_step_is_refused_with_what_works(rule: str) -> None:
    module, scaler = network(), switched_on()
    mine = RULES[rule](module, lr=0.1)
    scaler.scale(loss_of(module)()).backward()
    before = flat(module)
    closures = [loss_of(module)] * mine.batches_per_step
    for unscaled in (False, True):
        if unscaled:
            scaler.unscale_(mine)
        with pytest.raises(UsageError, match=r"^scaler: scaler\.step cannot scale the gradients that") as refused:
            scaler.step(mine, *closures)
        assert refused.value.remedy == "Give the rule the scaler, scaler=scaler, and call rule.step(closure) alone."
        with pytest.raises(UsageError, match=r"^scaler: "):
            scaler.step(mine)
    assert torch.equal(flat(module), before)
    mine.step(*closures)  # what the scaler left behind is gone
    assert not torch.equal(flat(module), before)


@pytest.mark.parametrize("rule", RULES)
def test_a_scaler_that_is_switched_off_makes_no_difference(rule: str) -> None:
    module, reference, other = network(), network(), network()
    off = torch.amp.GradScaler("cpu", enabled=False)
    plain = RULES[rule](reference, lr=0.1)
    plain.step(*[loss_of(reference)] * plain.batches_per_step)
    RULES[rule](module, lr=0.1, scaler=off).step(*[loss_of(module)] * plain.batches_per_step)
    off.step(RULES[rule](other, lr=0.1), *[lambda: off.scale(loss_of(other)())] * plain.batches_per_step)
    assert torch.equal(flat(module), flat(reference))
    assert torch.equal(flat(other), flat(reference))


def test_gradients_that_were_scaled_and_unscaled_before_the_step_are_not_its_own() -> None:
    module, reference, scaler = network(), network(), switched_on()
    mine = Sam(module, 0.1)
    scaler.scale(functional.cross_entropy(module.eval()(X), Y)).backward()
    scaler.unscale_(mine)
    module.train()
    mine.step(loss_of(module))
    Sam(reference, 0.1).step(loss_of(reference))
    assert torch.equal(flat(module), flat(reference))


def test_what_is_no_scaler_and_weights_that_cannot_be_unscaled_are_refused() -> None:
    for wrong in (3, True, "cuda", torch.amp.GradScaler):
        with pytest.raises(UsageError, match=r"^scaler: expected a torch\.amp\.GradScaler or None") as refused:
            Sam(network(), 0.1, scaler=wrong)
        assert refused.value.argument == "scaler"
    module = nn.Linear(6, 3).half()
    with pytest.raises(UsageError, match="expected weights in float32, found 'weights in float16'"):
        Sam(module, 0.1, scaler=switched_on()).step(lambda: module.weight.float().square().sum())


def test_copies_of_a_rule_with_a_scaler_have_a_scaler_of_their_own() -> None:
    module = network()
    rule = Sam(module, 0.1, scaler=switched_on())
    rule.step(loss_of(module))
    for twin in (copy.deepcopy(rule), pickle.loads(pickle.dumps(rule))):
        expected = Sam(copy.deepcopy(module), 0.1)
        expected.step(loss_of(expected.module))
        twin.step(loss_of(twin.module))
        torch.testing.assert_close(flat(twin.module), flat(expected.module))
