"""How to get the numbers of a page again: commands, digests, versions and every option."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bnsharp_cli.io.checkpoints.samples import checkpoint_title
from bnsharp_cli.report.pages.command_lines import command_line, lines_of
from bnsharp_cli.report.pages.page import (
    PageBlock,
    PageCell,
    PageCode,
    PageColumn,
    PageFacts,
    PageFolded,
    PageHeading,
    PageList,
    PageTable,
)
from bnsharp_cli.report.pages.reported import JsonRecord, ReportedDocument, ReportedNetwork
from bnsharp_cli.report.pages.value_blocks import MOST_ROWS

_MOST_COMMANDS, _MOST_OPTIONS = 24, 12
_UNSAID = (
    "The commands name what the documents record. Add what they do not: preprocessing that was given by options, "
    "arguments of a network's constructor, the folder of torchvision's data sets, a device, and a baseline."
)


def source_blocks(documents: Sequence[ReportedDocument], networks: Sequence[ReportedNetwork]) -> list[PageBlock]:
    """Commands, then digests and versions, then options behind a line that opens them."""
    written = [one for one in documents if one.command != "failure"]
    if not written:
        return []
    commands = dict.fromkeys(tuple(lines_of(command_line(one.document))) for one in written)
    lines = [line for own in [*commands][:_MOST_COMMANDS] for line in own]
    return [
        PageCode(
            lines, "These commands measure the same again:" if len(commands) > 1 else "This command measures it again:"
        ),
        PageList([_UNSAID]),
        _digests(networks),
        *_versions(written),
        *_options(written),
    ]


def _digests(networks: Sequence[ReportedNetwork]) -> PageTable:
    titles = ("network", "SHA-256 of its file", "format", "SHA-256 of the samples", "file")
    rows = [
        [
            PageCell(one.name),
            PageCell(one.record["checkpoint"]["sha256"]),
            PageCell(one.record["checkpoint"]["format"]),
            PageCell(one.document["data"]["sha256"]),
            PageCell(_place(one.record["checkpoint"]["path"])),
        ]
        for one in networks
    ]
    return PageTable.cut("Files and samples", [PageColumn(title) for title in titles], rows, MOST_ROWS)


def _place(path: str) -> str:
    title = checkpoint_title(Path(path))
    return "comes with bnsharp" if title.startswith("sample:") else path


def _versions(documents: Sequence[ReportedDocument]) -> Iterator[PageFacts]:
    seen = dict.fromkeys(tuple(_version_entries(one.document)) for one in documents)
    longest = max(seen, key=len)
    for entries in [*seen][:_MOST_OPTIONS]:
        if entries == longest or not {*entries} <= {*longest}:
            yield PageFacts(entries)


def _version_entries(document: JsonRecord) -> Iterator[tuple[str, str]]:
    yield "bnsharp", document["version"]
    environment = document.get("environment", {})
    names = {"python": "Python", "torch": "torch", "numpy": "numpy", "device": "device", "dtype": "arithmetic"}
    for key, name in {**names, "threads": "threads", "world_size": "processes"}.items():
        if key in environment:
            yield name, f"{environment[key]}"


def _options(documents: Sequence[ReportedDocument]) -> Iterator[PageFolded]:
    seen: dict[str, JsonRecord] = {}
    for one in documents:
        seen.setdefault(repr(one.document["options"]), one.document["options"])
    blocks: list[PageBlock] = []
    for number, options in enumerate([*seen.values()][:_MOST_OPTIONS], 1):
        if len(seen) > 1:
            blocks.append(PageHeading(f"Options {number}"))
        blocks.append(PageFacts([(name, _said(value)) for name, value in options.items()]))
    yield PageFolded("Every option as it was resolved", blocks)


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
