"""Bounds for the names of tensors: what walks a network's modules takes as long as there are modules in the names."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import takewhile

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.remedies import SAVE_WEIGHTS

LONGEST = 1000
"""Characters of a name, with the keys that lead to it."""

_MOST_PARTS = 100
_MODULES_FOR_EACH, _MODULES_OF_ANY = 4, 100
"""Modules that names may stand for: so many for each tensor, beside a few. Networks have fewer modules than tensors."""


def require_modest_names(names: Collection[str]) -> None:
    """Refuse names that are longer, or deeper, than those of any network.

    Raises:
        CheckpointRefusedError: with what was found.
    """
    longest = max(map(len, names), default=0)
    if longest > LONGEST:
        raise CheckpointRefusedError(
            f"The name of a tensor has {longest:,} characters, more than {LONGEST:,}.",
            SAVE_WEIGHTS,
            expected=f"names of at most {LONGEST:,} characters",
            found=longest,
        )
    deepest = max((name.count(".") + 1 for name in names), default=0)
    if deepest > _MOST_PARTS:
        raise CheckpointRefusedError(
            f"The name of a tensor has {deepest:,} parts, more than {_MOST_PARTS}.",
            SAVE_WEIGHTS,
            expected=f"names of at most {_MOST_PARTS} parts",
            found=deepest,
        )
    most = _MODULES_FOR_EACH * len(names) + _MODULES_OF_ANY
    if sum(name.count(".") for name in names) > most and (modules := _modules(names)) > most:
        raise CheckpointRefusedError(
            f"The names of {len(names):,} tensors stand for {modules:,} modules, more than any network has.",
            SAVE_WEIGHTS,
            expected=f"at most {most:,} modules",
            found=modules,
        )


def _modules(names: Iterable[str]) -> int:
    """How many different modules the names stand for.

    >>> _modules(["a.b.weight", "a.b.bias", "a.c.weight"])
    3
    """
    before: list[str] = []
    modules = 0
    for name in sorted(names):
        inside = name.split(".")[:-1]
        known = takewhile(lambda pair: pair[0] == pair[1], zip(before, inside, strict=False))
        modules += len(inside) - len(list(known))
        before = inside
    return modules
