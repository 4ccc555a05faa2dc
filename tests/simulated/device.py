"""A device that the CPU simulates: its tensors refuse to meet those of the CPU, as CUDA's do.

torch keeps the dispatch key ``PrivateUse1`` for devices that are not its own, and lets Python be one. What CUDA allows
is allowed: copies from one device to the other, numbers and indices of the CPU. What it forbids raises: operands on two
devices, a generator of the CPU for a tensor of the device, more memory than there is. Whatever makes the host wait for
the device is counted. Numbers are the CPU's, bit for bit.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from tests.simulated.backend import GENERATORS, NAME, OF_TORCH, Generators, active, register, running

PLENTY = 64 * 2**30
"""Bytes of a device that never runs out."""

_COUNTING = threading.RLock()
"""Held while bytes are counted: a thread reads batches, and tensors may end within those lines."""

aten = torch.ops.aten

_MAY_MIX = {
    aten._to_copy.default,
    aten.copy_.default,
    aten.index.Tensor,
    aten.index_put_.default,
    aten.index_put.default,
    aten._index_put_impl_.default,
    aten._local_scalar_dense.default,
}
_SIZE_DEPENDS_ON_NUMBERS = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.equal.default,
    aten.is_nonzero.default,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.repeat_interleave.Tensor,
    aten.bincount.default,
}
"""Operations whose answer the host has to wait for."""


class Simulated(Tensor):
    """A tensor of the device; its numbers are in ``numbers``, on the CPU."""

    numbers: Tensor
    lease: _Lease

    @staticmethod
    def __new__(cls, numbers: Tensor) -> Simulated:
        made: Simulated = Tensor._make_wrapper_subclass(
            cls,
            numbers.size(),
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            layout=numbers.layout,
            device=f"{NAME}:0",
            requires_grad=False,
        )
        return made

    def __init__(self, numbers: Tensor) -> None:
        self.numbers = numbers

    def __repr__(self, **_: Any) -> str:
        return f"Simulated({self.numbers})"

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.numbers.untyped_storage()

    def data_ptr(self) -> int:
        return self.numbers.data_ptr()

    def item(self) -> Any:
        active().waited("item")
        return self.numbers.detach().item()

    def tolist(self) -> Any:
        active().waited("tolist")
        return self.numbers.detach().tolist()

    def new_tensor(self, data: Any, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype).to(self.device)

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return active().run(function, args, kwargs or {})


class Simulation(TorchDispatchMode):
    """The device while it is there.

    Attributes:
        waits: how often the host waited for the device, by what it asked.
        operations: how often each operation ran on the device.
        live: bytes that tensors of the device hold.
        peak: the most they ever held.
        memory: bytes that they may hold.
    """

    def __init__(self, memory: int = PLENTY) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.live = self.peak = 0
        self.memory = memory
        self._held: Counter[int] = Counter()
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return self.run(function, args, kwargs or {})

    def waited(self, what: str) -> None:
        """Count one wait of the host."""
        self.waits[what] += 1

    def run(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """One operation: checked as the device would, computed by the CPU, wrapped again."""
        flat, _ = tree_flatten((args, dict(kwargs)))
        ours = any(isinstance(one, Simulated) for one in flat)
        wanted = kwargs.get("device")
        here = torch.device(wanted).type == NAME if wanted is not None else ours
        self._refuse(function, flat, ours=ours, here=here)
        if ours or here:
            self.operations[str(function)] += 1
            self._count_waits(function, args, flat, leaves=ours and not here)
        plain = {**kwargs, "device": torch.device("cpu")} if wanted is not None else dict(kwargs)
        found = function(*tree_map(_bare, tuple(args)), **tree_map(_bare, plain))
        if function is aten._local_scalar_dense.default:
            return found
        written = [
            kwargs.get(argument.name, args[place] if place < len(args) else None)
            for place, argument in enumerate(function._schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        if written:  # in place, or into what the caller handed in
            return _answered(function, written)
        return tree_map(self.made, found) if here else found

    def _refuse(self, function: Any, flat: Sequence[Any], *, ours: bool, here: bool) -> None:
        """Raise what CUDA raises."""
        generators = [one for one in flat if isinstance(one, OF_TORCH)]
        if any((one._cdata in GENERATORS) != here for one in generators):
            raise RuntimeError(f"{function}: expected a generator of the tensor's own device")
        foreign = [one for one in flat if isinstance(one, Tensor) and not isinstance(one, Simulated)]
        if ours and function not in _MAY_MIX and any(one.dim() > 0 for one in foreign):
            raise RuntimeError(f"{function}: expected all tensors to be on the same device")

    def _count_waits(self, function: Any, args: Sequence[Any], flat: Sequence[Any], *, leaves: bool) -> None:
        to_host = function is aten.copy_.default and not isinstance(args[0], Simulated)
        masks = function in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default) and any(
            isinstance(one, Simulated) and one.dtype in (torch.bool, torch.uint8) for one in flat[1:]
        )
        if function in _SIZE_DEPENDS_ON_NUMBERS or to_host or masks or leaves:
            self.waited(str(function))

    def made(self, found: Any) -> Any:
        """A tensor of the CPU as one of the device, and anything else as it is."""
        if not isinstance(found, Tensor) or isinstance(found, Simulated):
            return found
        held = Simulated(found)
        held.lease = self.lend(found.untyped_storage())
        return held

    def lend(self, storage: torch.UntypedStorage) -> _Lease:
        """Count the bytes of a storage for as long as some tensor of the device is on it."""
        key, size = storage._cdata, storage.nbytes()
        with _COUNTING:
            more = size - self._sizes.get(key, 0)  # another thread may get a storage's place before its tensor lets go
            if more > 0 and self.live + more > self.memory:
                raise torch.OutOfMemoryError(f"The device has {self.memory} bytes, and {more} more are asked for.")
            self.live += more
            self.peak = max(self.peak, self.live)
            self._sizes[key] = size
            self._held[key] += 1
        return _Lease(self, key)

    def give_back(self, key: int) -> None:
        """One tensor on this storage less."""
        with _COUNTING:
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]
                self.live -= self._sizes.pop(key)


class _Lease:
    """A tensor's hold on a storage; no weak reference, since torch swaps no tensor that has one."""

    def __init__(self, simulation: Simulation, key: int) -> None:
        self._held = simulation, key

    def __del__(self) -> None:
        simulation, key = self._held
        simulation.give_back(key)


def _answered(function: Any, written: Sequence[Any]) -> Any:
    """What an operation that writes answers: what it wrote into."""
    returns = len(function._schema.returns)
    return written[0] if returns == 1 else tuple(written[:returns]) if returns else None


def _bare(one: Any) -> Any:
    return one.numbers if isinstance(one, Simulated) else one


@contextmanager
def simulated(memory: int = PLENTY) -> Iterator[Simulation]:
    """Have the device, with so many bytes, for as long as the block lasts."""
    register()
    swap = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # a parameter's data cannot change its kind
    torch.Generator = Generators  # type: ignore[misc, assignment]
    with Simulation(memory) as simulation:
        running.append(simulation)
        try:
            yield simulation
        finally:
            running.pop()
            torch.Generator = OF_TORCH  # type: ignore[misc]
            torch.__future__.set_swap_module_params_on_conversion(swap)


@contextmanager
def ending_midway(simulation: Simulation) -> Iterator[None]:
    """Afterwards the device has three fifths of the memory that it took meanwhile."""
    before = simulation.peak = simulation.live
    yield
    simulation.memory = before + (simulation.peak - before) * 3 // 5
