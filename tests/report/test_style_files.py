"""Styles of pictures: names of matplotlib's, and files, which may be a stranger's."""

from __future__ import annotations

import logging
from pathlib import Path

import matplotlib
import pytest

from bnsharp_cli.errors import UsageError
from bnsharp_cli.report.figure_style import background, drawn_with, ink, line_colour, size_of_words
from bnsharp_cli.report.style_files import style_settings

PAPER = """\
# of a paper
font.size : 6.5        # small
axes.prop_cycle : cycler('color', ['0C5DA5', '00B945'])
text.color: "#102030"
"""


def style_of(folder: Path, text: str | bytes) -> str:
    path = folder / "own.mplstyle"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def test_a_file_decides_colours_and_letters_while_it_is_in_force(tmp_path: Path) -> None:
    style = style_settings(style_of(tmp_path, PAPER))
    ours = (ink(), line_colour(1), size_of_words(3.25))
    with drawn_with(style.settings):
        assert (ink(), line_colour(1), line_colour(2), size_of_words(3.25)) == ("#102030", "#00B945", "#0C5DA5", 6.5)
        assert matplotlib.rcParams["font.size"] == 6.5
    assert (ink(), line_colour(1), size_of_words(3.25)) == ours
    assert matplotlib.rcParams["font.size"] != 6.5
    assert style.notes == ()


def test_a_style_of_matplotlib_by_its_name() -> None:
    with drawn_with(style_settings("dark_background").settings):
        assert (ink(), background()) == ("white", "black")
    assert style_settings(None).settings == {}


def test_what_is_no_matter_of_looks_is_not_taken_and_told(tmp_path: Path) -> None:
    settings = {
        "text.usetex": "True", "backend": "pgf", "savefig.directory": "/tmp", "animation.ffmpeg_path": "/tmp/evil",
        "figure.figsize": "900, 900", "savefig.dpi": "100000", "interactive": "True", "pgf.preamble": "x",
        "axes.formatter.use_locale": "True",
    }  # fmt: skip
    text = "".join(f"{name}: {value}\n" for name, value in settings.items())
    style = style_settings(style_of(tmp_path, f"lines.linewidth: 3\n{text}"))
    assert style.settings == {"lines.linewidth": 3.0}
    (note,) = style.notes
    assert "own.mplstyle: text.usetex, backend, savefig.directory, animation.ffmpeg_path and 5 others not taken" in note


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("font.size: large\x1b[31m\n", r"line 1, font.size: ValueError: "),
        ("no setting\n", "has no setting in line 1: 'no setting'"),
        ("\nfoo.\x1b[31mbar: 1\n", r"names no setting of matplotlib in line 2: 'foo.\x1b[31mbar'"),
        ("font.size: 1e9\n", "expected at most 100"),
        ("lines.linewidth: nan\n", "expected at most 100"),
        ("axes.prop_cycle: __import__('os').system('id')\n", "expected cycler('color', [...])"),
        ("axes.prop_cycle: cycler('color', 'r'*10**10)\n", "axes.prop_cycle: ValueError"),
        ("axes.prop_cycle: cycler('color', 'rgb')*10**10\n", "expected cycler('color', [...])"),
        (f"axes.prop_cycle: {'(' * 9000}\n", "axes.prop_cycle"),
        (b"\xff\xfe\x00", "is no text in UTF-8"),
        ("#" * 70_000, "at most 65,536 are a style"),
        ("lines.dashed_pattern: 0, 0\nlines.linestyle: --\n", "a style that pictures can be drawn with"),
    ],
)
def test_a_bad_file_is_refused_in_a_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        style_settings(style_of(tmp_path, text))
    assert said in str(refused.value)
    assert str(refused.value).isprintable()
    assert refused.value.argument == "style"


@pytest.mark.parametrize("name", ["none.mplstyle", "http://example.org/x.mplstyle", "os.path", "", "matplotlib.style"])
def test_only_files_and_names_of_matplotlib_are_styles(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        style_settings(name)


def test_fonts_that_are_missing_are_told_without_their_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        style = style_settings(style_of(tmp_path, "font.family: Nowhere\x1b[31m Sans\n"))
    assert style.notes == ("the style names fonts that are not installed, so others are used",)
    assert not caplog.records
