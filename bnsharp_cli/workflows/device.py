"""Chooses the device on which a workflow computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.measurement.surface.arithmetic import undisturbed
from bnsharp_cli.workflows import torchrun


@contextmanager
def computing_on(name: str) -> Iterator[torch.device]:
    """The device of this name, with torch's global settings left out of the computation; without TF32.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        UsageError: there is no such device.
    """
    device = chosen_device(name)
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext(), undisturbed(device):
        yield device


def chosen_device(name: str) -> torch.device:
    """The device of this name.

    Raises:
        UsageError: there is none.
    """
    if name == "auto":
        name = "cuda" if _gpus() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in {"cpu", "cuda"}:
        raise UsageError.of("device", "auto, cpu or cuda", name, "Name a device.")
    return device if device.type == "cpu" else _gpu(device)


def _gpu(device: torch.device) -> torch.device:
    """One GPU: the process's own where several processes share a machine and none is named."""
    index = torchrun.local_rank() if device.index is None else device.index
    if index >= _gpus():
        raise UsageError(
            f"{named('device')}: torch sees {_gpus()} CUDA devices here.",
            f"Use {named('device')} cpu.",
            argument="device",
            expected="a CUDA device of this machine",
            found=str(device),
        )
    return torch.device("cuda", index)


def _gpus() -> int:
    """How many CUDA devices torch can use; asking may load libraries of the driver, by their bare names."""
    with importing_libraries():
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
