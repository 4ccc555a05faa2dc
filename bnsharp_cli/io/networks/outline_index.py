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
from importlib.resources import files
from typing import Any

from bnsharp_cli.io.networks.outlines import (
    Shapes,
    Skeleton,
    Slot,
    Slots,
    digest,
    lines,
    names_hash,
    read_off,
    shapes_hash,
)

_FILE = "architectures.json"
_SKETCH = 16
_SKETCH_DIGITS = 8


@dataclass(frozen=True)
class Known:
    """One outline, and the constructors that give it.

    Attributes:
        names: hash of the names of its tensors.
        shapes: hash of names and shapes without what the slots decide.
        classes: the dimensions that the number of classes decides.
        channels: the dimensions that the number of input channels decides.
        sketch: the smallest hashes of its (name, shape) pairs, by which two outlines are compared.
        functions: constructors, grouped by the function that they compute from the same weights; the first of each
            group stands for it.
    """

    names: str
    shapes: str
    classes: Slots
    channels: Slots
    sketch: frozenset[str]
    functions: tuple[tuple[str, ...], ...]

    def has_outline(self, shapes: Shapes) -> bool:
        """Whether tensors of these names and shapes are this network's, for some number of classes and channels."""
        if shapes_hash(shapes, self.classes + self.channels) != self.shapes:
            return False
        return all(not slots or read_off(slots, shapes) is not None for slots in (self.classes, self.channels))


def entry(skeleton: Skeleton, functions: Iterable[Iterable[str]]) -> dict[str, Any]:
    """A line of the index, as plain containers."""
    return {
        "names": names_hash(skeleton.shapes),
        "shapes": shapes_hash(skeleton.shapes, skeleton.classes + skeleton.channels),
        "classes": [slot.brief() for slot in skeleton.classes],
        "channels": [slot.brief() for slot in skeleton.channels],
        "sketch": "".join(sorted(_sketch(skeleton.shapes))),
        "functions": [list(group) for group in functions],
    }


def write(entries: Iterable[Mapping[str, Any]], versions: Mapping[str, str]) -> str:
    """The text of the index: a line per outline."""
    head = json.dumps(dict(versions))[1:-1]
    body = ",\n".join(json.dumps(line, separators=(",", ":")) for line in entries)
    return f'{{{head}, "networks": [\n{body}\n]}}\n'


@functools.cache
def known() -> tuple[Known, ...]:
    """Every outline of the shipped index."""
    return tuple(_known(line) for line in contents()["networks"])


@functools.cache
def contents() -> dict[str, Any]:
    """The shipped index as it is written: versions, and ``networks``."""
    text = (files("bnsharp_cli.io.networks") / _FILE).read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def matches(shapes: Shapes) -> list[Known]:
    """The outlines that tensors of these names and shapes have: none, one, or in rare cases more."""
    names = names_hash(shapes)
    return [known_one for known_one in known() if known_one.names == names and known_one.has_outline(shapes)]


def nearest(shapes: Shapes, count: int) -> list[Known]:
    """The outlines that seem to share most (name, shape) pairs, by their sketches; such that share none are left out.

    The smallest of the hashes of a set are a random sample of it, and those of two sets tell what they share
    (Broder 1997).
    """
    sketch = _sketch(shapes)

    def likeness(known_one: Known) -> float:
        union = set(heapq.nsmallest(_SKETCH, sketch | known_one.sketch))
        return len(union & sketch & known_one.sketch) / max(1, len(union))

    alike = [(likeness(known_one), known_one) for known_one in known()]
    best = heapq.nlargest(count, (pair for pair in alike if pair[0] > 0), key=lambda pair: pair[0])
    return [known_one for _, known_one in best]


def _known(line: Mapping[str, Any]) -> Known:
    classes, channels = (tuple(Slot(*slot) for slot in line[key]) for key in ("classes", "channels"))
    text = line["sketch"]
    sketch = frozenset(text[start : start + _SKETCH_DIGITS] for start in range(0, len(text), _SKETCH_DIGITS))
    functions = tuple(tuple(group) for group in line["functions"])
    return Known(line["names"], line["shapes"], classes, channels, sketch, functions)


def _sketch(shapes: Shapes) -> frozenset[str]:
    hashes = {digest([line])[:_SKETCH_DIGITS] for line in lines(shapes)}
    return frozenset(heapq.nsmallest(_SKETCH, hashes))
