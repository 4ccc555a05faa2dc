"""Options of the measures, frozen and validated once."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from bnsharp_cli.core.ascent import CONTRACTION, CONVERGED
from bnsharp_cli.core.search_rules import RULES
from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.blocks.blocks import PARTITIONS

DEFAULT_ITERATIONS = {"gradient": 0, "power": 2, "ascent": 10, "paper": 5}
UNCERTAINTIES = ("cheap", "full")
RESTART_ITERATIONS = 100
"""Steps of ``power`` from each start where there are several: whoever asks for restarts means a large radius."""

PRECISIONS = ("auto", "float32", "float64")

LARGEST_POWER = 1000
"""From here on the p-mean is within 1 % of p = ∞."""


@dataclass(frozen=True)
class MeasureOptions:
    """Everything that decides a value besides the network, its batches and the batch-norm policy.

    Attributes:
        delta: δ, the radius; relative to ‖θ_i‖ for invariant blocks, where it must be below 1.
        power: p ≥ 1 or ∞.
        search: a name in ``core.search_rules.RULES``.
        iterations: K₁ steps of the search from each start; None means the rule's default, of which ``power`` takes
            only as many as can change the value by more than ``rtol``.
        restarts: random starts besides the gradient.
        step_size: of ``--search paper``.
        search_nodes: quadrature nodes of the search's objective, even; two suffice for small δ.
        rtol: wanted relative error of the quadrature.
        partition: ``paper`` or ``extended``.
        precision: ``float32``, ``float64``, or ``auto``: float32, with the final integral again in float64 where
            rounding exceeds ``rtol``.
        uncertainty: of the samples: ``cheap`` from the gradients of single batches, at no further pass, where the
            value is nearly a gradient norm; ``full`` from measuring on parts of the batches.
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
    uncertainty: str = "cheap"
    ball_samples: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        self._require(0 < self.delta < math.inf, "delta", self.delta, "a positive number")
        in_range = 1 <= self.power <= LARGEST_POWER or math.isinf(self.power)
        self._require(in_range, "power", self.power, f"a number from 1 to {LARGEST_POWER}, or inf")
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
        known = self.uncertainty in UNCERTAINTIES
        self._require(known, "uncertainty", self.uncertainty, f"one of {', '.join(UNCERTAINTIES)}")
        self._require(self.ball_samples > 1, "ball-samples", self.ball_samples, "at least 2")

    @property
    def steps(self) -> int:
        """K₁ as resolved."""
        if self.iterations is not None:
            return self.iterations
        return RESTART_ITERATIONS if self.search == "power" and self.restarts else DEFAULT_ITERATIONS[self.search]

    @property
    def enough(self) -> float:
        """The gap at which the search takes its last step: what it leaves is less than ``rtol``, if K₁ is not set."""
        return max(CONVERGED, self.rtol / CONTRACTION) if self._adaptive and not self.restarts else CONVERGED

    @property
    def least(self) -> float:
        """The share of the value that some steps must gain for the search to go on, if K₁ is not set."""
        return self.rtol / 10 if self._adaptive else 0.0

    @property
    def _adaptive(self) -> bool:
        return self.search == "power" and self.iterations is None

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
