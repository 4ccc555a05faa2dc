"""Options of the invariance test. Importing this module does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.measures.selection import EVERY_MEASURE, require_measure
from bnsharp_cli.measurement.measures.survival import Rescaling
from bnsharp_cli.option_records import OptionRecord, option

SMALLEST_TOLERANCE = 1e-9

DECADES: Mapping[int, str] = MappingProxyType({decade: f"a = {10.0**decade:g}" for decade in range(-3, 4)})
RANDOM_COPIES = ("random 1", "random 2", "random 3")
FLATTENED_LAYER, GAMMA_BETA = "a0", "gamma-beta"
PLANNED_COPIES: Mapping[Rescaling, Mapping[str, float | None]] = MappingProxyType(
    {
        Rescaling.T_A: {"a = 0.01": 0.01, "a = 100": 100.0, "random": None},
        Rescaling.NORM: {GAMMA_BETA: 0.01},
        Rescaling.CLASSIFIER: {"head 0.01": 0.01, "head 100": 100.0},
        Rescaling.LAYER: {"layer 0.01": 0.01, "layer 100": 100.0},
        Rescaling.NEURON: {"neurons": None},
        Rescaling.ATTENTION: {"attention 100": 100.0, "attention": None},
    }
)
"""The copies on which several measures are compared, and their factors; None where each row has its own."""

_PLANNED = [name for copies in PLANNED_COPIES.values() for name in copies]
COPY_NAMES = tuple(dict.fromkeys((*DECADES.values(), *RANDOM_COPIES, FLATTENED_LAYER, GAMMA_BETA, *_PLANNED)))
"""Every copy that the invariance test may make."""

RESCALED_MEASURING: Mapping[str, Any] = MappingProxyType({"precision": "float64", "ball_samples": 16})
"""Options of the measures that the invariance test takes unless they are given, where these are not the defaults."""


@dataclass(frozen=True)
class RescaleOptions(OptionRecord):
    """What decides the verdict besides the measurements.

    Attributes:
        tolerance: allowed relative deviation; None for the stated rounding floor, never below ``SMALLEST_TOLERANCE``.
        epsilon: measure the copies with ``exact`` ε per channel, or with ε as ``stored``; then T_a is not exact.
        measure: names of measures that are compared on copies of every kind, or ``all``; none for the test of
            BN-Sharpness under T_a.

    Raises:
        UsageError: a value that is not allowed.
    """

    tolerance: float | None = option(
        None,
        "Allowed relative deviation [default: the rounding floor, at least 1e-9].",
        expected="a positive number",
        accept=lambda tolerance: tolerance > 0,
        example="For example 1e-6.",
    )
    epsilon: Literal["exact", "stored"] = option(
        "exact", "Measure the copies with exact epsilon per channel, or as stored."
    )
    measure: tuple[str, ...] = option(
        (),
        f"Compare measures on copies of every kind instead: {', '.join(MEASURES)} or {EVERY_MEASURE}; repeatable.",
        shown_default="the test of bn alone",
        metavar="NAME",
        complete=lambda _: (*MEASURES, EVERY_MEASURE),
        expected=f"names of {', '.join(MEASURES)}, {EVERY_MEASURE}",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.measure:
            require_measure(name, "measure", EVERY_MEASURE)
