"""What a network returned: its floating tensors, and how many classes it got right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def correct(outputs: Any, targets: Tensor) -> tuple[Tensor, int]:
    """How many classes are right, among how many; none where targets are not class indices."""
    classes = isinstance(outputs, Tensor) and outputs.ndim == targets.ndim + 1 and not targets.is_floating_point()
    return ((outputs.argmax(1) == targets).sum(), targets.numel()) if classes else (torch.zeros(()), 0)


def floating(outputs: Any) -> list[Tensor]:
    """All floating tensors of nested mappings, lists and tuples."""
    if isinstance(outputs, Tensor):
        return [outputs] if outputs.is_floating_point() else []
    if isinstance(outputs, Mapping):
        return [tensor for value in outputs.values() for tensor in floating(value)]
    if isinstance(outputs, list | tuple):
        return [tensor for value in outputs for tensor in floating(value)]
    return []
