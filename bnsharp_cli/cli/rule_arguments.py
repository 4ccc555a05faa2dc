"""Options of single training rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnsharp_cli.errors import UsageError, named

if TYPE_CHECKING:
    from bnsharp_cli.training.registry import RuleOptions

_SGDS, _ENTROPY, _SAM = "sgds", "entropy-sgd", "sam, asam"


def _of(rule: str, text: str, metavar: str | None = None, *names: str) -> Any:
    return typer.Option(*names, help=f"{rule}: {text}", metavar=metavar, show_default=False)


Name = Annotated[str, typer.Option(help="Training rule: sgd, sgds, entropy-sgd, sam or asam.")]
Delta = Annotated[float | None, _of(_SGDS, "radius δ along the sharpest direction [default: 0.001].")]
Power = Annotated[int | None, _of(_SGDS, "exponent p, even [default: 2].")]
Coefficient = Annotated[float | None, _of(_SGDS, "λ, of the first epoch [default: 0.0001].", None, "--lambda")]
Growth = Annotated[
    float | None, _of(_SGDS, "factor of λ at the end of each epoch [default: 1.02].", None, "--lambda-growth")
]
SearchSteps = Annotated[int | None, _of(_SGDS, "search steps K₁; 0 takes the gradient, Eq. (6) [default: 0].")]
Clip = Annotated[float | None, _of(_SGDS, "largest norm of λ times the regulariser's gradient [default: 0.1].", "NORM")]
Form = Annotated[
    str | None,
    _of(_SGDS, "gradient of the regulariser: corrected (Eq. 15 with its sign put right), printed (Eq. 15), "
        "exact (of the integral) or exact-total (with v moving with the weights) [default: corrected].", "FORM"),
]  # fmt: skip
Batches = Annotated[
    str | None,
    _of(_SGDS, "batches of the two gradients of Eq. (15): same, or independent as in the paper [default: same].",
        "WHICH"),
]  # fmt: skip
Rho = Annotated[float | None, _of(_SAM, "radius ρ [default: 0.05, and 0.5 for asam].")]
LangevinSteps = Annotated[int | None, _of(_ENTROPY, "inner steps L, each with a batch of its own [default: 20].")]
Scope = Annotated[float | None, _of(_ENTROPY, "γ of the first step [default: 0.03].")]
Scoping = Annotated[float | None, _of(_ENTROPY, "growth of γ at each step [default: 0].")]

_NAMES = {
    "sgds": (
        "delta",
        "power",
        "coefficient",
        "growth",
        "search_steps",
        "regulariser_clip",
        "regulariser_gradient",
        "regulariser_batches",
    ),
    "entropy-sgd": ("langevin_steps", "scope", "scoping"),
    "sam": ("rho",),
    "asam": ("rho",),
}


def chosen_rule(rule: str, given: Mapping[str, Any], seed: int) -> RuleOptions | None:
    """The options of ``rule`` among ``given``; None for a rule that there is not.

    Raises:
        UsageError: one that belongs to another rule, or that is out of range.
    """
    from bnsharp_cli.training.registry import TRAINING_RULES

    if rule not in TRAINING_RULES:
        return None
    names = dict.fromkeys(name for own in _NAMES.values() for name in own)
    present = {name: value for name in names if (value := given.get(name)) is not None}
    for name in present:
        if name not in _NAMES.get(rule, ()):
            of = ", ".join(other for other, own in _NAMES.items() if name in own)
            raise UsageError(f"{named(name)}: {named('rule')} {rule} has no such option.", f"It is of {of}.")
    seeds = {"langevin_seed": seed} if rule == "entropy-sgd" else {}
    return TRAINING_RULES[rule].options(**present, **seeds)
