"""Options of single training rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnsharp_cli.errors import UsageError

if TYPE_CHECKING:
    from bnsharp_cli.training.catalogue import RuleOptions

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

_SHARPNESS = {
    "delta": "delta",
    "power": "power",
    "coefficient": "coefficient",
    "growth": "growth",
    "search_steps": "search_steps",
    "regulariser_clip": "clip",
    "regulariser_gradient": "form",
    "regulariser_batches": "batches",
}
_LANGEVIN = {"langevin_steps": "steps", "scope": "scope", "scoping": "scoping"}
_ATTRIBUTES = {**_SHARPNESS, **_LANGEVIN, "rho": "rho"}
_RULES = {
    **dict.fromkeys(_SHARPNESS, ("sgds",)),
    **dict.fromkeys(_LANGEVIN, ("entropy-sgd",)),
    "rho": ("sam", "asam"),
}


def chosen_rule(rule: str, given: Mapping[str, Any], seed: int) -> RuleOptions:
    """The options of the rules among ``given``.

    Raises:
        UsageError: one that belongs to another rule, or cannot be meant.
    """
    from bnsharp_cli.training.catalogue import RULES, RuleOptions
    from bnsharp_cli.training.entropy_sgd import Langevin
    from bnsharp_cli.training.sgds import Sharpness

    present = {name: value for name in _RULES if (value := given.get(name)) is not None}
    for name in present:
        if rule in RULES and rule not in _RULES[name]:
            of = ", ".join(_RULES[name])
            raise UsageError(f"{_option(name)}: --rule {rule} has no such option.", f"It is of {of}.")
    try:
        return RuleOptions(
            Sharpness(**{_SHARPNESS[name]: value for name, value in present.items() if name in _SHARPNESS}),
            Langevin(**{_LANGEVIN[name]: value for name, value in present.items() if name in _LANGEVIN}, seed=seed),
            present.get("rho"),
        )
    except UsageError as error:
        attribute, colon, rest = error.reason.partition(":")
        options = [_option(name) for name in present if _ATTRIBUTES[name] == attribute]
        raise UsageError(f"{options[0] if options else attribute}{colon}{rest}", error.remedy) from error


def _option(name: str) -> str:
    """As the user writes it."""
    return {"coefficient": "--lambda", "growth": "--lambda-growth"}.get(name, f"--{name.replace('_', '-')}")
