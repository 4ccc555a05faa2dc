"""Rules in the loops of others: what people wrap, freeze, copy and cast there."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

import bnsharp_cli
from bnsharp_cli.training.entropy_sgd import EntropySgd
from bnsharp_cli.training.registry import EntropySgdOptions, SgdsOptions
from bnsharp_cli.training.rules import TrainingRule
from bnsharp_cli.training.sam import Asam, Sam
from bnsharp_cli.training.sgds import Sgds
from tests.training.test_rules import VARIANTS, X, Y, built, closures, network


@pytest.fixture(scope="module")
def alone_in_a_group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What ``DistributedDataParallel`` wants, with one process."""
    store = Path(tmp_path_factory.mktemp("group")) / "store"
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def weights(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def after(rule: TrainingRule, steps: int = 3) -> Tensor:
    for step in range(steps):
        rule.step(*closures(rule.module, rule.batches_per_step, step))
    return weights(rule.module)


@pytest.mark.parametrize("wrapper", ["buckets", "buckets that are gradients", "compiled buckets", "buckets compiled"])
@pytest.mark.parametrize("variant", ["sgds corrected 2", "sgds exact-total 0", "asam", "entropy-sgd"])
@pytest.mark.usefixtures("alone_in_a_group")
@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0:RuntimeWarning")
def test_a_wrapped_network_is_trained_as_the_bare_one(variant: str, wrapper: str) -> None:
    module = network()
    compiled = torch.compile(module, backend="eager") if wrapper == "buckets compiled" else module
    wrapped = DistributedDataParallel(compiled, gradient_as_bucket_view="gradients" in wrapper)
    if wrapper == "compiled buckets":
        wrapped = torch.compile(wrapped, backend="eager")
    assert torch.equal(after(built(variant, wrapped)), after(built(variant, network())))


@pytest.mark.parametrize("variant", VARIANTS)
def test_copies_go_on_alike(variant: str) -> None:
    rule = built(variant, network(), momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(rule, 1)
    after(rule, 1)
    schedule.step()
    twins = [copy.deepcopy(rule), pickle.loads(pickle.dumps(rule))]
    before = weights(rule.module)
    ends = [after(twin) for twin in twins]
    assert torch.equal(weights(rule.module), before)
    assert torch.equal(after(rule), ends[0])
    assert torch.equal(*ends)


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_may_freeze_and_thaw(variant: str) -> None:
    module = network()
    last = [*module.parameters()][-2]
    rule = built(variant, module.requires_grad_())
    for takes in (False, True):
        last.requires_grad_(takes)
        before = last.detach().clone()
        after(rule, 1)
        assert torch.equal(last, before) != takes


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v != "entropy-sgd"])  # its noise is on every parameter
def test_what_has_no_gradient_does_not_decay(variant: str) -> None:
    module = network()
    module.idle = nn.Parameter(torch.ones(3))
    module.forward = lambda inputs: nn.Sequential(*[*module][: len(module)])(inputs)
    after(built(variant, module, weight_decay=0.1, momentum=0.9))
    assert torch.equal(module.idle, torch.ones(3))


@pytest.mark.parametrize("kind", [Sam, Asam, Sgds, EntropySgd])
def test_autocast_may_be_around_the_step_as_well_as_in_the_closure(kind: type[TrainingRule]) -> None:
    def trained(around: bool) -> Tensor:
        module = network()
        options = {
            Sam: {"rho": 1.0},
            Asam: {"rho": 1.0},
            Sgds: {"options": SgdsOptions(delta=0.1, coefficient=1.0, regulariser_clip=10.0, search_steps=1)},
            EntropySgd: {"options": EntropySgdOptions(langevin_steps=3)},
        }[kind]
        blocks = [bnsharp_cli.find_blocks(module, [(X, Y)])] if kind is Sgds else []
        rule = kind(module, *blocks, lr=0.1, **options)
        half = functools.partial(torch.autocast, "cpu", torch.bfloat16)
        inner, outer = (nullcontext, half) if around else (half, nullcontext)

        def closure() -> Tensor:
            with inner():
                return functional.cross_entropy(module(X), Y)

        with outer():
            for _ in range(2):
                rule.step(*[closure] * rule.batches_per_step)
        return weights(module)

    assert torch.equal(trained(around=True), trained(around=False))


class Assigning(nn.Module):
    """Keeps a mean of its inputs as many do, by another tensor in each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, inputs: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * inputs.mean(0)
        return self.linear(inputs - self.mean)


@pytest.mark.parametrize("variant", VARIANTS)
def test_statistics_that_are_assigned_see_the_plain_pass_alone(variant: str) -> None:
    module, reference = Assigning(), Assigning()
    rule = built(variant, module)
    rule.step(*closures(module, rule.batches_per_step))
    closures(reference, 1)[0]()
    assert torch.equal(module.mean, reference.mean)


def test_closures_that_a_rule_does_not_use_change_nothing() -> None:
    """A loop may offer the same number of batches to every rule."""
    for variant in VARIANTS:
        module, reference = network(), network()
        rule, expected = built(variant, module), built(variant, reference)
        rule.step(*closures(module, rule.batches_per_step + 2))
        expected.step(*closures(reference, expected.batches_per_step))
        assert torch.equal(weights(module), weights(reference)), variant


def test_the_search_drops_what_the_plain_pass_dropped_and_independent_batches_do_not() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    masks: list[Tensor] = []
    rule = built("sgds independent", module)
    module[1].register_forward_hook(lambda _, inputs, outputs: masks.append((outputs == 0) & (inputs[0] != 0)))
    rule.step(*closures(module, 3))
    plain, *searched = masks[:3]
    assert len(masks) == 5
    assert all(torch.equal(mask, plain) for mask in searched)
    assert not any(torch.equal(first, second) for first, second in ((plain, masks[3]), (masks[3], masks[4])))
