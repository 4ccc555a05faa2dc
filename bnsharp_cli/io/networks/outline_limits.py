"""Limits on what an untrusted description of a network may build in outline, on the meta device.

Everything is counted and nothing timed, so that a file is refused on every machine or on none.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from types import FrameType
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SPARE_NUMBERS = 2**20
"""How many numbers more than twice its weights a network may seem to have."""

_STEPS, _SPARE_STEPS = 32, 2**13
_MOST_CALLS = 3_000_000
"""About a second. Of torchvision's and timm's networks all but a few take fewer than 1.9 million calls to build;
``timm:tiny_vit_21m_512`` takes 20 million, most of them for a table of positions."""

_NETWORKS = ("timm.", "torchvision.models.", "transformers.models.")
"""Where the code of networks is."""


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
        self._largest = 2 * sum(tensor.numel() for tensor in weights) + SPARE_NUMBERS
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


class CallLimit:
    """While it is entered, building stops after more calls of functions, those of C too, than a file may ask for.

    What a constructor does without tensors, such as filling tables, is limited by nothing else. It may be entered
    again, and then allows what is left. The calls are counted by Python's profiling hook of this thread, unless
    somebody else uses that. Building is stopped only inside the code of a network, where nothing is left half done.
    Import the network's library before, so that its import is not counted.
    """

    def __init__(self) -> None:
        self._left = _MOST_CALLS
        self._counts = False

    def __enter__(self) -> None:
        self._counts = sys.getprofile() is None
        if self._counts:
            sys.setprofile(self._count)

    def __exit__(self, *_: object) -> None:
        if self._counts:
            sys.setprofile(None)

    def _count(self, frame: FrameType, event: str, _argument: object) -> None:
        if event in ("call", "c_call"):
            self._left -= 1
            if self._left < 0 and event == "c_call" and _is_of_a_network(frame):
                raise TooLargeError("building it takes more steps than a file may ask for")


def _is_of_a_network(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith(_NETWORKS) and frame.f_code.co_name != "<module>"
