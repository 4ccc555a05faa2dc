"""What a page holds: a verdict, and sections of paragraphs, facts, tables, figures and code. All of it is text.

Nothing here is markup but the figures, which ``inline_svg`` makes. So a name of a stranger's can stand anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from markupsafe import Markup

_LONG = 40
"""Characters from which on a cell needs a wide column, or a digest several lines."""

Tone = Literal["", "good", "bad", "unsure"]
"""What a verdict or a cell says at a glance: a colour, beside the words that say it, too."""


@dataclass(frozen=True)
class PageCell:
    """One cell of a table.

    Attributes:
        text: what is read.
        key: what the table is sorted by, if that is a number that the text only rounds.
        tone: of the text.
        share: in [0, 1], which is also drawn as a bar; None for no bar.
        shade: from 0, light, to 6, dark; None for none.
    """

    text: str
    key: float | None = None
    tone: Tone = ""
    share: float | None = None
    shade: int | None = None

    def classes(self, numeric: bool) -> str:
        """What the style sheet knows it by, in a column of numbers or of words.

        >>> PageCell("3.1", shade=2).classes(numeric=True)
        'number shade-2'
        """
        shade = "" if self.shade is None else f"shade-{self.shade}"
        long = "" if numeric or len(self.text) <= _LONG else "sentence" if " " in self.text else "digest"
        return " ".join(filter(None, ["number" if numeric else "", self.tone, shade, long]))


@dataclass(frozen=True)
class PageColumn:
    """The heading of a column.

    Attributes:
        title: of the column.
        numeric: whether its cells are numbers, which stand on the right.
    """

    title: str
    numeric: bool = False


@dataclass(frozen=True)
class PageTable:
    """A table that a reader can sort; the first cell of a row is its heading.

    Attributes:
        caption: what it shows.
        columns: the headings.
        rows: of cells, one for each column.
        more: how many further rows were left out.
        notes: what its words and numbers mean, a sentence each.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[PageColumn]
    rows: Sequence[Sequence[PageCell]]
    more: int = 0
    notes: Sequence[str] = ()

    @classmethod
    def cut(
        cls,
        caption: str,
        columns: Sequence[PageColumn],
        rows: Sequence[Sequence[PageCell]],
        most: int,
        notes: Sequence[str] = (),
    ) -> PageTable:
        """A table of the first ``most`` rows."""
        return cls(caption, columns, rows[:most], max(0, len(rows) - most), notes)


@dataclass(frozen=True)
class PageFigure:
    """A picture with its caption.

    Attributes:
        svg: the picture.
        title: what it is called.
        description: what it shows, for whoever does not see it.
        caption: what stands below it.
        on_light: whether its colours need a light ground, whatever the theme.
    """

    kind: ClassVar[str] = "figure"
    svg: Markup
    title: str
    description: str
    caption: str
    on_light: bool = False


@dataclass(frozen=True)
class PageGallery:
    """Pictures that stand side by side where there is room."""

    kind: ClassVar[str] = "gallery"
    figures: Sequence[PageFigure]


@dataclass(frozen=True)
class PageFacts:
    """Names and what they stand for."""

    kind: ClassVar[str] = "facts"
    entries: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class PageText:
    """Paragraphs of prose, one after the other."""

    kind: ClassVar[str] = "text"
    paragraphs: Sequence[str]


@dataclass(frozen=True)
class PageList:
    """Sentences that stand side by side."""

    kind: ClassVar[str] = "list"
    sentences: Sequence[str]


@dataclass(frozen=True)
class PageCode:
    """Lines to copy, and what they do."""

    kind: ClassVar[str] = "code"
    lines: Sequence[str]
    about: str


@dataclass(frozen=True)
class PageHeading:
    """The name of a part of a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class PageFolded:
    """What only some readers want, behind a line that opens it."""

    kind: ClassVar[str] = "folded"
    summary: str
    blocks: Sequence[PageBlock]


PageBlock = PageTable | PageFigure | PageGallery | PageFacts | PageText | PageList | PageCode | PageHeading | PageFolded


@dataclass(frozen=True)
class PageSection:
    """A part of a page.

    Attributes:
        name: its anchor.
        title: its heading.
        blocks: what it holds.
    """

    name: str
    title: str
    blocks: Sequence[PageBlock]


@dataclass(frozen=True)
class PageVerdict:
    """One sentence on what was found.

    Attributes:
        subject: what it is about, as a stranger may have named it.
        sentence: what is said of it.
        tone: of the sentence.
        word: the tone in a word.
    """

    subject: str
    sentence: str
    tone: Tone = ""
    word: str = "measured"


@dataclass(frozen=True)
class ReportPage:
    """All of a report.

    Attributes:
        title: of the page.
        verdicts: the most important first.
        sections: in their order.
        version: of bnsharp.
    """

    title: str
    verdicts: Sequence[PageVerdict]
    sections: Sequence[PageSection]
    version: str
