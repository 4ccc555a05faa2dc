"""What a checkpoint holds of classes that are not read: where it stands, and whether weights may be in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnsharp_cli.errors import indefinite
from bnsharp_cli.io.checkpoints.entries import NO_NETWORK, STATES
from bnsharp_cli.io.containers.built_content import UnreadObject
from bnsharp_cli.io.files.printable_text import one_line

_MOST = 256
"""How many are listed, of those with tensors and of the others each."""

_SHOWN = 4
_LONGEST_PART = 80


@dataclass(frozen=True)
class Unread:
    """An object that is not read, in its place.

    Attributes:
        place: the keys that lead to it, as a dotted path; fit to print.
        name: of its class, or of the function that would make it; fit to print.
        holds_tensors: whether tensors are in it.
        may_be_network: whether these may be weights: they are none of an optimiser, a loss or the like.
        of_run: whether it belongs to the state of an optimiser, a schedule or the like.
    """

    place: str
    name: str
    holds_tensors: bool
    may_be_network: bool
    of_run: bool

    def __str__(self) -> str:
        return f"'{self.place}' is {indefinite(self.name)}"


def unread_objects(content: Mapping[str, Any]) -> list[Unread]:
    """The ones among ``content``, the outermost first; what stands in several places is found in the first.

    Of some hundred that hold tensors, and of as many others, more are left out.
    """
    found: dict[bool, list[Unread]] = {True: [], False: []}
    holders: dict[int, tuple[int, object]] = {}
    waiting: deque[Any] = deque([content])
    known = {id(content)}
    while waiting:
        holder = waiting.popleft()
        for key, value in _entries(holder):
            for one in (key, value):
                if isinstance(one, UnreadObject) and len(found[one.holds_tensors]) < _MOST:
                    found[one.holds_tensors].append(_placed(one, [*_path(holder, holders), key]))
            if isinstance(value, Mapping | list | tuple | set) and id(value) not in known:
                known.add(id(value))
                holders[id(value)] = (id(holder), key)
                waiting.append(value)
    return [*found[True], *found[False]]


def note(unread: Sequence[Unread]) -> tuple[str, ...]:
    """What the user should know of tensors that are left out, in one line; nothing of an optimiser's."""
    left_out = [one for one in unread if one.holds_tensors and not one.of_run]
    if not left_out:
        return ()
    shown = ", ".join(f"'{one.place}' ({one.name})" for one in left_out[:_SHOWN])
    more = f" and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
    return (f"the tensors inside {shown}{more} are not read",)


def names_of(unread: Sequence[Unread]) -> str:
    """Their names, each once."""
    names = list(dict.fromkeys(one.name for one in unread))
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _entries(holder: Any) -> Iterator[tuple[object, Any]]:
    yield from holder.items() if isinstance(holder, Mapping) else enumerate(holder)


def _path(holder: object, holders: Mapping[int, tuple[int, object]]) -> list[object]:
    """The keys that lead to a container."""
    path: list[object] = []
    place = id(holder)
    while place in holders:
        place, key = holders[place]
        path.append(key)
    return path[::-1]


def _placed(unread: UnreadObject, path: Sequence[object]) -> Unread:
    parts = [one_line(key.name if isinstance(key, UnreadObject) else key, _LONGEST_PART) for key in path]
    return Unread(
        place=".".join(parts),
        name=one_line(unread.name, _LONGEST_PART),
        holds_tensors=unread.holds_tensors,
        may_be_network=unread.holds_tensors and not any(NO_NETWORK.match(part) for part in parts),
        of_run=bool(STATES.match(parts[0])),
    )
