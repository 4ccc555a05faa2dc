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
_LONGEST_NAME = 2**10


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
    except ForeignGlobalsError:
        stream.seek(start)
        raise ForeignGlobalsError(_foreign(stream, stand_ins)) from None
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError, UnicodeError) as error:
        raise PickleRefusedError(f"is damaged ({type(error).__name__} while reading the pickle)") from error
    except PickleRefusedError:
        raise
    except ValueError as error:
        raise PickleRefusedError(f"is damaged or truncated ({error})") from error
    raise PickleRefusedError("is truncated")


def _foreign(stream: io.BytesIO, stand_ins: Mapping[str, Any]) -> list[str]:
    """Every global outside the table, as far as the pickle can be read."""
    found: dict[str, None] = {}
    texts = ["", ""]
    memo: list[str] = []
    left = MOST_OPCODES
    try:
        for opcode, argument, _position in pickletools.genops(stream):
            left -= 1
            if opcode.name in {"GLOBAL", "INST"} and isinstance(argument, str):
                found[current_name(".".join(argument.split(" ", 1)))] = None
            elif opcode.name == "STACK_GLOBAL":
                found[current_name(".".join(texts))] = None
            elif isinstance(argument, str):
                texts = [texts[1], argument[:_LONGEST_NAME]]
            elif opcode.name == "MEMOIZE":
                memo.append(texts[1])
            elif opcode.name in {"BINGET", "LONG_BINGET"} and isinstance(argument, int) and argument < len(memo):
                texts = [texts[1], memo[argument]]
            if left < 0:
                break
    except ValueError:
        pass  # what follows the first foreign name is only listed
    return [name for name in found if name not in stand_ins]
