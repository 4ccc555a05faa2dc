"""Styles of matplotlib for pictures: by a name of its own, or from a file, which may be a stranger's.

A style decides how things look, and nothing else: what it says of programs that are run, of files, of windows or of the
size of the picture is passed over and told. A file is read line by line, each value by matplotlib's check of that
setting; nothing in it is evaluated.
"""

from __future__ import annotations

import ast
import io
import logging
import numbers
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg

from bnsharp_cli.errors import UsageError, counted, shown
from bnsharp_cli.io.files.printable_text import kind_and_line, shown_path
from bnsharp_cli.io.files.regular_files import read_whole
from bnsharp_cli.report.figure_layout import column_of_panels
from bnsharp_cli.report.figure_style import drawn_with

STYLE_ENDING = ".mplstyle"
_LARGEST, _MOST_TOLD = 2**16, 4
_LONGEST_NUMBER = 100.0
"""Points, parts of an axis and the like: what is larger is no look."""

_LOOKS = (
    *("axes.", "axes3d.", "xaxis.", "yaxis.", "xtick.", "ytick.", "grid.", "lines.", "patch.", "font.", "legend."),
    *("errorbar.", "hatch.", "mathtext.", "markers.", "contour.", "scatter.", "text.color", "text.hinting"),
    *("text.antialiased", "image.cmap", "figure.facecolor", "figure.edgecolor", "figure.title", "figure.label"),
    *("savefig.facecolor", "savefig.edgecolor", "savefig.transparent", "svg.fonttype", "pdf.fonttype"),
)
"""How the names of settings begin that decide how things look."""

_NO_LOOKS = ("axes.formatter.use_locale",)
_CYCLE = "axes.prop_cycle"


@dataclass(frozen=True)
class Style:
    """A style of pictures.

    Attributes:
        settings: by their names in matplotlib, as it has checked them.
        notes: what the user should know, in sentences.
    """

    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def style_settings(style: str | None) -> Style:
    """The settings of a style.

    Args:
        style: a name that matplotlib knows, or a file ending in .mplstyle; None for our own style.

    >>> style_settings("grayscale").settings["image.cmap"]
    'gray'

    Raises:
        UsageError: no such style, or a file that is none.
    """
    if style is None:
        return Style({})
    if style.endswith(STYLE_ENDING):
        found = _of_file(Path(style))
    elif style in matplotlib.style.available:
        found = Style(_looks(matplotlib.style.library[style]))
    else:
        expected = f"a style of matplotlib, or a file ending in {STYLE_ENDING}"
        raise UsageError.of("style", expected, style, "For example seaborn-v0_8-paper, grayscale or ./paper.mplstyle.")
    return _tried(found, style)


def _is_look(name: str) -> bool:
    return name.startswith(_LOOKS) and name not in _NO_LOOKS


def _looks(settings: Mapping[Any, Any]) -> dict[str, Any]:
    """The settings that decide how things look, of some."""
    return {name: value for name, value in settings.items() if _is_look(name)}


def _of_file(path: Path) -> Style:
    """The settings of a file.

    Raises:
        UsageError: it cannot be read, or a line of it is no setting.
    """
    raw = read_whole(path, _LARGEST, "a style", lambda reason: _refused(path, reason))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(path, "is no text in UTF-8") from error
    checked, passed_over = matplotlib.RcParams(), []
    for number, name, value in _lines(path, text):
        _check(path, number, checked, name, value)
        if not _is_look(name):
            passed_over.append(name)
    return Style(_looks(checked), tuple(_on_passed_over(path, dict.fromkeys(passed_over))))


def _lines(path: Path, text: str) -> Iterator[tuple[int, str, str]]:
    """The number, name and value of each line that holds a setting."""
    for number, line in enumerate(text.splitlines(), 1):
        setting = _without_comment(line)
        if not setting:
            continue
        name, colon, value = (part.strip() for part in setting.partition(":"))
        if not colon or not name:
            raise _refused(path, f"has no setting in line {number}: '{shown(setting)[:60]}'")
        quoted = len(value) > 1 and value[0] == value[-1] == '"'
        yield number, name, value[1:-1] if quoted else value


def _without_comment(line: str) -> str:
    """A line up to its comment; a sign of one inside quotation marks begins none.

    >>> _without_comment('text.color: "#333333"  # dark')
    'text.color: "#333333"'
    """
    inside = False
    for place, letter in enumerate(line):
        inside ^= letter == '"'
        if letter == "#" and not inside:
            return line[:place].strip()
    return line.strip()


def _check(path: Path, number: int, checked: Any, name: str, value: str) -> None:
    """Take a setting in, as matplotlib has checked it."""
    try:
        if name == _CYCLE:
            _require_plain_cycle(value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old names; the value counts
            checked[name] = value
        if _is_look(name):
            _require_bearable(checked[name])
    except KeyError as error:
        raise _refused(path, f"names no setting of matplotlib in line {number}: '{shown(name)[:60]}'") from error
    except Exception as error:  # matplotlib's checks raise whatever they stumble over
        said = f"line {number}, {shown(name)}: {kind_and_line(error)}"
        raise _refused(path, f"has a value that matplotlib does not take ({said})") from error


def _require_plain_cycle(value: str) -> None:
    """Refuse anything but ``cycler(…)`` of literals: before 3.11 matplotlib evaluates it.

    Raises:
        ValueError: it is anything else.
    """
    call = ast.parse(value, mode="eval").body
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "cycler":
        raise ValueError("expected cycler('color', [...])")
    for part in (*call.args, *(keyword.value for keyword in call.keywords)):
        ast.literal_eval(part)


def _require_bearable(value: object) -> None:
    """Refuse numbers that no look has.

    Raises:
        ValueError: a number beyond them.
    """
    each: Iterable[object] = value if isinstance(value, list | tuple) else (value,)
    for one in each:
        if isinstance(one, numbers.Real) and not abs(float(one)) <= _LONGEST_NUMBER:
            raise ValueError(f"expected at most {_LONGEST_NUMBER:g}")


def _tried(style: Style, name: str) -> Style:
    """A style that something has been drawn with, before the work whose picture needs it.

    Raises:
        UsageError: matplotlib cannot draw with it.
    """
    with drawn_with(style.settings), _font_messages() as told:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                _draw_something()
        except Exception as error:  # matplotlib raises and warns of whatever it stumbles over
            raise UsageError.of(
                "style", "a style that pictures can be drawn with", name, f"matplotlib: {kind_and_line(error)}."
            ) from error
    missing = ("the style names fonts that are not installed, so others are used",) if told else ()
    return Style(style.settings, (*style.notes, *missing))


def _draw_something() -> None:
    figure, (axes,) = column_of_panels(3.25, [2.0])
    axes.errorbar([1, 2], [1, 2], [0.1, 0.1], marker="o", label="δ")
    axes.fill_between([1, 2], [1, 2], [2, 3])
    axes.set(title="L(θ)", xlabel="δ", ylabel="$10^{-3}$", xscale="log")
    axes.legend()
    FigureCanvasAgg(figure)
    figure.savefig(io.BytesIO(), format="png")


@contextmanager
def _font_messages() -> Iterator[list[logging.LogRecord]]:
    """What matplotlib says of fonts meanwhile, instead of printing it: names in it are those of the file."""
    told: list[logging.LogRecord] = []
    logger = logging.getLogger("matplotlib.font_manager")

    def keep(record: logging.LogRecord) -> bool:
        told.append(record)
        return False

    logger.addFilter(keep)
    try:
        yield told
    finally:
        logger.removeFilter(keep)


def _on_passed_over(path: Path, names: Iterable[str]) -> Iterator[str]:
    every = [*names]
    if every:
        more = f" and {counted(len(every) - _MOST_TOLD, 'other')}" if len(every) > _MOST_TOLD else ""
        told = ", ".join(every[:_MOST_TOLD])
        yield f"{shown_path(path)}: {told}{more} not taken: a style decides colours, letters and lines"


def _refused(path: Path, reason: str) -> UsageError:
    return UsageError(
        f"{shown_path(path)} {reason}.",
        "Name a style sheet of matplotlib: lines such as 'font.size: 8'.",
        argument="style",
        expected="a style sheet of matplotlib",
        found=reason,
    )
