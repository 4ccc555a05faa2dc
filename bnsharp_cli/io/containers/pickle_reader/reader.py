"""Reading one pickle from a stream."""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from bnsharp_cli.io.containers.pickle_reader.limits import LARGEST_PICKLE, Budget
from bnsharp_cli.io.containers.pickle_reader.machine import Machine, PersistentLoad
from bnsharp_cli.io.containers.pickle_reader.refusals import Fault, ForeignGlobalsError, PickleRefusedError
from bnsharp_cli.io.containers.pickle_reader.values import current_name

_LONGEST_NAME, _MOST_NAMES = 256, 64
_MOST_LISTED = 500_000
"""Opcodes that are looked through for the names of globals."""

_BY_CODE = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_CAUSED_BY_DAMAGE = (IndexError, KeyError, TypeError, AttributeError, OverflowError, UnicodeError)


def read_pickle(
    stream: io.BytesIO,
    stand_ins: Mapping[str, Any],
    budget: Budget | None = None,
    persistent_load: PersistentLoad | None = None,
    protocols: Collection[int] = range(2, 6),
    admits: Callable[[str], bool] = lambda _: False,
) -> Any:
    """The value of the pickle at the stream's position, built by ``stand_ins`` alone.

    Args:
        stream: left behind the pickle's STOP.
        stand_ins: a function, class or value for every global that may occur, by its full name. Nothing else is called.
        budget: what reading may cost; a new one by default.
        persistent_load: called with the tuple of a persistent id; by default there may be none.
        protocols: those that may be declared.
        admits: whether a global outside ``stand_ins``, and all that the pickle makes of it, is read into a
            :class:`ForeignObject`, and so is an integer of more than 64 bits (``builtins.int``). By default none is.

    Raises:
        ForeignGlobalsError: a global that is not among ``stand_ins`` and not admitted.
        PickleRefusedError: damaged, self-referencing, too deep, too long, or an opcode that is not read.
    """
    if len(stream.getbuffer()) > LARGEST_PICKLE:
        raise PickleRefusedError(Fault.LIMIT, f"has more than {LARGEST_PICKLE // 2**20} MiB")
    machine = Machine(stand_ins, Budget() if budget is None else budget, persistent_load, protocols, admits)
    return _run(stream, machine, lambda name: name in stand_ins or admits(name))


def _run(stream: io.BytesIO, machine: Machine, is_known: Callable[[str], bool]) -> Any:
    start = stream.tell()
    try:
        for name, argument in _opcodes(stream):
            if name == "STOP":
                return machine.result()
            machine.step(name, argument)
    except ForeignGlobalsError as error:
        stream.seek(start)
        raise ForeignGlobalsError(_foreign_names(stream, is_known, error.names)) from None
    except _CAUSED_BY_DAMAGE as error:
        what = type(error).__name__
        raise PickleRefusedError(Fault.DAMAGED, f"is damaged ({what} while reading the pickle)") from error
    except ValueError as error:
        raise PickleRefusedError(Fault.DAMAGED, f"is damaged or truncated ({error})") from error
    raise PickleRefusedError(Fault.DAMAGED, "is truncated")


def _opcodes(stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    """The opcodes of a pickle up to its STOP, by their names, and their arguments.

    The same as :func:`pickletools.genops` yields, but the argument of a STRING is skipped. The machine refuses that
    opcode anyway, and decoding its text may warn; warnings can be silenced only for the whole process.

    Raises:
        ValueError: an unknown opcode, an argument that is none, or no STOP.
    """
    while True:
        position, code = stream.tell(), stream.read(1)
        opcode = _BY_CODE.get(code)
        if opcode is None:
            unknown = f"at position {position}, opcode {code!r} unknown"
            raise ValueError(unknown if code else "pickle exhausted before seeing STOP")
        argument = None
        if opcode.name == "STRING":
            pickletools.read_stringnl(stream, decode=False)
        elif opcode.arg is not None:
            argument = opcode.arg.reader(stream)
        yield opcode.name, argument
        if opcode.name == "STOP":
            return


def _foreign_names(stream: io.BytesIO, is_known: Callable[[str], bool], met: Sequence[str]) -> list[str]:
    """The globals that are refused, as far as the pickle can be read, after those that were ``met`` first.

    Long names are cut, and a pickle of many opcodes or names is not read to its end. Nothing is executed: a
    STACK_GLOBAL takes the two texts that were pushed last.
    """
    found = dict.fromkeys(name[: 2 * _LONGEST_NAME] for name in met)
    texts = ["", ""]
    memo: dict[int, str] = {}
    left = _MOST_LISTED
    try:
        for opcode, argument in _opcodes(stream):
            left -= 1
            name = None
            if opcode in {"GLOBAL", "INST"} and isinstance(argument, str):
                name = argument[: 2 * _LONGEST_NAME].replace(" ", ".", 1)
            elif opcode == "STACK_GLOBAL":
                name = ".".join(texts)
            elif opcode in {"BINPUT", "LONG_BINPUT", "MEMOIZE"}:
                memo[len(memo) if argument is None else argument] = texts[1]
            elif opcode in {"BINGET", "LONG_BINGET"} and isinstance(argument, int):
                texts = [texts[1], memo.get(argument, "")]
            elif isinstance(argument, str):
                texts = [texts[1], argument[:_LONGEST_NAME]]
            if name is not None and not is_known(name := current_name(name)):
                found[name] = None
            if left < 0 or len(found) >= _MOST_NAMES:
                break
    except ValueError:
        pass  # what follows the first foreign name is only listed
    return list(found)
