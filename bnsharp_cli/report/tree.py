"""A network's modules and tensors as a tree of lines: numbers summed, long networks folded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

FOLDED = 40
"""Lines that a tree may have before its deeper levels are folded."""


@dataclass(frozen=True)
class Leaf:
    """One tensor.

    Attributes:
        path: its full name.
        shape: its sizes.
        blocks: how many scale-invariant rows it has; None if that is not known.
        reason: why it has blocks or has none.
    """

    path: str
    shape: tuple[int, ...]
    blocks: int | None = None
    reason: str = ""

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass
class Branch:
    """A module, by the names of its tensors.

    Attributes:
        name: the last part of its name.
        kind: its class, if it is known.
        branches: its modules.
        leaves: its own tensors.
    """

    name: str
    kind: str = ""
    branches: dict[str, Branch] = field(default_factory=dict)
    leaves: dict[str, Leaf] = field(default_factory=dict)

    def all_leaves(self) -> Iterator[Leaf]:
        """Every tensor below, without recursion: names may be nested as deeply as a stranger likes."""
        waiting = [self]
        while waiting:
            branch = waiting.pop()
            yield from branch.leaves.values()
            waiting += branch.branches.values()


@dataclass(frozen=True)
class Line:
    """One line of a tree.

    Attributes:
        guides: what is drawn before the name.
        name: of the tensor or module, below the one above.
        kind: the class of a module, if it is known.
        leaves: the tensors that it stands for.
        simple: whether they are one tensor, or those of a module without modules.
    """

    guides: str
    name: str
    kind: str
    leaves: tuple[Leaf, ...]
    simple: bool


def grow(tensors: Mapping[str, Leaf], kinds: Mapping[str, str]) -> Branch:
    """The tree of tensors by the dots in their names.

    Args:
        tensors: by their full names.
        kinds: the class of each module, by its full name; empty where they are not known.
    """
    root = Branch("")
    for name, leaf in tensors.items():
        branch = root
        *modules, own = name.split(".")
        for part in modules:
            branch = branch.branches.setdefault(part, Branch(part))
        branch.leaves[own] = leaf
    for name, kind in kinds.items():
        found: Branch | None = root
        for part in name.split("."):
            found = found.branches.get(part) if found else None
        if found:
            found.kind = kind
    return root


def drawn(root: Branch, every: bool) -> list[Line]:
    """The lines of a tree: all modules and tensors, or modules down to the deepest level that keeps them few."""
    if every:
        return list(_lines(root, math.inf))
    shown = list(_lines(root, 1))
    for depth in count(2):
        deeper = list(_lines(root, depth))
        if not len(shown) < len(deeper) <= FOLDED:
            return shown
        shown = deeper
    return shown


def _lines(root: Branch, depth: float) -> Iterator[Line]:
    """Lines down to ``depth`` levels of modules; modules of nothing but tensors are opened at infinity only."""
    waiting = _below(root, "", 1)
    while waiting:
        guides, name, entry, last, level = waiting.pop()
        shown, further = guides + ("└─ " if last else "├─ "), guides + ("   " if last else "│  ")
        if isinstance(entry, Leaf):
            yield Line(shown, name, "", (entry,), simple=True)
            continue
        names = [name]
        while not entry.leaves and len(entry.branches) == 1:
            (entry,) = entry.branches.values()
            names.append(entry.name)
        opened = level < depth and bool(entry.branches or depth == math.inf)
        simple = not entry.branches and not opened
        yield Line(shown, ".".join(names), entry.kind, tuple(entry.all_leaves()), simple)
        if opened:
            waiting += _below(entry, further, level + 1)


def _below(branch: Branch, guides: str, level: int) -> list[tuple[str, str, Branch | Leaf, bool, int]]:
    """What is directly in a module, last first."""
    entries: list[tuple[str, Branch | Leaf]] = [*branch.leaves.items(), *branch.branches.items()]
    last = len(entries) - 1
    return [(guides, name, entry, number == last, level) for number, (name, entry) in enumerate(entries)][::-1]
