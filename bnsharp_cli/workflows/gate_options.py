"""What `check` takes besides limits; nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bnsharp_cli.measurement.measures.selection import Selection
from bnsharp_cli.option_records import OptionRecord, never, option, same_option


@dataclass(frozen=True)
class CheckedRadii(OptionRecord):
    """The radii at which limited measures are taken.

    Attributes:
        delta: each radius.
    """

    delta: tuple[float, ...] = same_option(Selection, "delta")


@dataclass(frozen=True)
class BaselineOptions(OptionRecord):
    """The earlier result that a checkpoint is held against.

    Attributes:
        baseline: a document that ``measure`` or ``check`` wrote; None for none.
        update_baseline: whether the result becomes the baseline where every check passed.
    """

    baseline: Path | None = option(None, "Earlier result of measure or check, as JSON.")
    update_baseline: bool = option(
        False,
        "Write the result there if every check passed; begins a baseline where there is none.",
        harmless=never,
    )


@dataclass(frozen=True)
class GateOptions(OptionRecord):
    """How a gate ends.

    Attributes:
        fail_on: ``fail``, or ``inconclusive`` to fail on what could not be decided too.
        max_seconds: no measure goes on after so many seconds; None for no limit.
    """

    fail_on: Literal["fail", "inconclusive"] = option("fail", "Exit 1 for failed checks, or for inconclusive ones too.")
    max_seconds: float | None = option(
        None,
        "Stop measuring after so many seconds; what is not known by then is inconclusive.",
        metavar="SECONDS",
        expected="a positive number",
        accept=lambda seconds: seconds > 0,
        example="For example 600.",
    )
