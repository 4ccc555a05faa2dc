"""The options of ``bnsharp figure``; nothing heavy is imported."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Literal

from bnsharp_cli.errors import UsageError
from bnsharp_cli.option_records import OptionRecord, never, option, same_option
from bnsharp_cli.workflows.measured_files import MeasuredFiles
from bnsharp_cli.workflows.options import Output

FIGURE_KINDS = ("profile", "landscape", "between", "delta", "layers", "spectrum", "training")
"""The kinds of figures."""

FEWEST_EVALUATIONS = 81
"""The grid that a landscape begins with."""

_WIDEST = 60.0


def read_width(text: str) -> float:
    """A width in inches from ``3.25in`` or ``8cm``; a number alone is in inches.

    >>> read_width("3.25in"), read_width("2.54cm"), read_width("7")
    (3.25, 1.0, 7.0)

    Raises:
        UsageError: neither.
    """
    number, unit_size = text, 1.0
    for unit, size in (("in", 1.0), ("cm", 2.54), ("mm", 25.4)):
        if text.endswith(unit):
            number, unit_size = text.removesuffix(unit), size
    try:
        return float(number) / unit_size
    except ValueError as error:
        raise UsageError.of("width", "a width such as 3.25in or 8cm", text, "For example 3.25in.") from error


@dataclass(frozen=True)
class FigureOptions(OptionRecord):
    """What a figure shows.

    Attributes:
        reach: the largest step, in units of the radii of the blocks; those of relative blocks are the lengths of their
            weights.
        random: random directions of a profile.
        span: what a landscape is spanned by, beside a random direction orthogonal to it; ``path`` stands for the two
            principal directions of several checkpoints of a training, with the last one in the place of θ.
        view: whether a landscape is drawn by its contours or as a surface over the plane.
        evaluations: of a landscape, each a forward pass.
        accuracy: whether a profile shows the accuracy too.
        scale: of the loss.
        match: what of the second network is made like the first before a line is drawn between them: the lengths of
            scale-invariant rows, or the order of channels, too.
        bend: training steps of the curve between two networks; 0 for none.
    """

    reach: float = option(
        0.5,
        "Largest step, as a part of the weights of a block; of a path, its checkpoints decide.",
        expected="a number above 0 and at most 10",
        accept=lambda reach: 0 < reach <= 10,
    )
    random: int = option(5, "Random directions of a profile.", minimum=0, maximum=1000)
    span: Literal["sharpest", "gradient", "random", "path"] = option(
        "sharpest",
        "First direction of a landscape, the second is random and orthogonal; path: the principal directions of "
        "several checkpoints around the last.",
    )
    evaluations: int = option(
        200, "Forward passes that a landscape may cost.", minimum=FEWEST_EVALUATIONS, maximum=100_000
    )
    accuracy: bool = option(False, "A profile shows the accuracy too.")
    scale: Literal["auto", "linear", "log"] = option(
        "auto", "Scale of the loss: auto is log where it spans more than a factor of ten."
    )
    view: Literal["contour", "surface"] = option("contour", "How a landscape is drawn.")
    match: Literal["rows", "permutations"] = option(
        "rows", "Matched before a line between networks is drawn: lengths of rows, or channels, too."
    )
    bend: int = option(
        50, "Training steps of the curve between networks, a gradient on a batch each.", minimum=0, maximum=100_000
    )


@dataclass(frozen=True)
class FigureFiles(OptionRecord):
    """What a figure is written to.

    Attributes:
        plot: the picture.
        values: the numbers in it; None for no file.
        width: in inches.
        style: a style of matplotlib, or a file of one; None for our own.
        results: folder in which what is computed is kept, and found again; None for none.
        quiet: neither notices nor progress.
    """

    plot: Path = option(
        MISSING,
        "Write the picture to this file (.png, .svg or .pdf).",
        missing="a file ending in .png, .svg or .pdf",
        example="For example figure.svg.",
        harmless=never,
    )
    values: Path | None = option(
        None, "Write the numbers of the picture to this file (.csv, .json or .npz).", harmless=never
    )
    width: float = option(
        7.0,
        "Width of the picture: 3.25in, 8cm.",
        metavar="WIDTH",
        read=read_width,
        shown_default="7in",
        expected=f"more than 1 inch and at most {_WIDEST:g}",
        accept=lambda width: 1 < width <= _WIDEST,
        example="For example 3.25in.",
    )
    style: str | None = option(
        None,
        "Look of the picture: a style of matplotlib by its name, or a file of one (.mplstyle).",
        metavar="NAME|FILE",
    )
    results: Path | None = same_option(MeasuredFiles, "results")
    quiet: bool = same_option(Output, "quiet")

    @property
    def read(self) -> list[Path]:
        """The files that are read for it."""
        return [Path(self.style)] if self.style is not None and self.style.endswith(".mplstyle") else []


def require_values_format(path: Path | None) -> None:
    """Refuse a format of numbers before anything is measured.

    Raises:
        UsageError: an ending that is none of .csv, .json, .npz.
    """
    if path is not None and path.suffix.lower() not in {".csv", ".json", ".npz"}:
        raise UsageError.of("values", "a file ending in .csv, .json or .npz", path.name, "Rename it.")


def kind_of(text: str) -> str:
    """The kind of a figure.

    Raises:
        UsageError: no such kind.
    """
    if text not in FIGURE_KINDS:
        raise UsageError.of("kind", f"one of {', '.join(FIGURE_KINDS)}", text, f"For example {FIGURE_KINDS[0]}.")
    return text
