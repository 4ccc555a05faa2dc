"""A network's modules and tensors as the lines of a tree; the deeper levels of long networks are folded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

FOLDED = 40
"""Lines that a tree may have before its deeper levels are folded."""


@dataclass(frozen=True)
class TensorLeaf:
    """One tensor of a module.

    Attributes:
        path: its full name.
        shape: of the tensor.
        blocks: how many scale-invariant rows it has; None if that is not known.
        reason: why it has blocks, or none.
        without_effect: whether no output depends on it.
    """

    path: str
    shape: tuple[int, ...]
    blocks: int | None = None
    reason: str = ""
    without_effect: bool = False

    @property
    def numbers(self) -> int:
        """The number of its entries."""
        return math.prod(self.shape)


@dataclass
class ModuleNode:
    """A module, as the names of tensors show it.

    Attributes:
        name: the last part of its name.
        kind: its class, if it is known.
        branches: the modules in it.
        leaves: its own tensors.
    """

    name: str
    kind: str = ""
    branches: dict[str, ModuleNode] = field(default_factory=dict)
    leaves: dict[str, TensorLeaf] = field(default_factory=dict)

    def all_leaves(self) -> Iterator[TensorLeaf]:
        """Every tensor below, without recursion: names may be nested as deeply as a stranger likes."""
        waiting = [self]
        while waiting:
            branch = waiting.pop()
            yield from branch.leaves.values()
            waiting += branch.branches.values()


@dataclass(frozen=True)
class TreeLine:
    """One line of a tree.

    Attributes:
        guides: the lines that are drawn before the name.
        name: of the tensor or module, without that of the module around it.
        kind: the class of a module, if it is known.
        leaves: the tensors that it stands for.
        simple: whether it is a tensor, or a module without modules.
    """

    guides: str
    name: str
    kind: str
    leaves: tuple[TensorLeaf, ...]
    simple: bool


def module_tree(tensors: Mapping[str, TensorLeaf], kinds: Mapping[str, str]) -> ModuleNode:
    """The tree of tensors, made from the dots in their names.

    Args:
        tensors: by their full names.
        kinds: the class of each module by its full name, as far as it is known.

    >>> root = module_tree({"layer.weight": TensorLeaf("layer.weight", (2, 3))}, {"layer": "Linear"})
    >>> [(line.name, line.kind, line.leaves[0].shape) for line in tree_lines(root, every=False)]
    [('layer', 'Linear', (2, 3))]
    """
    root = ModuleNode("")
    for name, leaf in tensors.items():
        branch = root
        *modules, own = name.split(".")
        for part in modules:
            branch = branch.branches.setdefault(part, ModuleNode(part))
        branch.leaves[own] = leaf
    for name, kind in kinds.items():
        found: ModuleNode | None = root
        for part in name.split("."):
            found = found.branches.get(part) if found else None
        if found:
            found.kind = kind
    return root


def tree_lines(root: ModuleNode, every: bool) -> list[TreeLine]:
    """The lines of a tree.

    Args:
        root: of :func:`module_tree`.
        every: all modules and tensors; otherwise modules down to the deepest level at which there are at most
            ``FOLDED`` lines.
    """
    if every:
        return list(_lines(root, math.inf))
    shown = list(_lines(root, 1))
    for depth in count(2):
        deeper = list(_lines(root, depth))
        if not len(shown) < len(deeper) <= FOLDED:
            return shown
        shown = deeper
    return shown


def _lines(root: ModuleNode, depth: float) -> Iterator[TreeLine]:
    """Lines down to ``depth`` levels of modules; modules of nothing but tensors are opened at infinity only."""
    waiting = _below(root, "", 1)
    while waiting:
        guides, name, entry, last, level = waiting.pop()
        shown, further = guides + ("└─ " if last else "├─ "), guides + ("   " if last else "│  ")
        if isinstance(entry, TensorLeaf):
            yield TreeLine(shown, name, "", (entry,), simple=True)
            continue
        names = [name]
        while not entry.leaves and len(entry.branches) == 1:
            (entry,) = entry.branches.values()
            names.append(entry.name)
        opened = level < depth and bool(entry.branches or depth == math.inf)
        simple = not entry.branches and not opened
        yield TreeLine(shown, ".".join(names), entry.kind, tuple(entry.all_leaves()), simple)
        if opened:
            waiting += _below(entry, further, level + 1)


def _below(branch: ModuleNode, guides: str, level: int) -> list[tuple[str, str, ModuleNode | TensorLeaf, bool, int]]:
    """What is directly in a module, last first."""
    entries: list[tuple[str, ModuleNode | TensorLeaf]] = [*branch.leaves.items(), *branch.branches.items()]
    last = len(entries) - 1
    return [(guides, name, entry, number == last, level) for number, (name, entry) in enumerate(entries)][::-1]
