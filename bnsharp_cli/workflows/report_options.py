"""The options of ``bnsharp report``; nothing heavy is imported."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Literal

from bnsharp_cli.errors import UsageError
from bnsharp_cli.option_records import OptionRecord, never, option, same_option
from bnsharp_cli.workflows.options import Output

SMALL_NETWORK = 1_000_000
"""Parameters up to which figures of a checkpoint are drawn unless it is said otherwise."""

_ENDINGS = (".html", ".htm")


@dataclass(frozen=True)
class ReportOptions(OptionRecord):
    """What a report shows besides what was measured.

    Attributes:
        figures: of the loss around each checkpoint.
        output: the page.
        quiet: neither notices nor progress.
    """

    figures: Literal["auto", "none", "all"] = option(
        "auto",
        "Loss around each checkpoint that is measured: all draws a profile and a landscape, some 300 forward passes; "
        f"auto does so up to {SMALL_NETWORK:,} parameters.",
    )
    output: Path = option(
        MISSING,
        "Write the page to this file (.html).",
        missing="a file ending in .html",
        example="For example report.html.",
        harmless=never,
    )
    quiet: bool = same_option(Output, "quiet")


def require_page(path: Path) -> None:
    """Refuse a format of pages before anything is measured.

    Raises:
        UsageError: an ending that is neither .html nor .htm.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise UsageError.of("output", "a file ending in .html", path.name, "Rename it.")
