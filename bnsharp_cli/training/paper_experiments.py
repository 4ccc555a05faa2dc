"""The paper's experiments (Yi et al. 2019, Sec. 5): figure 1 and tables 1 and 2, as published and scaled down.

The paper does not speak of augmentation. VGG11 does not come near its 91.67 % on CIFAR-10 without the usual crops and
flips, so the tables have them; LeNet's figure does not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from bnsharp_cli.errors import UsageError, named, shown
from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.training.registry import EntropySgdOptions, RuleOptions, SgdsOptions

_MILESTONES = (60, 120, 160)
_EPOCHS = 200
_DECAY = 5e-4


@dataclass(frozen=True)
class PublishedResult:
    """One number of the paper and the training that gave it.

    Attributes:
        experiment: ``figure-1``, ``table-1`` or ``table-2``.
        name: the paper's, such as ``SGDS-5-5e-4``: K₁ = 5 and weight decay 5e-4.
        data: ``cifar10`` or ``cifar100``.
        arch: the network.
        options: the options of the training, except the seed.
        published: the paper's test accuracy in percent.
    """

    experiment: str
    name: str
    data: str
    arch: str
    options: TrainingOptions
    published: float


@dataclass(frozen=True)
class ExperimentBudget:
    """How much of an experiment is done.

    Attributes:
        epochs: instead of 200; the learning rate decays at the same shares of them.
        samples: how many of the training split are used; None for all.
        batch: the largest batch size; None for no limit.
        langevin_steps: of Entropy-SGD, instead of 20.
        arch: instead of the cell's network; None for the cell's.
        data: instead of the cell's data; None for the cell's.
    """

    epochs: int = _EPOCHS
    samples: int | None = None
    batch: int | None = None
    langevin_steps: int = 20
    arch: str | None = None
    data: str | None = None

    def scaled(self, cell: PublishedResult) -> PublishedResult:
        """The cell as this budget allows it."""
        options, rule = cell.options, cell.options.own_options
        if isinstance(rule, EntropySgdOptions):
            rule = replace(rule, langevin_steps=self.langevin_steps)
        share = self.epochs / _EPOCHS
        options = replace(
            options,
            epochs=self.epochs,
            milestones=tuple(round(milestone * share) for milestone in _MILESTONES),
            batch_size=min(options.batch_size, self.batch or options.batch_size),
            augment=() if self.data else options.augment,
            rule_options=rule,
        )
        return replace(cell, options=options, arch=self.arch or cell.arch, data=self.data or cell.data)


BUDGETS: Mapping[str, ExperimentBudget] = {
    "smoke": ExperimentBudget(3, None, 256, 4, "lenet-bn", "digits"),
    "cpu": ExperimentBudget(20, 5000, 1000, 5),
    "full": ExperimentBudget(),
}
"""``smoke`` shows that everything runs; ``cpu`` takes hours of two cores; ``full`` is the paper's, for a GPU."""

_FIGURE_1 = {"SGD": 69.87, "SGDS-0": 71.84, "SGDS-5": 70.95}
_TABLES: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "table-1": {
        "cifar10": {
            "SGD-5e-4": 91.67, "SGDS-0-5e-4": 91.78, "SGDS-5-5e-4": 91.55, "E-SGD-5e-4": 91.03,
            "SGD": 90.5, "SGDS-0-0": 90.53, "SGDS-5-0": 90.53, "E-SGD-0": 89.96,
        },
        "cifar100": {
            "SGD-5e-4": 69.33, "SGDS-0-5e-4": 69.07, "SGDS-5-5e-4": 68.53, "E-SGD-5e-4": 67.37,
            "SGD": 65.5, "SGDS-0-0": 65.45, "SGDS-5-0": 64.82, "E-SGD-0": 63.45,
        },
    },
    "table-2": {
        "cifar10": {
            "SGD-5e-4": 89.6, "SGDS-0-5e-4": 90.51, "SGDS-5-5e-4": 90.35, "E-SGD-5e-4": 89.67,
            "SGD": 88.5, "SGDS-0-0": 88.58, "SGDS-5-0": 88.9, "E-SGD-0": 87.13,
        },
        "cifar100": {
            "SGD-5e-4": 63.83, "SGDS-0-5e-4": 65.31, "SGDS-5-5e-4": 64.8, "E-SGD-5e-4": 61.02,
            "SGD": 62.17, "SGDS-0-0": 62.25, "SGDS-5-0": 61.8, "E-SGD-0": 56.68,
        },
    },
}  # fmt: skip
_BATCH = {"table-1": 128, "table-2": 2048}
EXPERIMENTS = ("figure-1", *_TABLES)


def cells(experiment: str, budget: str) -> list[PublishedResult]:
    """The cells of an experiment in the paper's order; those that a budget makes equal appear once.

    Args:
        experiment: in ``EXPERIMENTS``.
        budget: in ``BUDGETS``.

    Raises:
        UsageError: an unknown experiment or budget.

    >>> [cell.name for cell in cells("figure-1", "full")]
    ['SGD', 'SGDS-0', 'SGDS-5']
    """
    _require_known("experiment", "experiment", experiment, EXPERIMENTS)
    _require_known("budget", named("budget"), budget, BUDGETS)
    found = [BUDGETS[budget].scaled(cell) for cell in _published(experiment)]
    return [cell for number, cell in enumerate(found) if not any(_same(cell, earlier) for earlier in found[:number])]


def _require_known(argument: str, words: str, found: str, known: Collection[str]) -> None:
    """Refuse a name that is not among ``known``; ``words`` name the argument in the sentence, marked if it is one."""
    if found not in known:
        expected = f"one of {', '.join(known)}"
        reason = f"{words}: expected {expected}, found '{shown(found)}'."
        raise UsageError(reason, f"For example {next(iter(known))}.", argument=argument, expected=expected, found=found)


def _same(cell: PublishedResult, other: PublishedResult) -> bool:
    return (cell.name, cell.data) == (other.name, other.data)


def _published(experiment: str) -> Iterator[PublishedResult]:
    if experiment == "figure-1":
        for name, accuracy in _FIGURE_1.items():
            options = _options(name, 10_000, 0.2, _DECAY, 1e-3)
            yield PublishedResult(experiment, name, "cifar10", "lenet-bn", options, accuracy)
        return
    for data, row in _TABLES[experiment].items():
        for name, accuracy in row.items():
            delta = 5e-4 if data == "cifar10" else 1e-3
            decay = _DECAY if name.endswith("5e-4") else 0.0
            rate = 0.2 if name.startswith("SGDS") else 0.1
            if name.startswith("E-SGD") and experiment == "table-1":
                rate = 0.01
            options = replace(_options(name, _BATCH[experiment], rate, decay, delta), augment=("crop", "flip"))
            yield PublishedResult(experiment, name, data, "vgg11-bn", options, accuracy)


def _rule(name: str, delta: float) -> tuple[str, RuleOptions]:
    """The paper's own recipe for SGDS: Eq. (15) as printed, its two gradients on batches of their own (Sec. 5)."""
    if name.startswith("SGDS"):
        steps = int(name.split("-")[1])
        return "sgds", SgdsOptions(
            delta=delta, search_steps=steps, regulariser_gradient="printed", regulariser_batches="independent"
        )
    return ("entropy-sgd", EntropySgdOptions()) if name.startswith("E-") else ("sgd", RuleOptions())


def _options(name: str, batch: int, rate: float, decay: float, delta: float) -> TrainingOptions:
    rule, rule_options = _rule(name, delta)
    return TrainingOptions(
        rule=rule,
        epochs=_EPOCHS,
        batch_size=batch,
        learning_rate=rate,
        momentum=0.9,
        weight_decay=decay,
        milestones=_MILESTONES,
        rule_options=rule_options,
    )
