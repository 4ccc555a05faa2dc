"""Everything that decides the outcome of a training run besides data and architecture, declared once.

Imports nothing heavy: commands read the declarations for their help.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.measurement.measures.shared_options import seed_option
from bnsharp_cli.option_records import OptionField, OptionRecord, bracketed, declared_fields, option, shortest
from bnsharp_cli.training.ranges import FRACTION, FROM_ZERO, LENGTH, POSITIVE
from bnsharp_cli.training.registry import TRAINING_RULES, RuleOptions, registered_rule

_NAMES = tuple(TRAINING_RULES)


def _read_names(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


@dataclass(frozen=True)
class TrainingOptions(OptionRecord):
    """How a network is trained.

    Attributes:
        rule: a name in ``TRAINING_RULES``.
        epochs: passes over the training data, at least 1.
        batch_size: samples in a batch, over all processes; an incomplete last batch of an epoch is left out.
        learning_rate: the learning rate of the first epoch.
        momentum: in [0, 1).
        nesterov: Nesterov's momentum, which needs a momentum above 0.
        weight_decay: factor of the L2 penalty.
        clip_gradient: longer gradients are shortened to this norm; None shortens none.
        schedule: how the learning rate changes over the epochs.
        milestones: epochs (from 0) at whose start the learning rate is multiplied by ``decay``; for ``step``.
        decay: factor at each milestone, in (0, 1].
        augment: what is done to every batch of images.
        amp: mixed precision, which needs CUDA; None for full precision.
        seed: the seed of the initial weights, of the batches and of everything else that is random.
        rule_options: those of the rule alone; None for its defaults.

    Raises:
        UsageError: a value out of range, or values that do not fit together.

    >>> TrainingOptions(epochs=0)
    Traceback (most recent call last):
    bnsharp_cli.errors.UsageError: epochs: expected at least 1, found 0. For example 20.
    """

    rule: str = option(
        "sgd",
        f"Training rule: {', '.join(_NAMES[:-1])} or {_NAMES[-1]}.",
        expected=f"one of {', '.join(_NAMES)}",
        accept=lambda name: name in TRAINING_RULES,
        example="For example sgd.",
        metavar=bracketed(TRAINING_RULES),
        complete=lambda _: TRAINING_RULES,
    )
    epochs: int = option(
        20,
        "Passes over the training data.",
        minimum=1,
    )
    batch_size: int = option(
        128,
        "Samples in a batch, over all processes.",
        minimum=2,
    )
    learning_rate: float = option(0.1, "Learning rate of the first epoch.", **POSITIVE)
    momentum: float = option(
        0.9,
        "Momentum, in [0, 1).",
        **FRACTION,
    )
    weight_decay: float = option(0.0, "Factor of the L2 penalty.", **FROM_ZERO)
    nesterov: bool = option(False, "Use Nesterov's momentum.")
    schedule: Literal["step", "cosine"] = option(
        "step",
        f"Learning rate over the epochs: step (at each {named('milestones')}) or cosine (to 0).",
        expected="one of step, cosine",
    )
    milestones: tuple[int, ...] = option(
        (),
        "Epoch at which the learning rate is decayed; repeatable.",
        flag="milestone",
        expected="epochs, counted from 0",
        accept=lambda epochs: all(epoch >= 0 for epoch in epochs),
        example="For example 10.",
    )
    decay: float = option(
        0.1,
        "Factor of the learning rate at each milestone.",
        expected="a number in (0, 1]",
        accept=lambda decay: 0 < decay <= 1,
    )
    clip_gradient: float | None = option(
        None,
        "Shorten gradients that are longer than this.",
        metavar="NORM",
        example="For example 1.",
        **LENGTH,
    )
    augment: tuple[Literal["crop", "flip"], ...] = option(
        (),
        "Random crop, flip, or crop,flip of every batch of images.",
        metavar=bracketed(("crop", "flip", "crop,flip")),
        expected="one of crop, flip",
        read=_read_names,
    )
    amp: Literal["bf16", "fp16"] | None = option(
        None,
        "Mixed precision on CUDA: bf16 or fp16.",
        expected="one of bf16, fp16",
    )
    seed: int = seed_option("Seed of the initial weights and the batches.")
    rule_options: RuleOptions | None = None

    def __post_init__(self) -> None:
        """Refuse what is out of range, and what does not fit together.

        Raises:
            UsageError: naming the argument.
        """
        super().__post_init__()
        if self.nesterov and not self.momentum:
            raise UsageError.of(
                "nesterov", f"a {named('momentum')} above 0", shortest(self.momentum), "For example 0.9."
            )
        if self.milestones and self.schedule != "step":
            raise UsageError(
                f"{named('milestones')}: {named('schedule')} {self.schedule} has none.",
                "Leave one of them out.",
                argument="milestones",
                expected="none",
                found=self.milestones,
            )
        own = registered_rule(self.rule).options
        if self.rule_options is not None and type(self.rule_options) is not own:
            found = type(self.rule_options).__name__
            raise UsageError.of("rule_options", own.__name__, found, f"They belong to {named('rule')} {self.rule}.")

    @classmethod
    def flat_fields(cls) -> tuple[OptionField, ...]:
        """All options, those of single rules last; None of these is the rule's own default."""
        return (*declared_fields(cls), *rule_fields())

    @classmethod
    def from_flat(cls, **flat: Any) -> Self:
        """The options from all names at one level, as the commands have them.

        >>> TrainingOptions.from_flat(rule="sam", rho=0.1, delta=None).rule_options
        SamOptions(rho=0.1)

        Raises:
            UsageError: an option of another rule, or a value that is not allowed.
        """
        own = {one.name for one in declared_fields(cls)}
        common = {name: value for name, value in flat.items() if name in own}
        given = {name: value for name, value in flat.items() if name not in own and value is not None}
        rule = common.get("rule", cls.rule)
        return cls(**common, rule_options=_rule_options(rule, given, common.get("seed", cls.seed)))

    @property
    def own_options(self) -> RuleOptions:
        """The options of the rule alone; its defaults where none were given."""
        return registered_rule(self.rule).options() if self.rule_options is None else self.rule_options

    def to_dict(self) -> dict[str, object]:
        """All options in plain containers, for the checkpoint; those of the rule are entries like the others."""
        common = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "rule_options"}
        every = {**common, **self.own_options.to_dict()}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in every.items()}


def rule_fields() -> tuple[OptionField, ...]:
    """The options of all single rules, each name once and with its rules in the help; none is given by default."""
    fields_of: dict[str, tuple[OptionField, list[str]]] = {}
    for rule in TRAINING_RULES.values():
        for one in declared_fields(rule.options):
            if one.declared.python_only:
                continue
            fields_of.setdefault(one.name, (one, []))[1].append(rule.name)
    return tuple(_of_rules(one, rules) for one, rules in fields_of.values())


def _of_rules(one: OptionField, rules: list[str]) -> OptionField:
    declared = replace(
        one.declared,
        help=f"{', '.join(rules)}: {one.declared.help}.",
        shown_default=one.declared.shown_default or str(shortest(one.default)),
    )
    return OptionField(one.name, one.annotation | None, None, declared)


def _rule_options(rule: str, given: Mapping[str, Any], seed: int) -> RuleOptions | None:
    """The options of ``rule``; None where there is no such rule.

    Raises:
        UsageError: an option that belongs to another rule, or that is out of range.
    """
    if rule not in TRAINING_RULES:
        return None
    own = TRAINING_RULES[rule].options
    names = {entry.name for entry in fields(own)}
    for name in given:
        if name not in names:
            rules = [
                other.name for other in TRAINING_RULES.values() if name in {one.name for one in fields(other.options)}
            ]
            raise UsageError(
                f"{named(name)}: {named('rule')} {rule} has no such option.",
                f"It is of {', '.join(rules)}." if rules else "No rule has it.",
                argument=name,
                expected="an option of the rule",
                found=given[name],
            )
    return own.of_run(seed, **given)
