"""Files of ``torch.save``, read twice: first by calling only functions of our own, then by torch as weights only.

The first reading refuses whatever calls anything, is too large, or speaks of values that the file does not have. The
second builds the tensors.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.legacy_files import check_legacy
from bnsharp_cli.io.containers.pickle_reader import Budget, ForeignGlobalsError, PickleRefusedError, read_pickle
from bnsharp_cli.io.containers.plain_content import plain_content
from bnsharp_cli.io.containers.remedies import COPY_AGAIN, SAVE_WEIGHTS
from bnsharp_cli.io.containers.stand_ins import PLAIN_STAND_INS
from bnsharp_cli.io.containers.tensor_plans import TORCH_PROTOCOLS, TensorPlans
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError, damaged, unsound
from bnsharp_cli.io.containers.zip_files import data_pickle, sound_members
from bnsharp_cli.io.files.printable_text import kind_and_line, one_line, shown_path
from bnsharp_cli.io.files.regular_files import RegularFile

_NAMES_SHOWN = 4
_SAFE_GLOBALS_LOCK = threading.Lock()
_BYTE_ORDERS = {b"little", b"big"}


def read_torch_file(file: RegularFile, kind: str) -> Any:
    """The content of a ``zip`` or ``pickle`` (legacy) file in plain containers, values and dense tensors.

    Raises:
        CheckpointRefusedError: with one line of reason and one of remedy.
    """
    try:
        if kind == "zip":
            _check_zip(file)
        else:
            check_legacy(file)
        return plain_content(_load(file))
    except ForeignGlobalsError as error:
        names = _shown(error.names)
        raise CheckpointRefusedError(
            f"{shown_path(file.path)} holds Python objects ({names}), not weights alone; nothing in it was executed.",
            SAVE_WEIGHTS,
            expected="weights alone",
            found=names,
        ) from error
    except (PickleRefusedError, UnsoundContentError) as error:
        content = unsound(error)
        finding, remedy = one_line(content.finding), COPY_AGAIN if content.damaged else SAVE_WEIGHTS
        raise CheckpointRefusedError(f"{shown_path(file.path)} {finding}.", remedy, found=finding) from error


def _check_zip(file: RegularFile) -> None:
    members = sound_members(file)
    order = file.read(*members.places.get("byteorder", (0, 0)))
    if order and order not in _BYTE_ORDERS:
        raise damaged("its byte order is neither little nor big")
    budget = Budget()
    plans = TensorPlans(members.storage_size, budget)
    read_pickle(data_pickle(file, members), plans.stand_ins(), budget, plans.storage, TORCH_PROTOCOLS)


def _load(file: RegularFile) -> Any:
    try:
        with _only(PLAIN_STAND_INS):
            return torch.load(file.window(), map_location="cpu", weights_only=True)
    except (MemoryError, UnsoundContentError):
        raise
    except pickle.UnpicklingError as error:
        raise UnsoundContentError("holds something that torch does not read as weights alone") from error
    except Exception as error:  # torch's reader raises whatever its parser stumbles over; each is the file's fault
        finding = f"is damaged or truncated: {kind_and_line(error)}"
        raise UnsoundContentError(finding, damaged=True) from error


@contextmanager
def _only(stand_ins: Mapping[str, Any]) -> Iterator[None]:
    """Let torch know our stand-ins, and nothing that someone else has called safe.

    torch has one set of safe globals for the whole process and no way to hand another one to a single ``load``. So the
    set is exchanged while torch reads, and put back whatever happens. Our own loads wait for each other. A
    ``torch.load`` of someone else in another thread may meanwhile refuse what was called safe for it, or read an
    ``argparse.Namespace`` as our plain data; what other threads call safe meanwhile is kept.
    """
    with _SAFE_GLOBALS_LOCK:
        others = get_safe_globals()
        try:
            clear_safe_globals()
            with safe_globals([(stand_in, name) for name, stand_in in stand_ins.items()]):
                yield
        finally:
            add_safe_globals(others)


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(one_line(name, 80) for name in names[:_NAMES_SHOWN])
    return shown + (f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else "")
