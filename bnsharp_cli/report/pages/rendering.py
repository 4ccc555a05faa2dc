"""Writes a page as one HTML file that loads nothing and runs nothing but its own script.

Every text on it is escaped, and printable first: no name of a stranger's becomes markup, turns the writing direction or
grows without end. Besides, the page's own content-security policy allows only the style and the script below, by their
digests. So even markup that slipped through could neither run nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
import math
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bnsharp_cli.errors import shown
from bnsharp_cli.report.pages.page import ReportPage

HERE = Path(__file__).parent
_LONGEST = 2000
"""Characters of any one text; a sentence of ours has some hundred."""


def render_page(page: ReportPage) -> str:
    """The page as HTML, the same text for the same page."""
    style, script = (_asset(name) for name in ("page.css", "page.js"))
    policy = f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; base-uri 'none'; "
    template = _environment().get_template("page.html.j2")
    return template.render(
        page=page, style=Markup(style), script=Markup(script), policy=f"{policy}form-action 'none'", digits=_digits
    )


def printable_text(value: object) -> object:
    r"""A text, printable and of bounded length; markup of our own stays as it is.

    >>> printable_text("a\u202eb")
    'a\\u202eb'
    """
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    text = shown(value[: _LONGEST + 1])
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _digits(number: float) -> str:
    """A number for a program, in full.

    >>> _digits(0.1), _digits(math.inf)
    ('0.1', 'Infinity')
    """
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return repr(float(number))


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=printable_text,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@cache
def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """What a content-security policy allows a style or a script by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
