"""Why no state_dict of a file can be taken: what stands in the place of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from bnsharp_cli.errors import CheckpointRefusedError, indefinite, named
from bnsharp_cli.io.checkpoints.entries import AVERAGED, TRAINED, rank, some
from bnsharp_cli.io.checkpoints.unread_objects import Unread, names_of
from bnsharp_cli.io.containers.built_content import UnreadObject
from bnsharp_cli.io.containers.remedies import DISTRIBUTED_TENSORS, SAVE_WEIGHTS, SAVE_WHOLE
from bnsharp_cli.io.files.printable_text import one_line, shown_path

_NAMELESS = "an entry without name"
_UNREAD = "such objects are not read, and nothing in it was executed"


def no_weights(path: Path, content: Mapping[str, Any], unread: Sequence[Unread]) -> CheckpointRefusedError:
    """Why nothing in ``content`` is a state_dict: what stands in its place or among its tensors, or that none are."""
    hidden = sorted((one for one in unread if one.may_be_network), key=lambda one: rank(one.place))
    if hidden:
        more = f" (and {len(hidden) - 1} more such entries)" if len(hidden) > 1 else ""
        found = f"{hidden[0]}{more}"
        reason = f"{found}, expected a state_dict of plain tensors; {_UNREAD}."
        return CheckpointRefusedError(reason, remedy_for(hidden), expected="plain tensors", found=found, path=path)
    misfit = _misfit(content)
    if misfit is not None:
        reason = f"{misfit}, expected a tensor of a state_dict."
        return CheckpointRefusedError(reason, SAVE_WEIGHTS, expected="a tensor", found=misfit, path=path)
    if unread:
        names = names_of(unread)
        return CheckpointRefusedError(
            f"{shown_path(path)} holds Python objects ({names}), not weights alone; nothing in it was executed.",
            SAVE_WEIGHTS,
            expected="weights alone",
            found=names,
            subject=path,
        )
    entries = some(name for name in content if isinstance(name, str))
    only = entries or ("entries without names" if content else "an empty dictionary")
    return CheckpointRefusedError(
        f"{shown_path(path)} holds no state_dict, a dictionary of nothing but tensors by their names: only {only}.",
        SAVE_WEIGHTS,
        subject=path,
    )


def outranked(path: Path, ranked: Sequence[str], unread: Sequence[Unread]) -> CheckpointRefusedError | None:
    """The refusal of weights in whose stead others would be taken, if these could be read.

    Args:
        path: for the message.
        ranked: where state_dicts are, the one that would be taken first.
        unread: what is not read.
    """
    hidden = [one for one in unread if one.may_be_network and rank(one.place) < rank(ranked[0])]
    if not hidden:
        return None
    first = min(hidden, key=lambda one: rank(one.place))
    return CheckpointRefusedError(
        f"{first}, whose tensors are not read; beside it are {some(ranked)}.",
        f"Take these with {named('key')} {one_line(ranked[0])}. Or save the others: {remedy_for(hidden)}",
        expected="plain tensors",
        found=str(first),
        path=path,
    )


def remedy_for(unread: Sequence[Unread]) -> str:
    """How the weights that are in objects can be saved as plain tensors."""
    return SAVE_WEIGHTS if DISTRIBUTED_TENSORS.isdisjoint(one.name for one in unread) else SAVE_WHOLE


def _misfit(content: Mapping[str, Any]) -> str | None:
    """What stands among tensors and is none."""
    for key in ("", *TRAINED, *AVERAGED):
        entry = content.get(key) if key else content
        if not isinstance(entry, Mapping) or not any(isinstance(value, Tensor) for value in entry.values()):
            continue
        for name, value in entry.items():
            if isinstance(name, UnreadObject):
                return f"an entry's name is {indefinite(one_line(name.name))}"
            if not isinstance(name, str) or not isinstance(value, Tensor):
                full = f"'{one_line(f'{key}.{name}'.removeprefix('.'))}'" if isinstance(name, str) else _NAMELESS
                kind = one_line(value.name) if isinstance(value, UnreadObject) else type(value).__name__
                return f"{full} is {indefinite(kind)}"
    return None
