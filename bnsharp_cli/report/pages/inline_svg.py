"""Pictures of matplotlib as SVG inside a page: words stay words, and no style, script or address comes with them.

A page whose content-security policy allows no inline styles ignores ``style="…"``. So each style becomes attributes of
its element, which say the same.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_LOCAL = re.compile(r"url\(#([^)]+)\)")
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_FONT = re.compile(r"(?P<size>[\d.]+px)\s+(?P<family>.+)")
_ELEMENTS = frozenset(
    {"svg", "g", "defs", "path", "use", "text", "tspan", "clipPath", "rect", "circle", "line", "polyline", "polygon"}
)
_ATTRIBUTES = frozenset(
    {
        *("id", "d", "x", "y", "width", "height", "r", "cx", "cy", "points", "transform", "viewBox", "href"),
        *("clip-path", "fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity", "opacity"),
        *("stroke-linecap", "stroke-linejoin", "stroke-dasharray", "stroke-dashoffset", "stroke-miterlimit"),
        *("font-size", "font-family", "font-weight", "font-style", "text-anchor"),
    }
)
_GEOMETRY = frozenset({"d", "x", "y", "width", "height", "points", "transform", "clip-path", "r", "cx", "cy"})


@contextmanager
def words_as_words() -> Iterator[None]:
    """Inside, matplotlib writes words as words and the same names for the same parts."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bnsharp"}):
        yield


def inline(figure: Figure, name: str, title: str, description: str) -> Markup:
    """A picture as the ``svg`` element of a page.

    Args:
        figure: of matplotlib.
        name: what its parts are named by; another one for each picture of a page.
        title: what it is called.
        description: what it shows, for whoever does not see it.
    """
    stream = io.BytesIO()
    FigureCanvasSVG(figure)
    with words_as_words():
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return inlined(stream.getvalue(), name, title, description)


def inlined(svg: bytes, name: str, title: str, description: str) -> Markup:
    """A file that matplotlib wrote as the ``svg`` element of a page; see :func:`inline`."""
    root = ElementTree.fromstring(svg)
    _cleaned(root, name)
    root.attrib.pop("width", None)
    root.attrib.pop("height", None)
    body = "".join(ElementTree.tostring(child, encoding="unicode") for child in root)
    body = re.sub(r' xmlns:\w+="[^"]*"|(?<=<)ns0:|(?<=</)ns0:', "", body)
    return Markup(
        '<svg viewBox="{}" role="img" aria-labelledby="{}-title {}-description" stroke-linejoin="round" '
        'stroke-linecap="butt"><title id="{}-title">{}</title><desc id="{}-description">{}</desc>{}</svg>'
    ).format(root.get("viewBox", ""), name, name, name, title, name, description, Markup(body))


def _cleaned(element: ElementTree.Element, name: str) -> None:
    """Keep what draws; make attributes of styles; name parts by ``name``."""
    for child in [*element]:
        if child.tag.removeprefix(_SVG) not in _ELEMENTS:
            element.remove(child)
        else:
            child.tail = None
            _cleaned(child, name)
    attributes = {**_styled(element.attrib.pop("style", "")), **element.attrib}
    if _HREF in attributes:
        attributes["href"] = attributes.pop(_HREF)
    element.attrib.clear()
    element.attrib.update(
        {key: _attribute(key, value, name) for key, value in attributes.items() if key in _ATTRIBUTES}
    )
    if element.text and not element.text.strip():
        element.text = None


def _styled(style: str) -> dict[str, str]:
    """A style as attributes.

    >>> _styled("font: 9px 'DejaVu Sans'; text-anchor: end")
    {'font-size': '9px', 'text-anchor': 'end'}
    """
    found = {}
    for entry in style.split(";"):
        key, colon, value = (part.strip() for part in entry.partition(":"))
        if key == "font" and (both := _FONT.search(value)):
            found["font-size"] = both["size"]
        elif colon and key != "font-family":  # the page has its own
            found[key] = value
    return found


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return f"#{name}-{value.removeprefix('#')}"
    if key == "clip-path":
        return _LOCAL.sub(lambda found: f"url(#{name}-{found[1]})", value)
    return _NUMBER.sub(lambda found: f"{float(found[0]):.2f}", " ".join(value.split())) if key in _GEOMETRY else value
