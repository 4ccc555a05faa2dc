"""The entries of a file by their names: which may be weights, which are an optimiser's, and which are plain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from torch import Tensor

from bnsharp_cli.io.files.printable_text import one_line

TRAINED = ("state_dict", "model", "model_state_dict", "net", "network", "module", "weights", "params")
"""Keys of the weights that an optimiser trained, in the order in which one is taken."""

AVERAGED = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema", "swa_model", "swa")
"""Keys of averages of them, taken where nothing else is there."""

STATES = re.compile(r"(?i)optim|.*sched|.*scaler|amp$|callbacks$|loops$|rng|random")
NO_NETWORK = re.compile(rf"{STATES.pattern}|hyper_parameters$|criterion|loss")
MOST_LOOKED_AT = 256
"""How many entries of a mapping are looked at."""


def rank(key: str) -> int:
    """The place of a dotted path in the order in which state_dicts are taken."""
    order = ("", *TRAINED, *AVERAGED)
    first = key.partition(".")[0]
    return order.index(first) if first in order else len(order)


def plain_entries(content: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that are names, numbers or plain containers of them; nothing of optimisers, schedulers and loops.

    Of a mapping in which something else stands too, as a device among the arguments of a script, the rest is kept.
    """
    named = {name: entry for name, entry in content.items() if isinstance(name, str) and not STATES.match(name)}
    parts = {name: entry if _is_plain(entry) else _plain_part(entry) for name, entry in named.items()}
    return {name: part for name, part in parts.items() if part or named[name] is part}


def _plain_part(entry: object) -> dict[str, Any]:
    """The plain ones among a mapping's first entries; nothing of anything else."""
    first = islice(entry.items(), MOST_LOOKED_AT) if isinstance(entry, Mapping) else ()
    return {name: value for name, value in first if isinstance(name, str) and _is_plain(value)}


def some(names: Iterable[str], shown: int = 10, *, before: str = "") -> str:
    """The first names, fit to print, each with ``before`` in front of it, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(f"{before}{one_line(name)}" for name in names[:shown]) + more


def _is_plain(entry: object) -> bool:
    seen, waiting = set(), [entry]
    while waiting:
        value = waiting.pop()
        if value is None or isinstance(value, (str, int, float)):
            continue
        if isinstance(value, Tensor) or not isinstance(value, (list, tuple, Mapping)):
            return False
        if id(value) not in seen:
            seen.add(id(value))
            waiting += [*value.keys(), *value.values()] if isinstance(value, Mapping) else value
    return True
