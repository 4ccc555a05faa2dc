"""What ``measure`` prints: each network by itself, and all of them in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bnsharp_cli.cli.results import CommandResult, print_text
from bnsharp_cli.cli.spelling import as_option
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.workflows.summary_options import SummaryOptions

if TYPE_CHECKING:
    from bnsharp_cli.report.summary_table import SummaryRow
    from bnsharp_cli.report.terminal import SpellingConsole
    from bnsharp_cli.workflows.several_seeds import SeededResults


@dataclass
class ShownResults:
    """The results of a command, as they come in.

    Attributes:
        chosen: the checkpoints that are measured.
        several: whether there may be more than one, so that what holds of all is printed once, in the end.
        seeds: the seeds of each.
        summary: the form of the table of all.
        found: what was measured so far, beside the checkpoint as it was named.
    """

    chosen: Sequence[Path]
    several: bool
    seeds: Sequence[int]
    summary: SummaryOptions
    found: list[tuple[Path, SeededResults]] = field(default_factory=list)

    def result(self, path: Path, found: SeededResults) -> CommandResult:
        """One more result."""
        self.found.append((path, found))
        return CommandResult(found.document, lambda: self._print(found))

    def end(self) -> None:
        """Print what holds of all results."""
        if self.summary.table != "terminal":
            self._write_table()
            return
        if not self.found:  # each failure was told
            return
        with importing_libraries():
            from bnsharp_cli.report.summary_table import print_summary
            from bnsharp_cli.report.terminal import console, print_legend

        out, known = console(as_option), {path for path, _ in self.found}
        print_legend(out, [one for _, found in self.found for one in found.first.measured])
        out.print()
        lost = [path for path in self.chosen if path not in known]
        print_summary(out, self._rows(), lost, len(self.seeds))

    def _print(self, found: SeededResults) -> None:
        if self.summary.table != "terminal":
            if not self.several:
                self._write_table()
            return
        with importing_libraries():
            from bnsharp_cli.report.seeds_table import print_spreads
            from bnsharp_cli.report.stored_results import on_every_sample
            from bnsharp_cli.report.subject import subject_lines
            from bnsharp_cli.report.terminal import console, print_measurements, print_subject

        out, document = console(as_option), found.first.document
        print_subject(out, subject_lines(document))
        if len(self.seeds) > 1:
            print_spreads(out, found.documents, found.spreads, legend=not self.several)
        else:
            print_measurements(out, found.first.measured, on_every_sample(document), legend=not self.several)
        self._print_rest(out, found)

    def _print_rest(self, out: SpellingConsole, found: SeededResults) -> None:
        """Print the parts of the first seed's values, and what was computed for it all."""
        with importing_libraries():
            from bnsharp_cli.report.parts_table import print_parts
            from bnsharp_cli.report.subject import print_kept
            from bnsharp_cli.report.terminal import print_cost

        print_parts(out, found.first.measured)
        kept = [one.kept for one in found.results if one.kept is not None]
        if len(kept) < len(found.results):
            print_cost(out, *found.made_now)
        print_kept(out, kept, len(self.seeds))
        if self.several:
            out.print()

    def _write_table(self) -> None:
        with importing_libraries():
            from bnsharp_cli.report.summary_table import SUMMARY_FORMATS

        print_text(SUMMARY_FORMATS[self.summary.table](self._rows()).removesuffix("\n"))

    def _rows(self) -> list[SummaryRow]:
        with importing_libraries():
            from bnsharp_cli.report.summary_table import SummaryRow, sorted_rows

        rows = [SummaryRow.of(found.documents, found.spreads) for _, found in self.found]
        return sorted_rows(rows, self.summary.sort)
