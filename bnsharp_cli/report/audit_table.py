"""The findings of an audit for a terminal of 80 columns: a row for each statement, then what was compared."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from bnsharp_cli.measurement.audit.audit import Audit
from bnsharp_cli.measurement.audit.finding import Finding
from bnsharp_cli.report.terminal import SpellingConsole

_OUTCOMES: Mapping[bool | None, tuple[str, str]] = {
    True: ("holds", "green"),
    False: ("DOES NOT HOLD", "bold red"),
    None: ("cannot be said", "yellow"),
}


def print_findings(out: SpellingConsole, audit: Audit) -> None:
    """Print the value, a row for each statement, and a sentence on each."""
    measured = audit.measured
    out.say(f"{measured.name} {measured.value:.6g}, {measured.status.value}, δ = {measured.details['delta']:g}")
    out.print()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("statement")
    for heading in ("stated", "found"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for finding in audit.findings:
        table.add_row(finding.name, *cells(finding), out.text(*_OUTCOMES[finding.holds]))
    out.print(table)
    out.print()
    for finding in audit.findings:
        out.say(f"{finding.name}: {finding.sentence}.")


def cells(finding: Finding) -> tuple[str, str]:
    """What is stated and what was found; a dash where there is no number."""
    stated, found = (_shown(number) for number in (finding.stated, finding.found))
    return stated, found


def outcome(finding: Finding) -> str:
    """Whether a statement holds, in words."""
    return _OUTCOMES[finding.holds][0]


def _shown(number: float | None) -> str:
    if number is None:
        return "–"
    return str(number) if isinstance(number, int) else f"{number:.1e}"
