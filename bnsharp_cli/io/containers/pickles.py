"""A pickle read by calling nothing but functions of our own, within bounds.

A pickle is a program for a stack machine. The one here knows the opcodes that ``torch.save`` and the metadata of a
distributed checkpoint consist of, looks up every global in a table that it is handed, and stops at everything else.
Containers are complete before anything else holds them, so what it builds is a tree of shared parts: no cycles, and a
depth that is known while it is built.
"""

from __future__ import annotations

import io
import pickletools
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any

from bnsharp_cli.io.containers.pickle_machine import Machine
from bnsharp_cli.io.containers.pickle_values import (
    MOST_OPCODES,
    Budget,
    ForeignGlobalsError,
    PickleRefusedError,
    current_name,
)

LARGEST_PICKLE = 16 * 2**20
_LONGEST_NAME, _MOST_NAMES = 256, 64


def read_pickle(
    stream: io.BytesIO,
    stand_ins: Mapping[str, Any],
    budget: Budget,
    persistent: Callable[[tuple[Any, ...]], Any] | None = None,
    protocols: Collection[int] = (2,),
) -> Any:
    """The value of the pickle at the stream's position, built from ``stand_ins`` alone.

    Args:
        stream: at most ``LARGEST_PICKLE`` bytes; left behind the STOP.
        stand_ins: our function or value for every global that may occur, by its full name.
        budget: what the file may still cost.
        persistent: called with the tuple of a persistent id.
        protocols: those that may be declared.

    Raises:
        ForeignGlobalsError: a global that is not in the table; nothing is called.
        PickleRefusedError: damaged, self-referencing, too deep, too long, or an opcode that weights do not need.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of escape sequences that are none
        return _read(stream, Machine(stand_ins, budget, persistent, protocols), stand_ins)


def _read(stream: io.BytesIO, machine: Machine, stand_ins: Mapping[str, Any]) -> Any:
    start = stream.tell()
    try:
        for opcode, argument, _position in pickletools.genops(stream):
            if opcode.name == "STOP":
                return machine.result()
            machine.step(opcode.name, argument)
    except ForeignGlobalsError as error:
        stream.seek(start)
        raise ForeignGlobalsError(_foreign(stream, stand_ins, error.names)) from None
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError, UnicodeError) as error:
        raise PickleRefusedError(f"is damaged ({type(error).__name__} while reading the pickle)") from error
    except PickleRefusedError:
        raise
    except ValueError as error:
        raise PickleRefusedError(f"is damaged or truncated ({error})") from error
    raise PickleRefusedError("is truncated")


def _foreign(stream: io.BytesIO, stand_ins: Mapping[str, Any], met: list[str]) -> list[str]:
    """The globals outside the table, those that were met first, as far as the pickle can be read; cut, and not all."""
    found = dict.fromkeys(name[: 2 * _LONGEST_NAME] for name in met)
    texts = ["", ""]
    memo: dict[int, str] = {}
    left = MOST_OPCODES
    try:
        for opcode, argument, _position in pickletools.genops(stream):
            left -= 1
            name = None
            if opcode.name in {"GLOBAL", "INST"} and isinstance(argument, str):
                name = argument[: 2 * _LONGEST_NAME].replace(" ", ".", 1)
            elif opcode.name == "STACK_GLOBAL":
                name = ".".join(texts)
            elif opcode.name in {"BINPUT", "LONG_BINPUT", "MEMOIZE"}:
                memo[len(memo) if argument is None else argument] = texts[1]
            elif opcode.name in {"BINGET", "LONG_BINGET"} and isinstance(argument, int):
                texts = [texts[1], memo.get(argument, "")]
            elif isinstance(argument, str):
                texts = [texts[1], argument[:_LONGEST_NAME]]
            if name is not None and (name := current_name(name)) not in stand_ins:
                found[name] = None
            if left < 0 or len(found) >= _MOST_NAMES:
                break
    except ValueError:
        pass  # what follows the first foreign name is only listed
    return list(found)
