"""Notices whoever uses the network's own weights while others are handed in for a pass: a reference past the copy."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor
from torch.autograd.graph import Node
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from bnsharp_cli.errors import NotMeasurableError

_RIGHTLY_READ: ContextVar[bool] = ContextVar("rightly_read", default=False)


@contextmanager
def rightly_read() -> Iterator[None]:
    """What is read of weights inside is read to be handed in, and not noted."""
    before = _RIGHTLY_READ.set(True)
    try:
        yield
    finally:
        _RIGHTLY_READ.reset(before)


class WeightsWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch says no types here
    """While it is active, every operation on the memory of given tensors is noted.

    Passes run on copies of all weights. So whatever touches the originals, with a graph or without, is a function that
    kept them, a scripted part, or anything else that does not follow the copy.

    Args:
        tensors: by name.

    Attributes:
        seen: the names of those that were used.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # nor here
        memory = sorted((*area, name) for name, tensor in tensors.items() for area in _areas(tensor))
        self._starts, self._memory = [start for start, *_ in memory], memory
        self.seen: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note the tensors among the arguments, and make the call."""
        for value in () if _RIGHTLY_READ.get() else tree_iter((args, kwargs or {})):
            if isinstance(value, Tensor):
                self.note(value)
        return function(*args, **(kwargs or {}))

    def note(self, tensor: Tensor) -> None:
        """Note a tensor that is used, if it is one of those that are watched."""
        for start, stop in _areas(tensor):
            last = bisect_left(self._starts, stop) - 1  # the last one that begins before it ends
            if last >= 0 and self._memory[last][1] > start and self._memory[last][2] not in self.seen:
                self.seen.append(self._memory[last][2])


def _areas(tensor: Tensor) -> list[tuple[int, int]]:
    """Begin and end of the memory of its numbers; nothing for a sparse tensor, whose memory torch does not show.

    A tensor that was made of a part of a numpy array has a memory of its own that lies within the array's.
    """
    try:
        storage = tensor.untyped_storage()
        return [(storage.data_ptr(), storage.data_ptr() + storage.nbytes())] if tensor.numel() else []
    except (NotImplementedError, RuntimeError):
        return []


def leaves_of(tensor: Tensor) -> Iterator[Tensor]:
    """The tensors that autograd would give a gradient of ``tensor`` to, each once."""
    waiting = [tensor.grad_fn] if tensor.grad_fn is not None else []
    seen: set[Node] = set(waiting)
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):
            yield node.variable
        following = {child for child, _ in node.next_functions if child is not None} - seen
        seen |= following
        waiting.extend(following)


def past_the_copy(argument: str, names: list[str]) -> NotMeasurableError:
    """The error for code that uses weights of the network itself.

    Args:
        argument: whose code it is, ``model`` or ``criterion``.
        names: of the weights.
    """
    who = "The network's forward" if argument == "model" else "The criterion"
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return NotMeasurableError(
        f"{who} uses {names[0]}{more} of the network itself, beside the weights that are handed in for a pass.",
        "Read weights from the network whenever it runs, as model.parameters() does, in a function or a module that "
        "can be copied: no scripted part, and no list of weights that was made beforehand.",
        argument=argument,
        expected="a loss of the weights that are handed in",
        found=names,
    )
