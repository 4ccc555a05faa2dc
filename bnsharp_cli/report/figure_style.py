"""The colours and sizes of pictures: ours, or those of a style of matplotlib while one is in force."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import matplotlib

from bnsharp_cli.figures import INK, LINE_COLOURS

_SMALL = 4.5
"""Inches below which words are smaller."""

_settings: ContextVar[Mapping[str, Any] | None] = ContextVar("settings", default=None)


@contextmanager
def drawn_with(settings: Mapping[str, Any]) -> Iterator[None]:
    """Meanwhile pictures are drawn with settings of matplotlib; those that it leaves open are ours.

    Args:
        settings: by their names in matplotlib, checked by :func:`~bnsharp_cli.report.style_files.style_settings`.

    >>> with drawn_with({"text.color": "red"}):
    ...     ink(), line_colour(0), size_of_words(7)
    ('red', '#0072b2', 8.0)
    """
    token = _settings.set(settings)
    try:
        with matplotlib.rc_context(cast(Any, dict(settings))):
            yield
    finally:
        _settings.reset(token)


def ink() -> str:
    """The colour of words and thin lines."""
    return str(_of_style("text.color", INK))


def line_colour(number: int) -> Any:
    """The colour of one of several things, by its number."""
    cycle = _of_style("axes.prop_cycle", None)
    colours = LINE_COLOURS if cycle is None else cycle.by_key().get("color", LINE_COLOURS)
    return colours[number % len(colours)]


def size_of_words(width: float) -> float:
    """Points of the letters of a picture.

    Args:
        width: of the picture, in inches.
    """
    return float(_of_style("font.size", 7.0 if width < _SMALL else 8.0))


def colours_of_heights(ours: str) -> str:
    """The name of a colour map for heights."""
    return str(_of_style("image.cmap", ours))


def background() -> Any:
    """The colour behind everything, such as inside open marks."""
    return _of_style("axes.facecolor", "white")


def _of_style(name: str, ours: Any) -> Any:
    """What the style in force says; ours where it says nothing, or none is."""
    return (_settings.get() or {}).get(name, ours)
