"""What `measure` writes beside its result; nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bnsharp_cli.option_records import OptionRecord, never, option, same_option
from bnsharp_cli.workflows.options import Picture


@dataclass(frozen=True)
class MeasuredFiles(OptionRecord):
    """What is written beside the result.

    Attributes:
        plot: file of a picture; None for none.
        results: folder in which each result is kept, and found again; None for none.
    """

    plot: Path | None = same_option(Picture, "plot")
    results: Path | None = option(
        None, "Keep each result in this folder; what is there is not measured again.", harmless=never
    )
