"""Options of the measures, declared once for the Python interface, the commands and the JSON document.

Importing this module does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar

from bnsharp_cli.core.ascent import CONTRACTION, CONVERGED, SearchRule
from bnsharp_cli.core.search_rules import RULES
from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.measures.shared_options import (
    SEED_HELP,
    Arithmetic,
    ParameterSelection,
    Precision,
    VariedParameters,
    require_arithmetic,
    require_known,
)
from bnsharp_cli.measurement.surface.settings import LayoutSetting, MemorySetting
from bnsharp_cli.option_records import OptionField, OptionRecord, bracketed, declared_fields, option, same_option

OptionRecordType = TypeVar("OptionRecordType", bound=OptionRecord)

BatchNormPolicy = Literal["batch", "running"]
"""Whether batch norm uses the statistics of the batch, as the paper's loss does, or running ones."""

ProbedPartition = Literal["paper", "extended"]
Partition = Literal["paper", "extended", "filter", "layer", "element"]
"""Which rows make a block; see :mod:`bnsharp_cli.measurement.blocks.blocks`."""

DEFAULT_RULE = "power"

LARGEST_POWER = 1000
"""From here on the p-mean is within 1 % of p = ∞."""

MOST_STEPS = 100_000
MOST_RESTARTS = 10_000
MOST_NODES = 1000
"""Far above what any value needs; a slip of the keyboard shall not cost days."""

LARGEST_SEED = 2**64 - 1
"""That torch takes; the smallest is -2**63."""

_RULE_NAMES = (DEFAULT_RULE, *(name for name in RULES if name != DEFAULT_RULE))


def _default_steps() -> str:
    """The default number of steps of every rule that takes any, in words."""
    phrases = []
    for rule in (RULES[name] for name in _RULE_NAMES):
        restarts = rule.restart_iterations
        some = f"{rule.name} {'at most ' if rule.adaptive else ''}{rule.iterations}"
        phrases.append(f"{some}, or {restarts} with {named('restarts')}; " if restarts else f"{some}, ")
    return "".join(phrase for phrase, name in zip(phrases, _RULE_NAMES, strict=True) if RULES[name].iterations)[:-2]


@dataclass(frozen=True)
class MeasureOptions(OptionRecord):
    """Everything that decides a value besides the network, its batches and the batch-norm policy.

    Attributes:
        delta: δ, the radius; relative to ‖θ_i‖ for invariant blocks, where it must be below 1.
        power: p ≥ 1 or ∞.
        search: a name in ``core.search_rules.RULES``.
        iterations: K₁ steps of the search from each start; None means the rule's default, of which an adaptive rule
            takes only as many as can change the value by more than ``rtol``.
        restarts: random starts besides the gradient.
        search_nodes: quadrature nodes of the search's objective, even; two suffice for small δ.
        rtol: wanted relative error of the quadrature.
        partition: ``paper``, where scale-invariant rows are blocks and all else has the radius 1; ``extended`` by every
            joint scale-invariance; or, with all radii relative, ``filter`` (rows and vectors), ``layer`` (tensors) or
            ``element`` (numbers).
        parameters: those that are varied, the others being constants: ``all``; ``trainable`` for those with
            ``requires_grad``; or globs of names, such as ``head.*``. A text, or several. It is kept as a tuple.
        precision: ``float32``, ``float64``, or ``auto``: float32, with the final integral again in float64 where
            rounding exceeds ``rtol``; or ``bfloat16``, with ``memory`` small.
        memory: ``ample``; or ``small``, where no second copy of the weights is held and the measures are those that
            need none.
        layout: memory layout of convolutions on the CPU: ``auto`` takes channels last where that is faster and known to
            be right, ``plain`` is torch's own.
        uncertainty: of the samples: ``cheap`` from the gradients of single batches, at no further pass, where the
            value is nearly a gradient norm; ``full`` from measuring on parts of the batches.
        seed: of everything random.
        particular: options of single search rules and measures by name, as far as they were given; see :meth:`of`.

    Raises:
        UsageError: an option that is unknown, of another type or out of range, or p = ∞ for a rule without it.

    >>> MeasureOptions(delta=0.01, restarts=3).steps
    100
    """

    delta: float = option(
        1e-3,
        "Radius.",
        expected="a positive number",
        accept=lambda delta: 0 < delta < math.inf,
        example="For example 1e-3.",
    )
    power: float = option(
        2.0,
        "p of the p-mean, at least 1, or inf.",
        short="p",
        expected=f"a number from 1 to {LARGEST_POWER}, or inf",
        accept=lambda power: 1 <= power <= LARGEST_POWER or power == math.inf,
        example="For example 2.",
    )
    search: str = option(
        DEFAULT_RULE,
        f"Search for the sharpest direction: {', '.join(_RULE_NAMES[:-1])} or {_RULE_NAMES[-1]}.",
        expected=f"one of {', '.join(RULES)}",
        accept=lambda name: name in RULES,
        example=f"For example {DEFAULT_RULE}.",
        metavar=bracketed(_RULE_NAMES),
        complete=lambda _: _RULE_NAMES,
    )
    iterations: int | None = option(
        None,
        f"Steps of the search [default: {_default_steps()}].",
        minimum=0,
        maximum=MOST_STEPS,
        example="For example 10.",
    )
    restarts: int = option(
        0,
        "Random starts of the search besides the gradient.",
        minimum=0,
        maximum=MOST_RESTARTS,
        example="For example 8.",
    )
    search_nodes: int = option(
        2,
        "Quadrature nodes of the search, even; more for large radii.",
        expected="an even number of at least 2",
        accept=lambda nodes: nodes >= 2 and nodes % 2 == 0,
        maximum=MOST_NODES,
        example="For example 6.",
    )
    rtol: float = option(
        1e-3,
        "Wanted relative error of the quadrature.",
        expected="a number in (0, 1)",
        accept=lambda rtol: 0 < rtol < 1,
        example="For example 1e-3.",
    )
    partition: Partition = option(
        "paper",
        "Blocks with radii relative to their norms: paper, the scale-invariant rows; extended by every joint "
        "scale-invariance such as (gamma, beta); filter, every row and vector; layer, every tensor; element, every "
        "number.",
        expected="one of paper, extended, filter, layer, element",
    )
    parameters: ParameterSelection = same_option(VariedParameters, "parameters")
    precision: Precision = same_option(Arithmetic, "precision")
    memory: MemorySetting = same_option(Arithmetic, "memory")
    layout: LayoutSetting = option(
        "auto", "Memory layout of convolutions on the CPU: auto, or plain for torch's own everywhere."
    )
    uncertainty: Literal["cheap", "full"] = option(
        "cheap",
        "What more samples would change: cheap, at no cost, or full, from parts of the batches.",
        expected="one of cheap, full",
    )
    seed: int = option(
        0,
        SEED_HELP,
        expected="a seed that torch takes, from -2**63 to 2**64 - 1",
        accept=lambda seed: -(2**63) <= seed <= LARGEST_SEED,
    )
    particular: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if isinstance(self.parameters, str):
            object.__setattr__(self, "parameters", (self.parameters,))
        super().__post_init__()
        self._require_particular()
        require_arithmetic(self.precision, self.memory)
        rule = RULES[self.search]
        if math.isinf(self.power) and rule.finite_power_by:
            raise UsageError.of(
                "power",
                f"a finite number with {named('search')} {self.search} ({rule.finite_power_by})",
                self.power,
                f"For p = inf choose {named('search')} {DEFAULT_RULE}.",
            )

    def _require_particular(self) -> None:
        if not isinstance(self.particular, Mapping):
            raise UsageError.of_type("particular", "a mapping", self.particular, "For example {'step_size': 0.5}.")
        require_known(self.particular, [one.name for one in particular_fields()])
        for record in _particular_records():
            self.of(record)

    def _require_own(self, one: OptionField) -> None:
        """Refuse an option of another search rule that is not at its default."""
        rules = [rule.name for rule in RULES.values() if one.name in {own.name for own in declared_fields(rule)}]
        found = self.particular.get(one.name, one.default)
        if self.search not in rules and found != one.default:
            raise UsageError(
                f"{named(one.name)}: {named('search')} {self.search} has no such option.",
                f"It is of {', '.join(rules)}.",
                argument=one.name,
                expected="an option of the search rule",
                found=found,
            )

    @classmethod
    def flat_fields(cls) -> tuple[OptionField, ...]:
        """All options, those of single rules and measures last."""
        return (*declared_fields(cls), *particular_fields())

    @classmethod
    def from_flat(cls, **flat: Any) -> Self:
        """The options from all names at one level, as the Python interface and the commands have them.

        >>> MeasureOptions.from_flat(delta=0.01, ball_samples=4).to_dict()["ball_samples"]
        4

        Raises:
            UsageError: an unknown name, a value that is not allowed, or an option of another search rule.
        """
        own = {one.name for one in declared_fields(cls)}
        require_known(flat, option_names())
        particular = {name: value for name, value in flat.items() if name not in own}
        made = cls(**{name: value for name, value in flat.items() if name in own}, particular=particular)
        for one in (one for rule in RULES.values() for one in declared_fields(rule)):
            made._require_own(one)
        return made

    def of(self, record: type[OptionRecordType]) -> OptionRecordType:
        """The options of a single rule or measure, as far as they were given, and else its defaults.

        >>> from bnsharp_cli.measurement.measures.sharpness_entries import BallOptions
        >>> MeasureOptions.from_flat(ball_samples=4).of(BallOptions)
        BallOptions(ball_samples=4)
        """
        names = [one.name for one in declared_fields(record)]
        return record(**{name: self.particular[name] for name in names if name in self.particular})

    @property
    def rule(self) -> SearchRule:
        """The search rule, with its own options."""
        return self.of(RULES[self.search])

    @property
    def steps(self) -> int:
        """The number K₁ of steps that the search may take."""
        if self.iterations is not None:
            return self.iterations
        rule = RULES[self.search]
        return rule.restart_iterations if self.restarts and rule.restart_iterations else rule.iterations

    @property
    def gap_tolerance(self) -> float:
        """The gap at which the search takes its last step: what it leaves is less than ``rtol``, if K₁ is not set."""
        return max(CONVERGED, self.rtol / CONTRACTION) if self._adaptive and not self.restarts else CONVERGED

    @property
    def least_gain(self) -> float:
        """The share of the value that some steps must gain for the search to go on, if K₁ is not set."""
        return self.rtol / 10 if self._adaptive else 0.0

    @property
    def _adaptive(self) -> bool:
        return RULES[self.search].adaptive and self.iterations is None

    def to_dict(self) -> dict[str, Any]:
        """Every option as resolved, at one level."""
        records = (self, *(self.of(record) for record in _particular_records()))
        return {
            **{one.name: getattr(record, one.name) for record in records for one in declared_fields(type(record))},
            "iterations": self.steps,
            "power": "inf" if math.isinf(self.power) else self.power,
            "parameters": list(self.parameters),
        }


def particular_fields() -> tuple[OptionField, ...]:
    """The options of all single rules and measures, each name once."""
    every = (one for record in _particular_records() for one in declared_fields(record))
    return tuple({one.name: one for one in every}.values())


def option_names() -> list[str]:
    """The names of all options, those of single rules and measures last."""
    return [one.name for one in MeasureOptions.flat_fields()]


def _particular_records() -> Iterator[type[OptionRecord]]:
    yield from (rule for rule in RULES.values() if declared_fields(rule))
    yield from (entry.options for entry in MEASURES.values() if entry.options is not None)
