"""What reading a pickle may cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bnsharp_cli.io.containers.pickle_reader.refusals import Fault, PickleRefusedError

LARGEST_PICKLE = 16 * 2**20
"""Bytes of a stream that is read."""

DEEPEST = 100
"""Containers and objects inside each other."""

LARGEST_INTEGER = 2**64
"""Integers are smaller than this, in absolute value."""

_MOST_OPCODES = 1_310_720
_MOST_OBJECTS = 327_680
"""Forty opcodes and ten objects for each of the 32,768 tensors that a file may have; ``torch.save`` writes 32 and 8."""

_MOST_COPIED = 32 * 2**20
_MOST_NUMBER_KEYS = 2**15


@dataclass
class Budget:
    """What may still be spent; one budget may serve several pickles of one file.

    Attributes:
        opcodes: steps of the machine.
        objects: containers made and functions called.
        copied: items, characters and bytes handed to functions, which may copy them.
        number_keys: keys whose hashes can be chosen, so that a dict searches long for a free place for each.
    """

    opcodes: int = _MOST_OPCODES
    objects: int = _MOST_OBJECTS
    copied: int = _MOST_COPIED
    number_keys: int = _MOST_NUMBER_KEYS

    def spend(self, opcodes: int = 0, objects: int = 0, copied: int = 0, number_keys: int = 0) -> None:
        """Take from what is left.

        Raises:
            PickleRefusedError: too little is left.
        """
        self.opcodes -= opcodes
        self.objects -= objects
        self.copied -= copied
        self.number_keys -= number_keys
        if self.opcodes < 0 or self.objects < 0 or self.copied < 0 or self.number_keys < 0:
            raise _spent()

    def take_step(self) -> None:
        """Spend one opcode: the same, for what is asked most often."""
        self.opcodes -= 1
        if self.opcodes < 0:
            raise _spent()


def _spent() -> PickleRefusedError:
    return PickleRefusedError(Fault.BUDGET, "needs more steps than its budget has")


def size_of(value: Any) -> int:
    """What copying ``value`` costs."""
    return len(value) if isinstance(value, str | bytes | list | dict | tuple) else 1
