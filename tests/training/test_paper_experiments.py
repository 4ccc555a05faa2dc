"""The paper's experiments as options: what Sec. 5 says of each cell."""

from __future__ import annotations

import pytest

from bnsharp_cli.errors import UsageError
from bnsharp_cli.training.paper_experiments import BUDGETS, EXPERIMENTS, PublishedResult, cells


def named(experiment: str, name: str, data: str = "cifar10", budget: str = "full") -> PublishedResult:
    (found,) = [cell for cell in cells(experiment, budget) if (cell.name, cell.data) == (name, data)]
    return found


def test_figure_1_is_lenet_with_batches_of_10000() -> None:
    assert [(cell.name, cell.published) for cell in cells("figure-1", "full")] == [
        ("SGD", 69.87),
        ("SGDS-0", 71.84),
        ("SGDS-5", 70.95),
    ]
    for cell in cells("figure-1", "full"):
        options = cell.options
        assert cell.arch == "lenet-bn"
        assert (options.batch_size, options.epochs, options.milestones) == (10_000, 200, (60, 120, 160))
        assert (options.learning_rate, options.momentum, options.weight_decay, options.decay) == (0.2, 0.9, 5e-4, 0.1)
    own = named("figure-1", "SGDS-5").options.own_options
    assert (own.delta, own.power, own.regulariser_clip, own.search_steps) == (1e-3, 2, 0.1, 5)
    assert (own.coefficient, own.growth) == (1e-4, 1.02)
    assert (own.regulariser_gradient, own.regulariser_batches) == ("printed", "independent")


def test_the_tables_are_vgg_with_and_without_weight_decay() -> None:
    for experiment, batch in (("table-1", 128), ("table-2", 2048)):
        found = cells(experiment, "full")
        assert len(found) == 16
        assert {cell.arch for cell in found} == {"vgg11-bn"}
        assert {cell.options.batch_size for cell in found} == {batch}
        for cell in found:
            assert cell.options.weight_decay == (5e-4 if cell.name.endswith("-5e-4") else 0.0)
    assert named("table-1", "SGD").options.augment == ("crop", "flip")
    assert named("table-1", "SGD", "digits", "smoke").options.augment == ()
    assert named("figure-1", "SGD").options.augment == ()
    assert named("table-1", "SGD").published == 90.5
    assert named("table-2", "SGDS-0-5e-4", "cifar100").published == 65.31
    assert named("table-1", "SGDS-0-0").options.own_options.delta == 5e-4
    assert named("table-1", "SGDS-0-0", "cifar100").options.own_options.delta == 1e-3
    rates = {name: named("table-1", name).options.learning_rate for name in ("SGD", "SGDS-0-0", "E-SGD-0")}
    assert rates == {"SGD": 0.1, "SGDS-0-0": 0.2, "E-SGD-0": 0.01}
    assert named("table-2", "E-SGD-0").options.learning_rate == 0.1
    assert named("table-2", "E-SGD-0").options.own_options.scoping == 0, "the paper left it off"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("budget", BUDGETS)
def test_budgets_keep_the_shares_of_the_schedule(experiment: str, budget: str) -> None:
    for cell in cells(experiment, budget):
        options = cell.options
        assert len(options.milestones) == 3
        for milestone, share in zip(options.milestones, (0.3, 0.6, 0.8), strict=True):
            assert abs(milestone - share * options.epochs) <= 0.5
    keys = [(cell.name, cell.data) for cell in cells(experiment, budget)]
    assert len(set(keys)) == len(keys)


def test_unknown_names() -> None:
    for arguments, says in (
        (("table-3", "full"), "figure-1, table-1, table-2"),
        (("table-1", "big"), "smoke, cpu, full"),
    ):
        with pytest.raises(UsageError, match=says):
            cells(*arguments)
