"""Where a command computes."""

from __future__ import annotations

import torch

from bnsharp_cli.errors import UsageError
from bnsharp_cli.workflows import torchrun as processes


def chosen_device(name: str) -> torch.device:
    """The device that ``--device`` names, with TF32 off.

    Raises:
        UsageError: none of that name.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in {"cpu", "cuda"}:
        raise UsageError(f"--device: expected auto, cpu or cuda, found '{name}'.", "Name a device.")
    return device if device.type == "cpu" else _gpu(device)


def _gpu(device: torch.device) -> torch.device:
    """One GPU, the process's own where several processes share a machine and none is named."""
    index = processes.local_rank() if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise UsageError(f"--device: torch sees {torch.cuda.device_count()} CUDA devices here.", "Use --device cpu.")
    torch.cuda.set_device(index)
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]  # torch's stubs lag behind
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    return torch.device("cuda", index)
