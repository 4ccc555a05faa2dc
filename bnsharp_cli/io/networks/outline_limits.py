"""A limit on what an untrusted description of a network may build in outline, on the meta device."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_SPARE_NUMBERS = 2**20
_STEPS, _SPARE_STEPS = 32, 2**13


class TooLargeError(ValueError):
    """A network that takes more to build than one of so many weights can need."""


class OutlineLimits(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch says no types here
    """While it is entered, building stops at tensors and at numbers of steps that no network of these weights needs.

    On the meta device a tensor of any size takes no memory, so nothing else would stop it.

    Args:
        weights: of the network, as a file has them.
    """

    def __init__(self, weights: Collection[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # nor here
        self._largest = 2 * sum(tensor.numel() for tensor in weights) + _SPARE_NUMBERS
        self._steps = _STEPS * len(weights) + _SPARE_STEPS

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self._steps -= 1
        self.require(max((part.numel() for part in tree_leaves(result) if isinstance(part, Tensor)), default=0))
        if self._steps < 0:
            raise TooLargeError("it has far more parts than there are weights")
        return result

    def require(self, numbers: int) -> None:
        """Refuse a network, or a part of one, that consists of so many numbers.

        Raises:
            TooLargeError: these are more than a network of the weights can need.
        """
        if numbers > self._largest:
            raise TooLargeError(f"it needs {numbers:,} numbers, which it does not hold")
