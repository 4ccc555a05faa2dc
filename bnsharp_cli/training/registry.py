"""Every training rule by its name: what it does, what it costs, its options, and where its class is.

A new rule is a class in a file of its own and its entry here, with a record of its options if it has any. Commands
read this table for their help, so nothing here imports torch: a rule's class is imported when a network is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.measures.options import LARGEST_POWER
from bnsharp_cli.option_records import OptionRecord, option
from bnsharp_cli.training.ranges import FRACTION, FROM_ZERO, LENGTH, POSITIVE

if TYPE_CHECKING:
    from bnsharp_cli.training.rules import TrainingRule


@dataclass(frozen=True)
class RuleOptions(OptionRecord):
    """The options of one rule, besides those that every rule has; of these there are none here."""

    recorded_as: ClassVar[Mapping[str, str]] = {}
    """Names that checkpoints and states have for fields, where they are not the fields' own."""

    @classmethod
    def of_run(cls, seed: int, **given: Any) -> Self:
        """The options of a training run, from those that were given; a rule that draws random numbers uses its seed."""
        del seed
        return cls(**given)

    @property
    def gradients_per_step(self) -> int:
        """The number of gradients that one step computes."""
        return 1

    def to_dict(self) -> dict[str, object]:
        """Every option by the name that checkpoints have for it."""
        return {self.recorded_as.get(name, name): value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class SgdsOptions(RuleOptions):
    """The regulariser λ · BN-Sharpness^p of :class:`~bnsharp_cli.training.sgds.Sgds`, and how it is differentiated.

    Attributes:
        delta: δ in (0, 1), the radius along v ∈ φ(θ).
        power: p, even.
        coefficient: λ of the first epoch, from 0 on.
        growth: factor of λ at the end of every epoch.
        search_steps: K₁, power steps towards the sharpest direction; 0 takes Eq. (6), the gradient's.
        regulariser_clip: largest norm of the regulariser's gradient, λ included; a longer one is shortened to it.
        regulariser_gradient: ``corrected`` is Eq. (15) with the sign that makes it a gradient, ``printed`` is Eq. (15)
            as printed, ``exact`` the gradient of the integral at fixed v, ``exact-total`` that with v ∈ φ(θ) moving
            with θ.
        regulariser_batches: ``same`` for all gradients of a step, or ``independent`` ones for the two of Eq. (15)
            (Sec. 5), which the exact gradients cannot have.
        nodes: Gauss nodes of the exact gradients, at least 2.

    >>> SgdsOptions(search_steps=1).gradients_per_step
    5
    """

    recorded_as: ClassVar[Mapping[str, str]] = {
        "regulariser_gradient": "form",
        "regulariser_batches": "batches",
        "regulariser_clip": "clip",
    }

    delta: float = option(
        1e-3,
        "radius δ along the sharpest direction",
        expected="a number in (0, 1)",
        accept=lambda delta: 0 < delta < 1,
    )
    power: int = option(
        2,
        "exponent p, even",
        expected=f"an even number (Algorithm 1) from 2 to {LARGEST_POWER}",
        accept=lambda power: 2 <= power <= LARGEST_POWER and power % 2 == 0,
    )
    coefficient: float = option(1e-4, "λ, of the first epoch", flag="lambda", **FROM_ZERO)
    growth: float = option(1.02, "factor of λ at the end of each epoch", flag="lambda-growth", **POSITIVE)
    search_steps: int = option(0, "search steps K₁; 0 takes the gradient, Eq. (6)", **FROM_ZERO)
    regulariser_clip: float = option(
        0.1,
        "largest norm of λ times the regulariser's gradient",
        metavar="NORM",
        **LENGTH,
    )
    regulariser_gradient: Literal["corrected", "printed", "exact", "exact-total"] = option(
        "corrected",
        "gradient of the regulariser: corrected (Eq. 15 with its sign put right), printed (Eq. 15), "
        "exact (of the integral) or exact-total (with v moving with the weights)",
    )
    regulariser_batches: Literal["same", "independent"] = option(
        "same",
        "batches of the two gradients of Eq. (15): same, or independent as in the paper",
        expected="one of same, independent",
    )
    nodes: int = option(8, "Gauss nodes of the exact gradients", minimum=2, maximum=1000, python_only=True)

    def __post_init__(self) -> None:
        """Refuse what has no meaning, alone or together.

        Raises:
            UsageError: naming the argument.
        """
        super().__post_init__()
        if self.regulariser_batches == "independent" and self.exact:
            raise UsageError(
                f"The form {self.regulariser_gradient} compares losses on one batch.",
                "Use the same batches, or the form corrected.",
                argument="regulariser_batches",
                expected="same",
                found=self.regulariser_batches,
            )

    @property
    def exact(self) -> bool:
        """Whether the integral is differentiated instead of using Eq. (15)."""
        return self.regulariser_gradient.startswith("exact")

    @property
    def gradients_per_step(self) -> int:
        """The plain one, two for each search step, and those of the regulariser."""
        return 1 + 2 * self.search_steps + (self.nodes if self.exact else 2)


@dataclass(frozen=True)
class EntropySgdOptions(RuleOptions):
    """The inner steps of :class:`~bnsharp_cli.training.entropy_sgd.EntropySgd`.

    Attributes:
        langevin_steps: L, each with a batch of its own.
        scope: γ at the start.
        scoping: γ grows by the factor 1 + scoping at every step. The widespread code never advances its count of
            steps, so its scoping is inert, as 0 is here.
        langevin_noise: ε.
        langevin_lr: η'.
        langevin_averaging: α, in [0, 1).
        langevin_seed: of the noise; every process of several has the same.

    >>> EntropySgdOptions(langevin_steps=5).gradients_per_step
    5
    """

    recorded_as: ClassVar[Mapping[str, str]] = {"scope": "langevin_scope", "scoping": "langevin_scoping"}

    langevin_steps: int = option(
        20,
        "inner steps L, each with a batch of its own",
        minimum=1,
    )
    scope: float = option(0.03, "γ of the first step", **FROM_ZERO)
    scoping: float = option(0.0, "growth of γ at each step", **FROM_ZERO)
    langevin_noise: float = option(1e-4, "noise ε of the inner steps", python_only=True, **FROM_ZERO)
    langevin_lr: float = option(0.1, "length η' of an inner step", python_only=True, **POSITIVE)
    langevin_averaging: float = option(0.75, "share α of the old mean", python_only=True, **FRACTION)
    langevin_seed: int = option(0, "seed of the noise", python_only=True)

    @classmethod
    def of_run(cls, seed: int, **given: Any) -> Self:
        """See :meth:`RuleOptions.of_run`; the noise has the seed of the run."""
        return cls(**{"langevin_seed": seed, **given})

    @property
    def gradients_per_step(self) -> int:
        """One for each inner step."""
        return self.langevin_steps


@dataclass(frozen=True)
class SamOptions(RuleOptions):
    """The radius of :class:`~bnsharp_cli.training.sam.Sam` and :class:`~bnsharp_cli.training.sam.Asam`.

    Attributes:
        rho: ρ, from 0 on, where 0 is plain descent; None for the authors' 0.05, and 0.5 for Asam.

    >>> SamOptions(rho=0.1).gradients_per_step
    2
    """

    rho: float | None = option(None, "radius ρ", shown_default="0.05, and 0.5 for asam", **FROM_ZERO)

    @property
    def gradients_per_step(self) -> int:
        """The plain one, and the one at the top of the ball."""
        return 2


@dataclass(frozen=True)
class RuleEntry:
    """A training rule, for lists and for whoever chooses it by its name.

    Attributes:
        name: as the Python interface and the commands take it.
        summary: what it does, one line.
        cost: gradients of a step, in words; :attr:`RuleOptions.gradients_per_step` is their number.
        source: where it was published.
        load: ``module:class`` of the :class:`~bnsharp_cli.training.rules.TrainingRule`; imported on first use.
        options: the record of the options that only this rule has.
    """

    name: str
    summary: str
    cost: str
    source: str
    load: str
    options: type[RuleOptions] = RuleOptions

    @property
    def rule_class(self) -> type[TrainingRule]:
        """The class of the rule, imported on first use."""
        module, _, name = self.load.partition(":")
        return cast("type[TrainingRule]", getattr(import_module(module), name))


_HERE = "bnsharp_cli.training"

_ENTRIES = (
    RuleEntry(
        name="sgd",
        summary="stochastic gradient descent with momentum",
        cost="1 gradient",
        source="Robbins and Monro, 1951",
        load=f"{_HERE}.rules:Sgd",
    ),
    RuleEntry(
        name="sgds",
        summary="SGD on the loss and λ · BN-Sharpness^p",
        cost="3 gradients, and 2 more for each search step",
        source="Yi et al., IJCAI 2019, Algorithm 1",
        load=f"{_HERE}.sgds:Sgds",
        options=SgdsOptions,
    ),
    RuleEntry(
        name="entropy-sgd",
        summary="descent of the local entropy, which is large in wide valleys",
        cost="1 gradient for each inner step",
        source="Chaudhari et al., ICLR 2017, Algorithm 1",
        load=f"{_HERE}.entropy_sgd:EntropySgd",
        options=EntropySgdOptions,
    ),
    RuleEntry(
        name="sam",
        summary="sharpness-aware minimisation: the gradient at the top of a ball",
        cost="2 gradients",
        source="Foret et al., ICLR 2021",
        load=f"{_HERE}.sam:Sam",
        options=SamOptions,
    ),
    RuleEntry(
        name="asam",
        summary="SAM with a radius relative to each weight",
        cost="2 gradients",
        source="Kwon et al., ICML 2021",
        load=f"{_HERE}.sam:Asam",
        options=SamOptions,
    ),
)

TRAINING_RULES: dict[str, RuleEntry] = {entry.name: entry for entry in _ENTRIES}


def registered_rule(name: str) -> RuleEntry:
    """The rule of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in TRAINING_RULES:
        raise UsageError.of("rule", f"one of {', '.join(TRAINING_RULES)}", name, "For example sgd.")
    return TRAINING_RULES[name]
