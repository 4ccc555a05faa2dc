"""Options of the measures, frozen and validated once."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from bnsharp_cli.core.ascent import RULES
from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.blocks import PARTITIONS

DEFAULT_ITERATIONS = {"gradient": 0, "power": 2, "ascent": 10, "paper": 5}
PRECISIONS = ("auto", "float32", "float64")


@dataclass(frozen=True)
class MeasureOptions:
    """Everything that decides a value besides the network, its batches and the batch-norm policy.

    Attributes:
        delta: δ, the radius; relative to ‖θ_i‖ for invariant blocks, where it must be below 1.
        power: p ≥ 1 or ∞.
        search: a name in ``core.ascent.RULES``.
        iterations: K₁ steps of the search from each start; None means the rule's default.
        restarts: random starts besides the gradient.
        step_size: of ``--search paper``.
        search_nodes: quadrature nodes of the search's objective, even; two suffice for small δ.
        rtol: wanted relative error of the quadrature.
        partition: ``paper`` or ``extended``.
        precision: ``float32``, ``float64``, or ``auto``: float32, with the final integral again in float64 where
            rounding exceeds ``rtol``.
        ball_samples: Monte-Carlo points of ``delta-lp``.
        seed: of everything random.
    """

    delta: float = 1e-3
    power: float = 2.0
    search: str = "power"
    iterations: int | None = None
    restarts: int = 0
    step_size: float = 1.0
    search_nodes: int = 2
    rtol: float = 1e-3
    partition: str = "paper"
    precision: str = "auto"
    ball_samples: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        self._require(0 < self.delta < math.inf, "delta", self.delta, "a positive number")
        self._require(self.power >= 1, "power", self.power, "a number of at least 1, or inf")
        self._require(self.search in RULES, "search", self.search, f"one of {', '.join(RULES)}")
        printed = self.search == "paper" and math.isinf(self.power)
        self._require(not printed, "power", self.power, "a finite number with --search paper (Eq. 16)")
        self._require(self.iterations is None or self.iterations >= 0, "iterations", self.iterations, "at least 0")
        self._require(self.restarts >= 0, "restarts", self.restarts, "at least 0")
        self._require(0 < self.step_size < math.inf, "step-size", self.step_size, "a positive number")
        paired = self.search_nodes >= 2 and self.search_nodes % 2 == 0
        self._require(paired, "search-nodes", self.search_nodes, "an even number of at least 2")
        self._require(0 < self.rtol < 1, "rtol", self.rtol, "a number in (0, 1)")
        self._require(self.partition in PARTITIONS, "partition", self.partition, f"one of {', '.join(PARTITIONS)}")
        self._require(self.precision in PRECISIONS, "precision", self.precision, f"one of {', '.join(PRECISIONS)}")
        self._require(self.ball_samples > 1, "ball-samples", self.ball_samples, "at least 2")

    @property
    def steps(self) -> int:
        """K₁ as resolved."""
        return DEFAULT_ITERATIONS[self.search] if self.iterations is None else self.iterations

    def to_dict(self) -> dict[str, Any]:
        """Every option as resolved."""
        return {
            **asdict(self),
            "iterations": self.steps,
            "power": "inf" if math.isinf(self.power) else self.power,
        }

    @staticmethod
    def _require(sound: bool, name: str, found: object, expected: str) -> None:
        if not sound:
            raise UsageError(f"--{name}: expected {expected}, found {found}.", "See --help.")
