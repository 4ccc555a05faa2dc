"""Writes a report: what results say, and what checkpoints are measured to be, as one HTML page."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import BnsharpError, UsageError, described, spelt
from bnsharp_cli.measurement.comparison.value_interval import ValueInterval, value_intervals
from bnsharp_cli.measurement.surface.cost import NO_PASSES, Cost
from bnsharp_cli.report.json_document import failure_document, render
from bnsharp_cli.report.pages.assembly import page_of
from bnsharp_cli.report.pages.page import PageFigure, PageVerdict
from bnsharp_cli.report.pages.rendering import render_page
from bnsharp_cli.report.pages.reported import ReportedDocument
from bnsharp_cli.report.stored_results import measurements_of, total_cost
from bnsharp_cli.workflows.compared_subjects import subject
from bnsharp_cli.workflows.comparing_networks import compared_results
from bnsharp_cli.workflows.measured_network import Spelling
from bnsharp_cli.workflows.measuring import ResultDocument
from bnsharp_cli.workflows.reported_files import ReportedFile, reported_files

LARGEST_PAGE = 1_000_000
"""Bytes of a page; figures that make it larger are left out."""

_RESULTS = ("measure", "check")


@dataclass(frozen=True)
class FigureWithCost:
    """A figure of a checkpoint, and the passes that it took."""

    figure: PageFigure
    cost: Cost


Draw = Callable[[Path, Mapping[str, Any]], Sequence[FigureWithCost]]
"""Draws the loss around a checkpoint, from its path and its document."""


@dataclass(frozen=True)
class WrittenReport:
    """A page, and what it took.

    Attributes:
        html: the page.
        verdicts: of the page, the most important first.
        failures: what could not be measured, by its path.
        cost: the passes that were made now.
        seconds: how long it took.
    """

    html: str
    verdicts: Sequence[PageVerdict]
    failures: Sequence[tuple[Path, BnsharpError]]
    cost: Cost
    seconds: float


def report_on(
    paths: Sequence[Path], answer: Callable[[Path], ResultDocument], draw: Draw, spelling: Spelling = str
) -> WrittenReport:
    """Make a page of results and checkpoints.

    Args:
        paths: results that our commands wrote, folders of them, checkpoints, or ``sample:NAME``.
        answer: measures a checkpoint.
        draw: draws the loss around it.
        spelling: of the arguments that sentences name.

    Raises:
        UsageError: more results than a page shows, or texts that make it too large.
        CheckpointRefusedError: a result that is none.
        BnsharpError: the only checkpoint cannot be opened or measured.
    """
    began, work = time.monotonic(), _Work(answer, draw, spelling)
    files = reported_files(paths)
    for one in files:
        work.take(one, alone=len(files) == 1)
    work.compare()
    html, verdicts = work.page()
    return WrittenReport(html, verdicts, work.failures, work.cost, time.monotonic() - began)


class _Work:
    """What was found so far.

    Args:
        answer: measures a checkpoint.
        draw: draws the loss around it.
        spelling: of the arguments that sentences name.
    """

    def __init__(self, answer: Callable[[Path], ResultDocument], draw: Draw, spelling: Spelling) -> None:
        self._answer, self._draw, self._spelling = answer, draw, spelling
        self._documents: list[ReportedDocument] = []
        self._figures: list[PageFigure] = []
        self._unsaid: list[str] = []
        self.failures: list[tuple[Path, BnsharpError]] = []
        self.cost = NO_PASSES

    def take(self, one: ReportedFile, alone: bool) -> None:
        """Add a document, or measure a checkpoint; what fails does not lose the others."""
        if one.document is not None:
            self._documents.append(reported_document(one.document, one.path.name))
            return
        try:
            measured = self._answer(one.path)
            document = json.loads(render(measured.document))  # as it would be read from a file
            self._documents.append(reported_document(document))
            if measured.kept is None:
                self.cost = self.cost + total_cost(document)[0]
            for drawn in self._draw(one.path, document):
                self._figures.append(drawn.figure)
                self.cost = self.cost + drawn.cost
        except Exception as error:
            if alone or isinstance(error, UsageError):
                raise
            failure = described(error)
            self.failures.append((one.path, failure))
            document = json.loads(render(failure_document(one.path, failure, self._spelling)))
            self._documents.append(ReportedDocument(document, file=one.path.name))

    def compare(self) -> None:
        """Compare the networks that were measured, unless a comparison was given or they cannot be compared."""
        if any(one.command == "compare" for one in self._documents):
            return
        own = {_checkpoint(one.document): one.document for one in self._documents if one.command in _RESULTS}
        if len(own) < 2:
            return
        results = [ResultDocument(one, measurements_of(one["measures"], one["skipped"])) for one in own.values()]
        try:
            compared = compared_results(results, along=False, began=time.monotonic()).document(self._spelling)
        except BnsharpError as error:
            self._unsaid.append(f"The networks are not compared: {spelt(error.marked_reason, self._spelling)}")
            return
        self._documents.append(ReportedDocument(json.loads(render(compared))))

    def page(self) -> tuple[str, Sequence[PageVerdict]]:
        """The page with as many figures as fit.

        Raises:
            UsageError: it is too large without any.
        """
        count = len(self._figures)
        while True:
            left_out = len(self._figures) - count
            said = [*self._unsaid, *([f"{left_out} more figures would make this page too large."] if left_out else [])]
            page = page_of(self._documents, self._figures[:count], self._spelling, said)
            html = render_page(page)
            if len(html.encode()) <= LARGEST_PAGE:
                return html, page.verdicts
            if not count:
                raise _too_large(len(html.encode()))
            count -= 1


def _too_large(size: int) -> UsageError:
    return UsageError(
        f"The page would have {size / 1e6:.1f} MB, and at most {LARGEST_PAGE / 1e6:g} MB are written.",
        "Name fewer results.",
        argument="checkpoint",
        expected="results that fit on a page",
        found=f"{size:,} bytes",
    )


def _checkpoint(document: Mapping[str, Any]) -> tuple[str, str | None]:
    """Two documents of one network are not compared with each other."""
    return document["checkpoint"]["sha256"], document["checkpoint"]["key"]


def reported_document(document: Mapping[str, Any], file: str = "") -> ReportedDocument:
    """A document with the 95 % intervals of its values, as a comparison would take them.

    Args:
        document: as it is read from a file.
        file: its name.
    """
    intervals: list[ValueInterval] = []
    if "batch_losses" in document:
        whole = {**document, "test": document.get("test")}
        measured = measurements_of(document.get("measures", {}))
        intervals = value_intervals(subject("", ResultDocument(whole, measured)))
    return ReportedDocument(document, intervals, file)
