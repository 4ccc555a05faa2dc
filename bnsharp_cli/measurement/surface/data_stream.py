"""Batches on a device: read anew whenever they are asked for, or kept there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import overload

import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor]
"""Inputs and targets."""


@dataclass(frozen=True)
class Stream(Sequence[Batch]):
    """Batches that are read anew whenever they are asked for.

    Attributes:
        read: batch number i, anywhere.
        length: how many there are.
        device: where they are wanted.
    """

    read: Callable[[int], Batch]
    length: int
    device: torch.device | str = "cpu"

    def __len__(self) -> int:
        return self.length

    def on(self, device: torch.device | str) -> Stream:
        """The same stream, to another device."""
        return replace(self, device=device)

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> Stream: ...
    def __getitem__(self, index: int | slice) -> Batch | Stream:
        """Batch number ``index`` on the device; a slice is a stream of its own."""
        chosen = range(self.length)[index]
        if isinstance(chosen, range):
            return Stream(lambda i: self.read(chosen[i]), len(chosen), self.device)
        inputs, targets = self.read(chosen)
        if torch.device(self.device).type == "cuda":
            inputs, targets = inputs.pin_memory(), targets.pin_memory()
        return inputs.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)

    def __iter__(self) -> Iterator[Batch]:
        """All batches, the next one read while the last one is used."""
        with ThreadPoolExecutor(1) as reader:
            coming: deque[Future[Batch]] = deque()
            for index in range(self.length):
                coming.append(reader.submit(self.__getitem__, index))
                if len(coming) > 1:
                    yield coming.popleft().result()
            for last in coming:
                yield last.result()


def resident(batches: Iterable[Batch], device: torch.device | str) -> tuple[Batch, ...]:
    """All batches on ``device``, moved once."""
    return tuple((inputs.to(device), targets.to(device)) for inputs, targets in batches)
