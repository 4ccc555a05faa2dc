"""The shipped index of networks: which constructor's names and shapes a checkpoint has.

``architectures.json`` has a line for every outline of torchvision's and timm's image classifiers, with the number of
classes and of input channels left out. ``python -m tools.index_architectures`` writes it anew.
"""

from __future__ import annotations

import functools
import heapq
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bnsharp_cli.io.networks.index_file import index_contents
from bnsharp_cli.io.networks.outlines import (
    OpenDimension,
    Outline,
    Shapes,
    digest,
    lines,
    names_hash,
    read_off,
    shapes_hash,
)

_SKETCH = 16
_SKETCH_DIGITS = 8


@dataclass(frozen=True)
class KnownOutline:
    """One outline of the index, and the constructors that give it.

    Attributes:
        names: hash of the names of its tensors.
        shapes: hash of names and shapes without the sizes of the dimensions below.
        classes: the dimensions that the number of classes decides.
        channels: the dimensions that the number of input channels decides.
        sketch: the smallest hashes of its (name, shape) pairs, by which two outlines are compared.
        functions: constructors, grouped by the function that they compute from the same weights; the first of each
            group stands for it.
    """

    names: str
    shapes: str
    classes: tuple[OpenDimension, ...]
    channels: tuple[OpenDimension, ...]
    sketch: frozenset[str]
    functions: tuple[tuple[str, ...], ...]

    def matches(self, shapes: Shapes) -> bool:
        """Whether tensors of these names and shapes are this network's, for some number of classes and channels."""
        if shapes_hash(shapes, self.classes + self.channels) != self.shapes:
            return False
        return all(not open_ or read_off(open_, shapes) is not None for open_ in (self.classes, self.channels))


def index_entry(outline: Outline, functions: Iterable[Iterable[str]]) -> dict[str, Any]:
    """A line of the index, as plain containers."""
    return {
        "names": names_hash(outline.shapes),
        "shapes": shapes_hash(outline.shapes, outline.classes + outline.channels),
        "classes": [dimension.to_list() for dimension in outline.classes],
        "channels": [dimension.to_list() for dimension in outline.channels],
        "sketch": "".join(sorted(_sketch(outline.shapes))),
        "functions": [list(group) for group in functions],
    }


def index_text(entries: Iterable[Mapping[str, Any]], versions: Mapping[str, str]) -> str:
    """The text of the index: a line per outline."""
    head = json.dumps(dict(versions))[1:-1]
    body = ",\n".join(json.dumps(line, separators=(",", ":")) for line in entries)
    return f'{{{head}, "networks": [\n{body}\n]}}\n'


@functools.cache
def known_outlines() -> tuple[KnownOutline, ...]:
    """Every outline of the shipped index."""
    return tuple(_from_line(line) for line in index_contents()["networks"])


def matching_outlines(shapes: Shapes) -> list[KnownOutline]:
    """The outlines that tensors of these names and shapes have: none, one, or in rare cases more."""
    names = names_hash(shapes)
    return [known for known in known_outlines() if known.names == names and known.matches(shapes)]


def nearest_outlines(shapes: Shapes, count: int) -> list[KnownOutline]:
    """The outlines that share most (name, shape) pairs, as their sketches tell; those that share none are left out.

    The smallest hashes of a set are a random sample of it; those of two sets estimate what the sets share (Broder
    1997).
    """
    sketch = _sketch(shapes)

    def likeness(known: KnownOutline) -> float:
        union = set(heapq.nsmallest(_SKETCH, sketch | known.sketch))
        return len(union & sketch & known.sketch) / max(1, len(union))

    alike = [(likeness(known), known) for known in known_outlines()]
    best = heapq.nlargest(count, (pair for pair in alike if pair[0] > 0), key=lambda pair: pair[0])
    return [known for _, known in best]


def _from_line(line: Mapping[str, Any]) -> KnownOutline:
    classes, channels = (tuple(OpenDimension(*entries) for entries in line[key]) for key in ("classes", "channels"))
    text = line["sketch"]
    sketch = frozenset(text[start : start + _SKETCH_DIGITS] for start in range(0, len(text), _SKETCH_DIGITS))
    functions = tuple(tuple(group) for group in line["functions"])
    return KnownOutline(line["names"], line["shapes"], classes, channels, sketch, functions)


def _sketch(shapes: Shapes) -> frozenset[str]:
    hashes = {digest([line])[:_SKETCH_DIGITS] for line in lines(shapes)}
    return frozenset(heapq.nsmallest(_SKETCH, hashes))
