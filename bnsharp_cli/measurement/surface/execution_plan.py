"""How batches are computed: in which memory layout, and how many side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import NotMeasurableError, UsageError
from bnsharp_cli.measurement.surface.layouts import IMAGES, channels_last, plain, right_channels_last
from bnsharp_cli.measurement.surface.settings import LayoutSetting

IN_FLIGHT_BYTES = 128 * 2**20
"""What batches that run beside the first may hold; it keeps peak memory near that of one training step."""

REGISTER = 8
"""float32 numbers in an AVX2 register: channels last wins where the channels fill registers, and loses where not."""


@dataclass(frozen=True)
class ExecutionPlan:
    """How a surface computes its batches.

    It follows from shapes, sizes and the precision alone, so that the same command always computes the same bits.

    Attributes:
        channels_last: the memory layout of kernels of images, which that of convolutions' outputs follows.
        held: bytes that a batch keeps for its backward pass, gradient included.
        tried: whether the network was run on a few examples, so that ``held`` is known.
        narrowest: a type with fewer digits than the precision asked for, through which the network's numbers pass all
            the same; None if there is none.
    """

    channels_last: bool = False
    held: int = 0
    tried: bool = False
    narrowest: torch.dtype | None = None

    def batches_at_once(self, device: torch.device, batches: int) -> int:
        """How many of ``batches`` run side by side, sharing torch's threads between them."""
        if not self.tried or device.type != "cpu" or "OpenMP" not in torch.__config__.parallel_info():
            return 1
        return max(1, min(torch.get_num_threads(), batches, 1 + IN_FLIGHT_BYTES // max(1, self.held)))

    def lay_out(self, tensor: Tensor) -> Tensor:
        """``tensor`` in this plan's memory layout."""
        return channels_last(tensor) if self.channels_last else plain(tensor)


class ExecutionPlans:
    """The plan for each precision of one network, chosen when it is first asked for.

    Raises:
        UsageError: an unknown layout.
    """

    def __init__(self, layout: LayoutSetting = "auto") -> None:
        if layout not in get_args(LayoutSetting):
            raise UsageError.of("layout", "auto or plain", layout, "Use auto.")
        self._layout = layout
        self._chosen: dict[torch.dtype, ExecutionPlan] = {}

    def of(self, dtype: torch.dtype, choose: Callable[[LayoutSetting], ExecutionPlan]) -> ExecutionPlan:
        """The plan for ``dtype``; ``choose`` is asked for it once, and told which layouts it may choose from."""
        if dtype not in self._chosen:
            self._chosen[dtype] = choose(self._layout)
        return self._chosen[dtype]


def choose_plan(
    run: Callable[[Point, Tensor], object],
    part: Tensor,
    point: Point,
    layout: LayoutSetting = "auto",
    *,
    batch: int,
    differentiated: Callable[[], object] = bool,
) -> ExecutionPlan:
    """The best plan with which the network runs, tried with a gradient on a part of a batch or on all of it.

    Channels last is chosen only where torch's convolutions are known to be right in it and the network computes the
    same as in the plain layout: see :func:`right_channels_last`. A network that reshapes with ``view`` may refuse it.

    Args:
        run: the network, from parameters and inputs.
        part: inputs, of a few examples where the network takes a part of a batch.
        point: parameters, in the precision and on the device of the computation.
        layout: ``plain`` excludes channels last.
        batch: the length of the inputs of a whole batch.
        differentiated: told of every backward pass.

    Returns:
        An untried plan where the network does not run on the part.
    """
    for plan in _candidates(part.device, point):
        if plan.channels_last and (layout == "plain" or not right_channels_last(run, point, part, differentiated)):
            continue
        leaves = {name: plan.lay_out(tensor).detach().requires_grad_() for name, tensor in point.items()}
        saved = SavedBytes([*leaves.values(), *point.values(), part])
        with contextlib.suppress(NotMeasurableError), torch.enable_grad():
            run(leaves, part)  # shows whether the network writes into its inputs, so that the next run is the usual one
            with saved_tensors_hooks(saved, _nothing_back):
                run(leaves, part)
            gradient = sum(leaf.nbytes for leaf in leaves.values())
            return replace(plan, held=gradient + saved.total * batch // len(part), tried=True)
    return ExecutionPlan()


def _candidates(device: torch.device, point: Point) -> tuple[ExecutionPlan, ...]:
    """Plans to try, the fastest first."""
    kernels = [tensor for tensor in point.values() if tensor.ndim == IMAGES]
    filled = bool(kernels) and all(kernel.shape[0] % REGISTER == 0 for kernel in kernels)
    faster = filled and device.type == "cpu" and kernels[0].dtype == torch.float32
    return (ExecutionPlan(channels_last=True), ExecutionPlan()) if faster else (ExecutionPlan(),)


class SavedBytes:
    """Counts the bytes that autograd keeps for a backward pass, each storage once; used as a hook for saved tensors.

    It holds the storages itself for as long as it lives and hands nothing back to autograd: a hook that returned an
    output of its own node would make a cycle that is never freed.

    Args:
        known: tensors whose storages do not count.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        self._storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in known}
        self._known = self._bytes()

    @property
    def total(self) -> int:
        """Bytes that were saved, without what was known."""
        return self._bytes() - self._known

    def __call__(self, tensor: Tensor) -> None:
        """Count the bytes of ``tensor``."""
        storage = tensor.untyped_storage()
        self._storages[storage.data_ptr()] = storage

    def _bytes(self) -> int:
        return sum(storage.nbytes() for storage in self._storages.values())


def _nothing_back(_: None) -> Tensor:
    raise RuntimeError("a trial run has no backward pass")
