"""Every rule: torch's own optimiser underneath, one pass for the running statistics, and nothing left behind."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.training.registry import (
    TRAINING_RULES,
    EntropySgdOptions,
    RuleOptions,
    SamOptions,
    SgdsOptions,
    registered_rule,
)
from bnsharp_cli.training.rules import Sgd, TrainingRule
from bnsharp_cli.training.sam import Asam, Sam
from bnsharp_cli.training.sgds import Sgds
from tests.cases import mlp_bn, vectors

X, Y = vectors(48)[0]
VARIANTS: dict[str, RuleOptions] = {
    **{name: entry.options() for name, entry in TRAINING_RULES.items()},
    "sgds": SgdsOptions(coefficient=0.1),
    "entropy-sgd": EntropySgdOptions(langevin_steps=3),
    **{
        f"sgds {form} {steps}": SgdsOptions(coefficient=0.1, regulariser_gradient=form, search_steps=steps, nodes=4)
        for form in ("printed", "exact", "exact-total", "corrected")
        for steps in (0, 2)
    },
    "sgds independent": SgdsOptions(coefficient=0.1, regulariser_batches="independent", search_steps=1),
}


def network(norm: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    return mlp_bn().train() if norm else plain


def built(variant: str, module: nn.Module, **of_sgd: float) -> TrainingRule:
    blocks = functools.partial(bnsharp_cli.find_blocks, module, [(X, Y)])
    return made(variant, module, VARIANTS[variant], blocks, **{"lr": 0.1, **of_sgd})


def made(
    variant: str, module: nn.Module, options: RuleOptions, blocks: Callable[[], Blocks], **of_sgd: float
) -> TrainingRule:
    return registered_rule(variant.split()[0]).rule_class.from_options(module, options, blocks, **of_sgd)


def closures(module: nn.Module, count: int, first: int = 0, size: int = 16) -> list[Callable[[], Tensor]]:
    def loss(number: int) -> Tensor:
        rows = (torch.arange(size) + number * size) % len(X)
        return functional.cross_entropy(module(X[rows]), Y[rows])

    return [functools.partial(loss, number) for number in range(first, first + count)]


def run(trained: TrainingRule, steps: range) -> list[float]:
    needed = trained.batches_per_step
    losses = [float(trained.step(*closures(trained.module, needed, step * needed))) for step in steps]
    trained.end_epoch()
    return losses


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_costs_what_it_says(variant: str) -> None:
    module = network()
    trained, calls = built(variant, module), []
    counted = [lambda c=c: calls.append(1) or c() for c in closures(module, trained.batches_per_step)]
    trained.step(*counted)
    assert len(calls) == trained.gradients_per_step
    assert len(calls) == VARIANTS[variant].gradients_per_step


@pytest.mark.parametrize("variant", VARIANTS)
def test_running_statistics_see_the_plain_pass_alone(variant: str) -> None:
    module = network()
    reference = copy.deepcopy(module)
    reference(X[:16])
    built(variant, module).step(*closures(module, 3))
    for (name, buffer), expected in zip(module.named_buffers(), reference.buffers(), strict=True):
        assert torch.equal(buffer, expected), name


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("norm", [True, False])
def test_training_goes_down_with_and_without_norms(variant: str, norm: bool) -> None:
    module = network(norm)
    trained = built(variant, module, lr=0.3, momentum=0.9, nesterov=True, weight_decay=1e-3)
    full = closures(module, 1, size=48) * 3
    before = full[0]().item()
    for _ in range(40):
        trained.step(*full[: trained.batches_per_step])
    assert full[0]().item() < 0.9 * before


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_state_goes_on_bit_by_bit(variant: str) -> None:
    whole, part = network(), network()
    kept = built(variant, whole, momentum=0.9)
    run(kept, range(3))
    stopped = built(variant, part, momentum=0.9)
    run(stopped, range(3))
    weights, state = copy.deepcopy(part.state_dict()), copy.deepcopy(stopped.state_dict())
    resumed_module = network()
    resumed = built(variant, resumed_module, momentum=0.9)
    resumed_module.load_state_dict(weights)
    resumed.load_state_dict(state)
    assert (resumed.steps, resumed.epochs) == (3, 1)
    assert run(kept, range(3, 6)) == run(resumed, range(3, 6))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed_module.state_dict()[name]), name


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v != "sgd"])
def test_a_pass_that_fails_leaves_the_parameters_where_they_were(variant: str) -> None:
    module = network()
    before = copy.deepcopy(module.state_dict())
    trained = built(variant, module)
    calls: list[int] = []

    def failing(closure: Callable[[], Tensor]) -> Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise KeyError("no more data")
        return closure()

    with pytest.raises(KeyError):
        trained.step(*(functools.partial(failing, c) for c in closures(module, trained.batches_per_step)))
    for name, parameter in module.named_parameters():
        assert torch.equal(parameter, before[name]), name


@pytest.mark.parametrize("variant", ["sam", "asam", "sgds", "sgds corrected 2", "sgds exact-total 0"])
def test_dropout_drops_the_same_in_all_passes_of_a_batch(variant: str) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    trained = built(variant, module)
    masks: list[Tensor] = []
    module[2].register_forward_hook(lambda _, inputs, outputs: masks.append((outputs == 0) & (inputs[0] != 0)))
    trained.step(closures(module, 1)[0])
    assert masks[0].any()
    assert all(torch.equal(mask, masks[0]) for mask in masks)
    trained.step(closures(module, 1)[0])
    assert not torch.equal(masks[0], masks[-1])


def test_every_rule_finds_the_minimum_of_a_convex_loss() -> None:
    """Logistic regression with an L2 term; SAM's and the noise's own distance is of the order of their radius."""
    penalised = 0.5

    def loss(module: nn.Module) -> Tensor:
        weights = sum(parameter.square().sum() for parameter in module.parameters())
        return functional.cross_entropy(module(X.double()), Y) + penalised / 2 * weights

    def module() -> nn.Module:
        torch.manual_seed(1)
        return nn.Linear(4, 3).double()

    exact = module()
    optimizer = torch.optim.LBFGS(exact.parameters(), max_iter=500, tolerance_grad=1e-12, tolerance_change=0)
    optimizer.step(lambda: (optimizer.zero_grad(), (value := loss(exact)).backward(), value)[-1])
    for variant in VARIANTS:
        found = module()
        blocks = functools.partial(bnsharp_cli.find_blocks, found, [(X.double(), Y)])
        small = {
            "entropy-sgd": EntropySgdOptions(langevin_steps=5, langevin_noise=1e-5, langevin_lr=0.5),
            **dict.fromkeys(("sam", "asam"), SamOptions(rho=1e-3)),
        }
        trained = made(variant, found, small.get(variant, VARIANTS[variant]), blocks, lr=0.5)
        closure = functools.partial(loss, found)
        for _ in range(40):
            trained.step(*[closure] * trained.batches_per_step)
        for mine, expected in zip(found.parameters(), exact.parameters(), strict=True):
            torch.testing.assert_close(mine, expected, atol=2e-3, rtol=0, msg=variant)


def test_sgd_is_torchs() -> None:
    module, reference = network(), network()
    of_sgd = {"lr": 0.2, "momentum": 0.9, "weight_decay": 1e-2, "nesterov": True}
    mine, theirs = Sgd(module, **of_sgd), torch.optim.SGD(reference.parameters(), **of_sgd)
    for step in range(4):
        mine.step(closures(module, 1, step)[0])
        theirs.zero_grad()
        closures(reference, 1, step)[0]().backward()
        theirs.step()
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, reference.state_dict()[name]), name


def test_long_gradients_are_shortened() -> None:
    module = network()
    before = [p.detach().clone() for p in module.parameters()]
    Sgd(module, 1.0, clip_gradient=1e-3).step(closures(module, 1)[0])
    moved = [(p.detach() - b).flatten() for p, b in zip(module.parameters(), before, strict=True)]
    assert float(torch.cat(moved).norm()) == pytest.approx(1e-3, rel=1e-2)


def test_no_weight_on_sharpness_is_sgd() -> None:
    module, reference = network(), network()
    blocks = bnsharp_cli.find_blocks(module, [(X, Y)])
    run(Sgds(module, blocks, 0.1, options=SgdsOptions(coefficient=0)), range(3))
    run(Sgd(reference, 0.1), range(3))
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, reference.state_dict()[name]), name


def test_schedules_of_torch_work() -> None:
    trained = built("sam", network())
    schedule = torch.optim.lr_scheduler.MultiStepLR(trained, [1, 2], 0.5)
    for step in range(3):
        run(trained, range(step, step + 1))
        schedule.step()
    assert trained.param_groups[0]["lr"] == pytest.approx(0.025)


@pytest.mark.parametrize(("kind", "rho"), [(Sam, 0.3), (Asam, 0.7)])
def test_sam_steps_along_the_gradient_at_the_top_of_the_ball(kind: type[Sam], rho: float) -> None:
    """Eq. (2) of Foret et al. and Eq. (4) of Kwon et al., written out."""
    module, reference = network(), network()
    kind(module, 0.1, rho=rho).step(closures(module, 1)[0])

    parameters = [*reference.parameters()]
    gradients = torch.autograd.grad(closures(reference, 1)[0](), parameters)
    scales = [p.abs() + 0.01 if kind is Asam and p.ndim > 1 else torch.ones_like(p) for p in parameters]
    length = torch.cat([(t * g).flatten() for t, g in zip(scales, gradients, strict=True)]).norm()
    start = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for p, t, g in zip(parameters, scales, gradients, strict=True):
            p += rho * t**2 * g / length
    gradients = torch.autograd.grad(closures(reference, 1)[0](), parameters)
    for mine, theta, gradient in zip(module.parameters(), start, gradients, strict=True):
        torch.testing.assert_close(mine, theta - 0.1 * gradient)


def test_closures_that_are_none() -> None:
    module = network()
    trained = Sgd(module, 0.1)
    good = closures(module, 1)[0]

    def differentiated() -> Tensor:
        loss = good()
        loss.backward()
        return loss

    for closure in (lambda: good().detach(), lambda: good().item(), lambda: module(X)):
        with pytest.raises(UsageError, match="did not return a scalar loss with its graph"):
            trained.step(closure)
    with pytest.raises(UsageError, match="called backward") as caught:
        trained.step(differentiated)
    assert caught.value.argument == "closure"
    with pytest.raises(UsageError, match="expected 3 closures, found 1"):
        built("sgds independent", module).step(good)
    with pytest.raises(UsageError, match="one of sgd, sgds, entropy-sgd, sam, asam, found 'adam'"):
        registered_rule("adam")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_closure_that_changes_gradients_is_refused_even_where_torch_would_not_mind(variant: str) -> None:
    """Gradients are summed over passes, so the sum would be wrong without a word."""
    module = network()
    trained = built(variant, module)

    def kept() -> Tensor:
        loss = closures(module, 1)[0]()
        loss.backward(retain_graph=True)
        return loss

    with pytest.raises(UsageError, match="The closure called backward"):
        trained.step(*[kept] * trained.batches_per_step)


def test_a_closure_that_empties_gradients_between_passes_is_refused() -> None:
    module = network()
    trained = built("sgds", module)

    def emptied() -> Tensor:
        trained.zero_grad()
        return closures(module, 1)[0]()

    with pytest.raises(UsageError, match="The closure called zero_grad"):
        trained.step(emptied)
