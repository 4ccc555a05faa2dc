"""Options of what is found in a checkpoint without data; nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass

from bnsharp_cli.measurement.measures.options import ProbedPartition
from bnsharp_cli.measurement.measures.shared_options import seed_option
from bnsharp_cli.option_records import OptionRecord, option


@dataclass(frozen=True)
class InspectionOptions(OptionRecord):
    """How the blocks of a network are found without data.

    Attributes:
        image_size: height and width of the random images; None for the first that the network accepts.
        partition: ``paper`` or ``extended``, whose blocks the network itself has.
        seed: the seed of the images and of the weights that are drawn.
    """

    image_size: int | None = option(
        None, "Size of the random images.", metavar="PIXELS", shown_default="the first that it accepts"
    )
    partition: ProbedPartition = option(
        "paper",
        "Blocks: paper, or extended by every joint scale-invariance such as (gamma, beta).",
        expected="one of paper, extended",
    )
    seed: int = seed_option("Seed of the random images and of all else that is random.")


@dataclass(frozen=True)
class ListingOptions(OptionRecord):
    """How much of a checkpoint is listed.

    Attributes:
        every: all of it, instead of the first and the largest.
    """

    every: bool = option(False, "Every tensor, metadata entry and note.", flag="all")
