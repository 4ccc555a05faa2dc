"""Files of ``torch.save``: read once by calling only functions of our own, then by torch, as weights only."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.legacy_files import check_legacy
from bnsharp_cli.io.containers.pickle_values import Budget, ForeignGlobalsError, PickleRefusedError
from bnsharp_cli.io.containers.pickles import read_pickle
from bnsharp_cli.io.containers.plain_content import plain
from bnsharp_cli.io.containers.remedies import COPY_AGAIN, SAVE_WEIGHTS
from bnsharp_cli.io.containers.stand_ins import PLAIN_STAND_INS
from bnsharp_cli.io.containers.tensor_plans import TensorPlans
from bnsharp_cli.io.containers.zip_files import check_zip, data_pickle
from bnsharp_cli.io.files.printable_text import kind_and_line, one_line, shown_path
from bnsharp_cli.io.files.regular_files import RegularFile

_NAMES_SHOWN = 4
_BYTE_ORDERS = {b"little", b"big"}


def read_torch_file(file: RegularFile, kind: str) -> Any:
    """The content of a ``zip`` or ``pickle`` (legacy) file in plain containers, values and dense tensors.

    Raises:
        CheckpointRefusedError: with one line of reason and one of remedy.
    """
    try:
        if kind == "zip":
            _check_zipped(file)
        else:
            check_legacy(file)
        return plain(_load(file))
    except ForeignGlobalsError as error:
        raise CheckpointRefusedError(
            f"{shown_path(file.path)} holds Python objects ({_shown(error.names)}), not weights alone; "
            "nothing in it was executed.",
            SAVE_WEIGHTS,
        ) from error
    except PickleRefusedError as error:
        damaged = "damaged" in str(error) or "truncated" in str(error)
        raise CheckpointRefusedError(
            f"{shown_path(file.path)} {one_line(error)}.", COPY_AGAIN if damaged else SAVE_WEIGHTS
        ) from error


def _check_zipped(file: RegularFile) -> None:
    archive = check_zip(file)
    order = file.read(*archive.records.get("byteorder", (0, 0)))
    if order and order not in _BYTE_ORDERS:
        raise PickleRefusedError("is damaged (its byte order is neither little nor big)")
    budget = Budget()
    plans = TensorPlans(archive.storage_size, budget)
    read_pickle(data_pickle(file, archive), plans.stand_ins(), budget, plans.storage)


def _load(file: RegularFile) -> Any:
    try:
        with _only(PLAIN_STAND_INS):
            return torch.load(file.window(), map_location="cpu", weights_only=True)
    except (MemoryError, PickleRefusedError):
        raise
    except pickle.UnpicklingError as error:
        raise PickleRefusedError("holds something that torch does not read as weights alone") from error
    except Exception as error:  # torch's reader raises whatever its parser stumbles over; each is the file's fault
        raise PickleRefusedError(f"is damaged or truncated: {kind_and_line(error)}") from error


@contextmanager
def _only(stand_ins: Mapping[str, Any]) -> Iterator[None]:
    """Let torch see our stand-ins and nothing that someone else has called safe."""
    others = get_safe_globals()
    clear_safe_globals()
    try:
        with safe_globals([(stand_in, name) for name, stand_in in stand_ins.items()]):
            yield
    finally:
        add_safe_globals(others)


def _shown(names: list[str]) -> str:
    shown = ", ".join(one_line(name, 80) for name in names[:_NAMES_SHOWN])
    return shown + (f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else "")
