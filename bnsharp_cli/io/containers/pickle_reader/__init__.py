"""A pickle read by calling nothing but functions that the caller hands in, within bounds. ``README.md`` says how.

Nothing here knows what a pickle is about. ``reader`` reads one, ``machine`` executes its opcodes, ``calls`` those that
name, call and build something, ``values`` is what it is read into, ``limits`` bounds what it may cost, ``refusals``
says why one is refused.
"""

from bnsharp_cli.io.containers.pickle_reader.limits import LARGEST_PICKLE, Budget
from bnsharp_cli.io.containers.pickle_reader.reader import read_pickle
from bnsharp_cli.io.containers.pickle_reader.refusals import Fault, ForeignGlobalsError, PickleRefusedError
from bnsharp_cli.io.containers.pickle_reader.values import (
    ForeignObject,
    PickledData,
    PickledDict,
    PickledGlobal,
    PickledList,
    PickledObject,
    PickledTuple,
    number_keys,
    require_key,
)

__all__ = [
    "LARGEST_PICKLE",
    "Budget",
    "Fault",
    "ForeignGlobalsError",
    "ForeignObject",
    "PickleRefusedError",
    "PickledData",
    "PickledDict",
    "PickledGlobal",
    "PickledList",
    "PickledObject",
    "PickledTuple",
    "number_keys",
    "read_pickle",
    "require_key",
]
