"""Networks and criteria that write into their arguments, such as ``x.sub_(mean)``: batches stay what they are.

A pass is handed the tensors of a batch themselves wherever it is known not to write into them, since a copy of every
batch in every pass would cost memory and time for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.func import debug_unwrap

from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.surface.tensor_trees import TensorTree, tensors_in

Argument = TypeVar("Argument", bound=Tensor | TensorTree)


class InPlaceGuard:
    """Hands batches to passes so that no pass changes them; one for all passes of a surface.

    The first pass on a tensor, in each gradient mode, gets a copy. torch counts the changes of every tensor, so the
    copy shows whether the pass writes. After the first one that does, every pass gets copies.
    """

    def __init__(self) -> None:
        self._writes = False
        self._harmless: set[tuple[object, ...]] = set()

    @contextmanager
    def kept(self, stored: Argument, argument: Argument, where: str) -> Iterator[Argument]:
        """What a pass may be handed for ``argument``.

        Args:
            stored: inputs or targets of a batch, which must stay what they are.
            argument: the same as the pass takes them: ``stored`` itself, or its values in another precision or layout.
            where: what the pass runs, to keep the network's passes and the criterion's apart.

        Raises:
            NotMeasurableError: a pass changed what earlier passes did not change.
        """
        tensors = _sharing_memory(stored, argument)
        if not tensors:
            yield argument
            return
        keys = {(where, torch.is_grad_enabled(), *_key(tensor)) for tensor in tensors}
        copied = self._writes or not keys <= self._harmless
        handed: Any = argument.clone() if copied else argument
        watched = [*_tensors(handed)]
        before = [tensor._version for tensor in watched]
        try:
            yield handed
        finally:
            changed = before != [tensor._version for tensor in watched]
            self._writes |= changed
        if not changed:
            self._harmless |= keys
        elif not copied:
            raise NotMeasurableError(
                f"The {where} changed its arguments in place, which it did not do in an earlier pass.",
                "Let it write into copies.",
                argument=where if where == "criterion" else "model",
                expected="a function that leaves its arguments alone",
            )


def _tensors(argument: Tensor | TensorTree) -> Iterator[Tensor]:
    return iter((argument,)) if isinstance(argument, Tensor) else tensors_in(argument.value)


def _sharing_memory(stored: Tensor | TensorTree, argument: Tensor | TensorTree) -> list[Tensor]:
    """The tensors of ``argument`` whose memory is that of ``stored``."""
    addresses = {_address(tensor) for tensor in _tensors(stored)}
    return [tensor for tensor in _tensors(argument) if _address(tensor) in addresses]


def _address(tensor: Tensor) -> int:
    """The address of its memory; torch wraps tensors while it stacks points, and a wrapper has none of its own."""
    return debug_unwrap(tensor, recurse=True).untyped_storage().data_ptr()


def _key(tensor: Tensor) -> tuple[object, ...]:
    """The memory that a tensor is. Batches that a stream reads anew may share it, and need no protection."""
    return (_address(tensor), tensor.storage_offset(), tensor.shape, tensor.stride())
