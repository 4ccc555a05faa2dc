"""Why a pickle is refused: the kind of fault as a field, beside the sentence."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum


class Fault(Enum):
    """What kind of fault a pickle has.

    Callers decide by this and never by the text of an error.
    """

    DAMAGED = "damaged"
    """The bytes are no whole pickle."""

    FOREIGN = "foreign"
    """It names a class or a function that it was not given."""

    LIMIT = "limit"
    """It is too long, nests too deep, or holds a number that is too large."""

    BUDGET = "budget"
    """It needs more steps, objects or copies than its budget has."""

    OPCODE = "opcode"
    """It uses an opcode that the reader does not know."""

    PROTOCOL = "protocol"
    """It declares a protocol that the caller did not allow."""

    PERSISTENT_ID = "persistent id"
    """It refers to something outside of it where the caller allows no such reference."""

    UNSUPPORTED = "unsupported"
    """It does with known opcodes what this reader never does, such as building a cycle."""


class PickleRefusedError(Exception):
    """A pickle that is not read.

    Args:
        fault: what kind of fault it has.
        finding: what was found, as the predicate of a sentence whose subject is the pickle.
        found: what the fault concerns, where there is such a thing: the opcode, the protocol, the tuple of foreign
            names.
    """

    def __init__(self, fault: Fault, finding: str, found: object = None) -> None:
        super().__init__(f"the pickle {finding}")
        self.fault, self.finding, self.found = fault, finding, found


class ForeignGlobalsError(PickleRefusedError):
    """A pickle that names classes or functions which it was not given.

    Attributes:
        names: their full names, the one that stopped the reader first; cut where long, and not all where many.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        super().__init__(Fault.FOREIGN, f"names {', '.join(self.names)}", self.names)
