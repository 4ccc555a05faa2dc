"""Arrays of numpy's that share the memory of the user's network: what is computed of them never sees a pass's weights.

An operation of torch's on that memory is noticed while it runs, see :mod:`weights_watch`; one of numpy's is not. So the
arrays that the network's code or the loss can reach are exchanged for others, and the loss must not answer to that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bnsharp_cli.errors import NotMeasurableError, named
from bnsharp_cli.measurement.surface.conduct import Conduct
from bnsharp_cli.measurement.surface.first_batch import first_loss
from bnsharp_cli.measurement.surface.followed_copy import reachable
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

Exchange = dict[int, Any]
"""What a copy takes instead of an object, by the ``id`` of the original."""


def require_unshared(module: nn.Module, criterion: Any, surface_with: Callable[[Exchange], LossSurface]) -> None:
    """Refuse a loss that reads the memory of the user's own weights through numpy.

    Args:
        module: the user's network.
        criterion: its loss.
        surface_with: their surface, with some objects exchanged for others.

    Raises:
        NotMeasurableError: the loss changes with such an array.
    """
    weights = [memory for tensor in (*module.parameters(), *module.buffers()) for memory in _memory(tensor)]
    shared = [
        array
        for array in reachable(module, criterion)
        if isinstance(array, np.ndarray | memoryview) and any(_overlap(array, memory) for memory in weights)
    ]
    if not shared:
        return
    exchange = {id(array): _other(array) for array in shared}
    here, there = (float(first_loss(surface_with(each).with_conduct(Conduct(draws=True)))) for each in ({}, exchange))
    if here != there and not math.isnan(here):
        raise NotMeasurableError(
            "The network or the loss computes with a numpy array that shares the memory of the network's own weights, "
            "so that it does not see the weights that are handed in for a pass.",
            "Compute with the tensors that model.parameters() gives whenever it runs, or keep a copy of the array if "
            "the weights of now are meant: array.copy().",
            argument="criterion",
            expected="a loss of the weights that are handed in",
            found=f"{named('model')}'s own memory",
        )


def _memory(tensor: Tensor) -> Iterator[Any]:
    """The memory of a tensor's numbers, as an array of bytes; nothing where it is not this machine's own."""
    if tensor.device.type == "cpu" and tensor.layout is torch.strided and tensor.numel() and not tensor.is_meta:
        yield torch.empty(0, dtype=torch.uint8, device="cpu").set_(tensor.detach().untyped_storage()).numpy()


def _overlap(array: Any, memory: Any) -> bool:
    try:
        return bool(np.may_share_memory(np.asarray(array), memory))
    except (TypeError, ValueError, NotImplementedError):  # a memoryview of a kind that numpy does not know
        return False


def _other(array: Any) -> Any:
    """Memory of its own with other numbers."""
    given = np.asarray(array)
    changed: Any = (given * 0.5 + 0.25).astype(given.dtype) if given.dtype.kind in "fc" else np.zeros_like(given)
    return memoryview(changed) if isinstance(array, memoryview) else changed
