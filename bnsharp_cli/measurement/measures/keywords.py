"""The keywords of the Python interface, for type checkers: a name or a choice that is mistyped is a type error.

A checker cannot read option records, so their fields stand here once more; a test holds both equal. Names of search
rules and of measures are plain texts, because their registries are open.
"""

from __future__ import annotations

from typing import Literal, TypedDict

BatchNormPolicy = Literal["batch", "running"]
"""Whether batch norm uses the statistics of the batch, as the paper's loss does, or running ones."""

Partition = Literal["paper", "extended"]
"""Which rows make a block; see :mod:`bnsharp_cli.measurement.blocks.blocks`."""


class UnseededKeywords(TypedDict, total=False):
    """Everything but the partition and the seed, which not every function leaves to its caller."""

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


class RescaleKeywords(UnseededKeywords, total=False):
    """What ``rescale_test`` takes: everything but the partition, which is the paper's there."""

    seed: int


class MeasureKeywords(RescaleKeywords, total=False):
    """What ``measure`` takes: the flat options of :class:`~bnsharp_cli.measurement.measures.options.MeasureOptions`."""

    partition: Partition
