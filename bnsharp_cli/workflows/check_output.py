"""How the command `check` prints and writes what it found; nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.option_records import OptionRecord, never, option, same_option
from bnsharp_cli.workflows.options import Output

FORMS_OF_FILES = {".xml": "junit", ".md": "markdown"}
"""What a file holds, by its ending; JSON documents for any other."""


@dataclass(frozen=True)
class CheckOutput(OptionRecord):
    """What is printed and written.

    Attributes:
        format: of what is printed; None for text.
        json: the same as the format ``json``.
        output: file of the result.
        quiet: neither notices nor progress.

    >>> CheckOutput(json=True).form
    'json'
    """

    format: Literal["text", "json", "markdown", "junit", "github"] | None = option(
        None,
        "What is printed; github: text, annotations and an appended step summary.",
        shown_default="text",
    )
    json: bool = same_option(Output, "json")
    output: Path | None = option(
        None, "Write the result to this file: JUnit for .xml, Markdown for .md, else JSON.", harmless=never
    )
    quiet: bool = same_option(Output, "quiet")

    def __post_init__(self) -> None:
        """Refuse two formats.

        Raises:
            UsageError: JSON and another one.
        """
        super().__post_init__()
        if self.json and self.format not in (None, "json"):
            raise UsageError(
                f"{named('json')} and {named('format')} {self.format} ask for two formats.",
                "Leave one of them out.",
                argument="format",
                expected="one format",
                found="two",
            )

    @property
    def form(self) -> str:
        """The form of what is printed."""
        return "json" if self.json else self.format or "text"

    @property
    def form_of_file(self) -> str:
        """The form of the file."""
        return FORMS_OF_FILES.get(self.output.suffix.lower(), "json") if self.output is not None else "json"

    @property
    def of_documents(self) -> Output:
        """What concerns JSON documents."""
        return Output(
            json=self.form == "json", output=self.output if self.form_of_file == "json" else None, quiet=self.quiet
        )
