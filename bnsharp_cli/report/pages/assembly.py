"""Puts a page together from documents: verdict, what was measured, how sure, what it means, how to get it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bnsharp_cli import __version__
from bnsharp_cli.report.pages.bound_blocks import bound_blocks
from bnsharp_cli.report.pages.check_blocks import check_blocks
from bnsharp_cli.report.pages.comparison_blocks import comparison_blocks
from bnsharp_cli.report.pages.copy_blocks import copy_blocks
from bnsharp_cli.report.pages.meaning_blocks import meaning_blocks
from bnsharp_cli.report.pages.page import PageBlock, PageFigure, PageGallery, PageList, PageSection, ReportPage
from bnsharp_cli.report.pages.reported import ReportedDocument, distinct, networks_of
from bnsharp_cli.report.pages.source_blocks import source_blocks
from bnsharp_cli.report.pages.subject_blocks import subject_blocks
from bnsharp_cli.report.pages.value_blocks import value_blocks
from bnsharp_cli.report.pages.verdicts import verdicts_of


def page_of(
    documents: Sequence[ReportedDocument],
    figures: Sequence[PageFigure] = (),
    spelling: Callable[[str], str] = str,
    unsaid: Sequence[str] = (),
) -> ReportPage:
    """The page that some documents make.

    Args:
        documents: at least one.
        figures: of the loss around networks.
        spelling: of the arguments that sentences name.
        unsaid: why something is not on it, a sentence each.
    """
    every = networks_of(documents)
    networks = distinct(every)
    names = [*dict.fromkeys(one.name for one in networks)]
    title = f"Sharpness of {names[0]}" if len(names) == 1 else f"Sharpness of {len(names)} networks"
    pictures: list[PageBlock] = [PageGallery(figures)] if figures else []
    around = [*pictures, *([PageList(unsaid)] if unsaid else [])]
    sections = (
        PageSection("measured", "What was measured", subject_blocks(documents, networks)),
        PageSection("values", "How sharp, and how sure", value_blocks(networks)),
        PageSection("comparison", "Side by side", comparison_blocks(documents)),
        PageSection("checks", "Checks", check_blocks(every)),
        PageSection("copies", "Copies that compute the same", copy_blocks(every)),
        PageSection("bound", "The PAC-Bayes bound", bound_blocks(every)),
        PageSection("around", "The loss around it", around),
        PageSection("meaning", "What it means, and what it does not", meaning_blocks(networks, spelling)),
        PageSection("again", "How to get it again", source_blocks(documents, networks)),
    )
    return ReportPage(title, verdicts_of(documents), [one for one in sections if one.blocks], __version__)
