"""Rules whose steps another optimiser of torch takes."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor, nn

from bnsharp_cli.training.rules import TrainingRule
from bnsharp_cli.training.sam import Sam
from tests.border.plain_loops import BASES, PLAIN, flat, loss_of, network, plain_sam, step_side_by_side


@pytest.mark.parametrize("scheduled", [False, True], ids=["the rule is scheduled", "the base is scheduled"])
@pytest.mark.parametrize("base", BASES)
def test_any_optimiser_of_torch_takes_sams_steps(base: str, scheduled: bool) -> None:
    module, reference = network(), network()
    driven = BASES[base](module.parameters())
    mine = Sam(module, base=driven, rho=0.5)
    theirs = BASES[base](reference.parameters())
    schedules = [torch.optim.lr_scheduler.ExponentialLR(one, 0.5) for one in (driven if scheduled else mine, theirs)]
    for step in range(4):
        torch.manual_seed(step)
        mine.step(loss_of(module))
        torch.manual_seed(step)
        plain_sam(reference, theirs, 0.5)
        for schedule in schedules:
            schedule.step()
    torch.testing.assert_close(flat(module), flat(reference))


@pytest.mark.parametrize("rule", ["asam", "sgds"])
def test_a_rule_that_degenerates_is_its_base(rule: str) -> None:
    module, reference = network(), network()
    mine = PLAIN[rule](module, base=BASES["adamw"](module.parameters()))
    theirs = BASES["adamw"](reference.parameters())
    step_side_by_side(mine, module, theirs, reference, 4)
    assert torch.equal(flat(module), flat(reference))


@pytest.mark.parametrize("base", [*BASES, None])
def test_copies_and_states_go_on_with_a_base(base: str | None) -> None:
    def built(module: nn.Module) -> Sam:
        more = {"lr": 0.1, "momentum": 0.9} if base is None else {"base": BASES[base](module.parameters())}
        return Sam(module, rho=0.5, **more)

    def go_on(rule: TrainingRule, module: nn.Module) -> Tensor:
        for step in range(3):
            torch.manual_seed(step)
            rule.step(loss_of(module))
        return flat(module)

    module = network()
    rule = built(module)
    go_on(rule, module)
    stream = io.BytesIO()
    torch.save(rule.state_dict(), stream)
    stream.seek(0)
    other, twin = copy.deepcopy(module), copy.deepcopy(rule)
    resumed = built(other)
    resumed.load_state_dict(torch.load(stream, weights_only=True))
    assert (resumed.steps, resumed.epochs) == (3, 0)
    expected = go_on(rule, module)
    assert torch.equal(go_on(resumed, other), expected)
    assert torch.equal(go_on(twin, twin.module), expected)
    assert twin.module is not module


def test_a_state_loaded_into_the_base_is_that_of_the_rule() -> None:
    """The two share groups and state, whichever of them is loaded, scheduled or given a group."""
    module, earlier = network(), network()
    before = BASES["adamw"](earlier.parameters())
    for _ in range(2):
        plain_sam(earlier, before, 0.5)
    module.load_state_dict(earlier.state_dict())
    base = BASES["adamw"](module.parameters())
    rule = Sam(module, base=base, rho=0.5)
    base.load_state_dict(copy.deepcopy(before.state_dict()))
    torch.manual_seed(5)
    rule.step(loss_of(module))
    torch.manual_seed(5)
    plain_sam(earlier, before, 0.5)
    torch.testing.assert_close(flat(module), flat(earlier))
    extra = nn.Parameter(torch.ones(2))
    base.add_param_group({"params": [extra]})
    assert any(one is extra for one in rule.trained.values())
    assert rule.state is base.state
    assert rule.steps == 1
