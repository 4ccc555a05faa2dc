"""How a surface runs its batches: how many at once, in which memory layout, and read from where."""

from __future__ import annotations

import contextlib
import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast, get_args, overload

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import NotMeasurableError, UsageError
from bnsharp_cli.measurement.surface.layouts import IMAGES, Layout, channels_last, plain, right_channels_last

Batch = tuple[Tensor, Tensor]
Job = TypeVar("Job")
Result = TypeVar("Result")

IN_FLIGHT = 128 * 2**20
"""Bytes that batches running beside the first may hold; it keeps peak memory near that of one training step."""

VECTOR = 8
"""float32 numbers in an AVX2 register: channels_last wins where the channels fill registers, and loses where not."""

_TRIAL = 8


@dataclass(frozen=True)
class Plan:
    """Decided from shapes and sizes alone, so that the same command always computes the same bits.

    Attributes:
        channels_last: the memory layout of convolutions' weights, which that of their outputs follows.
        held: bytes that a batch keeps for its backward pass, gradient included.
        tried: whether the network ran on a slice of a batch, so that ``held`` is known.
    """

    channels_last: bool = False
    held: int = 0
    tried: bool = False

    def batches_at_once(self, device: torch.device, batches: int) -> int:
        """Batches that run side by side, sharing torch's threads between them."""
        if not self.tried or device.type != "cpu" or "OpenMP" not in torch.__config__.parallel_info():
            return 1
        return max(1, min(torch.get_num_threads(), batches, 1 + IN_FLIGHT // max(1, self.held)))

    def lay_out(self, tensor: Tensor) -> Tensor:
        """``tensor`` in this plan's memory layout."""
        return channels_last(tensor) if self.channels_last else plain(tensor)


def candidates(device: torch.device, dtype: torch.dtype, parameters: Iterable[Tensor]) -> tuple[Plan, ...]:
    """Plans to try, the best first; a network that reshapes with ``view`` may refuse channels last."""
    kernels = [tensor for tensor in parameters if tensor.ndim == IMAGES]
    fill = bool(kernels) and all(kernel.shape[0] % VECTOR == 0 for kernel in kernels)
    helps = fill and device.type == "cpu" and dtype == torch.float32
    return (Plan(channels_last=True), Plan()) if helps else (Plan(),)


def settled(run: Callable[[Point, Tensor], object], inputs: Tensor, point: Point, layout: Layout = "auto") -> Plan:
    """The first plan with which the network runs, tried with a gradient on a slice of a batch.

    Channels last must also be known to be right, and give what the plain layout gives: ``right_channels_last``.

    Args:
        run: the network, from parameters and inputs.
        inputs: of the whole batch.
        point: parameters, in the precision and on the device of the computation.
        layout: ``plain`` leaves no choice.
    """
    part = inputs[:_TRIAL]
    dtype = next(iter(point.values())).dtype
    for plan in candidates(inputs.device, dtype, point.values()):
        if plan.channels_last and (layout == "plain" or not right_channels_last(run, point, part)):
            continue
        leaves = {name: plan.lay_out(tensor).detach().requires_grad_() for name, tensor in point.items()}
        saved = SavedBytes([*leaves.values(), *point.values(), part])
        with contextlib.suppress(NotMeasurableError), torch.enable_grad():
            with saved_tensors_hooks(saved, _nothing_back):
                run(leaves, part)
            gradient = sum(leaf.nbytes for leaf in leaves.values())
            return replace(plan, held=gradient + saved.total * len(inputs) // len(part), tried=True)
    return Plan()


def unwrapped(module: nn.Module) -> nn.Module:
    """The network without what torch.compile and the parallel wrappers put around it."""
    while isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel) or hasattr(module, "_orig_mod"):
        module = cast(nn.Module, getattr(module, "_orig_mod", None) or module.module)
    return module


def private_copy(module: nn.Module, device: torch.device | str) -> nn.Module:
    """A copy in eval mode on ``device``; its parameters need no gradient and share the memory of ``module``'s.

    Tensors that ``module`` carries with a graph behind them, such as the weight that the hook of the old weight norm
    computes anew in every pass, go along as values.
    """
    shared: dict[int, Tensor] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in module.parameters()}
    shared |= {id(tensor): tensor.detach() for tensor in _attributes(module) if not tensor.is_leaf}
    return copy.deepcopy(module, shared).eval().to(device=device)


def _attributes(module: nn.Module) -> list[Tensor]:
    """Tensors that modules carry as plain attributes: constants, and what hooks compute from parameters."""
    return [value for part in module.modules() for value in vars(part).values() if isinstance(value, Tensor)]


class Workshop:
    """What all surfaces of one module share. The module itself never runs, so that it can be copied at any time.

    Attributes:
        layout: ``auto`` or ``plain``: what plans may choose.
        plans: by precision.
    """

    def __init__(self, module: nn.Module, layout: Layout = "auto") -> None:
        if layout not in get_args(Layout):
            raise UsageError(f"layout: expected auto or plain, found {layout!r}.", "Use auto.")
        self.layout = layout
        self._module = module
        self._idle: deque[nn.Module] = deque()
        self._shared = {id(t): t for t in (*module.parameters(), *module.buffers(), *_attributes(module))}
        self.plans: dict[torch.dtype, Plan] = {}

    @contextlib.contextmanager
    def module(self) -> Iterator[nn.Module]:
        """A copy of the module that no other thread uses meanwhile; all copies share their tensors."""
        try:
            chosen = self._idle.pop()
        except IndexError:
            chosen = copy.deepcopy(self._module, dict(self._shared))
        try:
            yield chosen
        finally:
            self._idle.append(chosen)


class SavedBytes:
    """Counts the storage that autograd keeps for a backward pass, each tensor once; a hook for saved tensors.

    It keeps the storages itself, for as long as it lives: a hook that hands back an output of its own node makes a
    cycle that is never freed.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        self._storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in known}
        self._known = self._bytes()

    @property
    def total(self) -> int:
        """Bytes beside what was known."""
        return self._bytes() - self._known

    def __call__(self, tensor: Tensor) -> None:
        """Count ``tensor``."""
        storage = tensor.untyped_storage()
        self._storages[storage.data_ptr()] = storage

    def _bytes(self) -> int:
        return sum(storage.nbytes() for storage in self._storages.values())


def _nothing_back(_: None) -> Tensor:
    raise RuntimeError("a trial run has no backward pass")


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


def in_order(function: Callable[[Job], Result], jobs: Iterable[Job], at_once: int) -> Iterator[Result]:
    """``map``, up to ``at_once`` jobs running at the same time; few more are taken than have been answered.

    torch's threads are shared out between the jobs: with as many jobs as threads, each job's operators run on one
    thread, and its result does not depend on how many there are.
    """
    if at_once == 1:
        yield from map(function, jobs)
        return
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(at_once, initializer=_use_threads, initargs=(threads // at_once,)) as pool:
        pending: deque[Future[Any]] = deque()
        try:
            for job in jobs:
                pending.append(pool.submit(function, job))
                if len(pending) > at_once:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
            torch.set_num_threads(threads)  # a worker's own setting is what threads yet to come would start with


def _use_threads(count: int) -> None:
    torch.get_num_threads()  # torch settles a new thread's number at its first use; from then on it can be changed
    torch.set_num_threads(count)
