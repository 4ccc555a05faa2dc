"""What the numbers of a page mean, and what they do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bnsharp_cli.errors import spelt
from bnsharp_cli.measurement.blocks.blocks import PARTITIONS
from bnsharp_cli.measurement.measures.measurement import Measurement, Status
from bnsharp_cli.measurement.measures.registry import MEASURES, entry_of
from bnsharp_cli.report.pages.page import PageBlock, PageCell, PageColumn, PageHeading, PageList, PageTable
from bnsharp_cli.report.pages.reported import ReportedNetwork
from bnsharp_cli.report.pages.value_blocks import regime_word
from bnsharp_cli.report.terminal import meaning

_DIRECTIONS = {True: "sharper", False: "flatter", None: "neither: a control"}
_ALWAYS = (
    "Look at the loss and the accuracy first. If they are not those that you know, the network or the preprocessing is "
    "wrong, and so is everything else here.",
    "A smaller value does not promise a better test accuracy.",
    "The errors describe the measurement, not the training: the same training with another seed gives another value.",
)
_OF_BN = (
    "The value is a lower bound: a longer search may find a sharper direction.",
    "The value sums over rows, so it does not compare networks of different architectures.",
    "It is the same for every rescaling of the rows before a norm. Other rescalings that change nothing that the "
    "network computes may change it.",
)
_OF_REGIMES = {
    "linear": "linear: curvature plays no part, and the value is a gradient norm in which every block counts relative "
    "to its own length. So it follows the loss, and a network that was trained longer usually has the smaller value.",
    "curved": "curved: the loss bends within δ, and the value is no gradient norm. Its search has to be good: compare "
    "such values only where the searches ended.",
}


def meaning_blocks(networks: Sequence[ReportedNetwork], spelling: Callable[[str], str]) -> list[PageBlock]:
    """A table of the measures on the page, what their statuses and regimes mean, and what may not be concluded.

    Args:
        networks: all of the page.
        spelling: of the arguments that sentences name.
    """
    measured = [found for one in networks for found in one.measured]
    if not measured:
        return [PageList(_ALWAYS)]
    of_bn = _OF_BN if any(one.name.startswith("bn") for one in measured) else ()
    return [
        _measures(measured),
        PageList([*_words(measured, spelling)]),
        PageHeading("What it does not mean"),
        PageList([*_ALWAYS, *of_bn]),
    ]


def _measures(measured: Sequence[Measurement]) -> PageTable:
    titles = ("measure", "what it is", "formula", "a larger value is", "rescaling before a norm", "source")
    rows = [
        [PageCell(name), PageCell(_meaning(name)), *map(PageCell, _entry(name))]
        for name in dict.fromkeys(one.name for one in measured)
    ]
    return PageTable("The measures of this page", [PageColumn(title) for title in titles], rows)


def _meaning(name: str) -> str:
    """What a measure is; ``bound`` and ``rescale-test`` measure some under other names."""
    known = name in MEASURES or name.removeprefix("bn-") in PARTITIONS
    return meaning(name if known else _base(name))


def _base(name: str) -> str:
    """The measure that a name is a variant of.

    >>> _base("delta-l2"), _base("bn-clipped"), _base("noise")
    ('delta-lp', 'bn', 'noise')
    """
    return "delta-lp" if name == "delta-l2" else entry_of(name).name


def _entry(name: str) -> tuple[str, ...]:
    entry = entry_of(_base(name))
    return entry.formula, _DIRECTIONS[entry.large_is_sharp], entry.invariance, entry.source


def _words(measured: Sequence[Measurement], spelling: Callable[[str], str]) -> Iterator[str]:
    for status in dict.fromkeys(one.status for one in measured):
        yield f"{status.value}: {_meaning_of(status, spelling)}."
    for regime in dict.fromkeys(map(regime_word, measured)):
        if regime in _OF_REGIMES:
            yield _OF_REGIMES[regime]


def _meaning_of(status: Status, spelling: Callable[[str], str]) -> str:
    return spelt(status.marked_meaning, spelling)
