"""All training rules by name, and what can be said of them in one record."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.training.entropy_sgd import EntropySgd, Langevin
from bnsharp_cli.training.rules import Rule, Sgd
from bnsharp_cli.training.sam import Asam, Sam
from bnsharp_cli.training.sgds import Sgds, Sharpness

RULES: dict[str, type[Rule]] = {"sgd": Sgd, "sgds": Sgds, "entropy-sgd": EntropySgd, "sam": Sam, "asam": Asam}


@dataclass(frozen=True)
class RuleOptions:
    """What belongs to single rules.

    Attributes:
        sharpness: of ``sgds``.
        langevin: of ``entropy-sgd``.
        rho: ρ of ``sam`` and ``asam``; None for the authors' 0.05 and 0.5.
    """

    sharpness: Sharpness = field(default_factory=Sharpness)
    langevin: Langevin = field(default_factory=Langevin)
    rho: float | None = None

    def __post_init__(self) -> None:
        if self.rho is not None and not 0 < self.rho < math.inf:
            raise UsageError(f"rho: expected a positive number, found {self.rho}.", "Change it.")

    def gradients_per_step(self, name: str) -> int:
        """What a step of the rule ``name`` costs."""
        own = {"sgds": self.sharpness.gradients, "entropy-sgd": self.langevin.steps}
        return own.get(name, RULES[name].gradients_per_step)

    def of(self, name: str) -> dict[str, object]:
        """What the rule ``name`` uses of it, by name."""
        if name == "sgds":
            return asdict(self.sharpness)
        if name == "entropy-sgd":
            return {f"langevin_{key}": value for key, value in asdict(self.langevin).items()}
        return {"rho": self.rho} if name in {"sam", "asam"} else {}


def rule(
    name: str,
    module: nn.Module,
    blocks: Callable[[], Blocks],
    options: RuleOptions,
    **of_sgd: Any,
) -> Rule:
    """The rule ``name`` for ``module``.

    Args:
        name: in ``RULES``.
        module: what to train.
        blocks: finds the scale-invariant rows; only called where they are needed.
        options: of the rule.
        **of_sgd: lr, momentum, weight_decay, nesterov.

    Raises:
        UsageError: there is no such rule.
    """
    if name == "sgds":
        return Sgds(module, blocks(), sharpness=options.sharpness, **of_sgd)
    if name == "entropy-sgd":
        return EntropySgd(module, langevin=options.langevin, **of_sgd)
    if name in {"sam", "asam"}:
        chosen = {} if options.rho is None else {"rho": options.rho}
        return (Sam if name == "sam" else Asam)(module, **chosen, **of_sgd)
    if name != "sgd":
        raise UsageError(f"--rule: expected one of {', '.join(RULES)}, found '{name}'.", "Name a rule.")
    return Sgd(module, **of_sgd)
