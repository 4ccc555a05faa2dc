"""Whether several processes train together, and whether they have averaged their gradients."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bnsharp_cli.errors import UsageError

_ALIKE = 1e-3
"""Relative difference of averaged gradients; those of different batches differ by far more."""


def train_together() -> bool:
    """Whether this process belongs to a group of ``torch.distributed``."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def require_agreement(parameters: Iterable[Tensor]) -> None:
    """Refuse gradients that differ from process to process.

    Each process would go its own way with them, and a norm would be that of a part. It happens where the closure does
    not run the network through its parallel wrapper.

    Args:
        parameters: with their gradients; the same ones in each process.

    Raises:
        UsageError: the gradients differ.
    """
    if not train_together() or torch.distributed.get_world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    sums = sum(float(gradient.double().sum()) for gradient in gradients)
    size = sum(float(gradient.double().abs().sum()) for gradient in gradients)
    device = gradients[0].device if gradients else torch.device("cpu")
    extremes = torch.tensor([sums, -sums, size, -size], dtype=torch.float64, device=device)
    torch.distributed.all_reduce(extremes, torch.distributed.ReduceOp.MAX)
    most_sum, least_sum, most_size, least_size = extremes.tolist()
    if max(most_sum + least_sum, most_size + least_size) > _ALIKE * most_size:
        raise UsageError(
            "The gradients of the processes differ, so nothing has averaged them.",
            "Call the network through DistributedDataParallel in the closure.",
            argument="closure",
            expected="a loss of the network as it is wrapped for several processes",
            found=f"gradients of sizes {-least_size:.3g} to {most_size:.3g}",
        )
