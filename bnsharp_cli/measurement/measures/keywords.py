"""Written by ``python -m tests.generated`` from the option records; do not edit.

Keywords of the measures for type checkers: a mistyped name or choice is a type error.
Names of search rules are plain texts, because their registry is open.
"""

from __future__ import annotations

from typing import Literal, TypedDict


class SharedKeywords(TypedDict, total=False):
    """The options of the measures without the radius, the partition and the seed."""

    power: float
    search: str
    iterations: int | None
    restarts: int
    search_nodes: int
    rtol: float
    parameters: str | tuple[str, ...] | list[str]
    precision: Literal["auto", "float32", "float64", "bfloat16"]
    memory: Literal["ample", "small"]
    layout: Literal["auto", "plain"]
    uncertainty: Literal["cheap", "full"]
    step_size: float
    by: Literal["none", "layer", "block"]
    ball_samples: int
    sigma: float | tuple[float, ...]
    noise_draws: int
    relative_to: Literal["filter", "layer", "element", "partition"]
    sigma_draws: int
    adaptive_kind: Literal["worst", "average"]
    adaptive_norm: Literal["linf", "l2"]
    adaptive_rho: float | None
    adaptive_samples: int
    hessian_probes: int
    hessian_starts: int


class RescaleKeywords(SharedKeywords, total=False):
    """What ``rescale_test`` takes: the partition is the paper's."""

    delta: float
    seed: int


class MeasureKeywords(SharedKeywords, total=False):
    """What ``measure`` takes beside radii."""

    partition: Literal["paper", "extended", "filter", "layer", "element"]
    seed: int
