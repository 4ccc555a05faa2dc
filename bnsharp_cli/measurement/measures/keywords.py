"""Written by ``python -m tests.generated`` from the option records; do not edit.

Keywords of the measures for type checkers: a mistyped name or choice is a type error.
Names of search rules are plain texts, because their registry is open.
"""

from __future__ import annotations

from typing import Literal, TypedDict


class SharedKeywords(TypedDict, total=False):
    """The options of the measures without the partition and the seed."""

    delta: float
    power: float
    search: str
    iterations: int | None
    restarts: int
    search_nodes: int
    rtol: float
    precision: Literal["auto", "float32", "float64"]
    uncertainty: Literal["cheap", "full"]
    step_size: float
    ball_samples: int


class RescaleKeywords(SharedKeywords, total=False):
    """What ``rescale_test`` takes: the partition is the paper's there."""

    seed: int


class UnseededKeywords(SharedKeywords, total=False):
    """What a caller takes that decides the seed itself."""

    partition: Literal["paper", "extended"]


class MeasureKeywords(RescaleKeywords, total=False):
    """What ``measure`` takes: all options at one level."""

    partition: Literal["paper", "extended"]
