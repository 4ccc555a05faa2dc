"""Memory layouts of convolutions on the CPU: which are known to be right, and whether a network computes the same.

torch's library for convolutions (oneDNN) has code of its own for tensors that are laid out channels last. It is faster,
and for some convolutions wrong: the process dies or gradients are false. ``python -m benchmarks.layouts`` finds which.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import BnsharpError
from bnsharp_cli.measurement.surface.foreign_errors import REFUSALS
from bnsharp_cli.measurement.surface.tensor_trees import TensorTree, numbers_in

Answers = tuple[list[Tensor], list[Tensor]]
"""Outputs, and gradients by the parameters."""

IMAGES = 4
"""Dimensions of a kernel of images, and of images: (N, C, H, W)."""

ENOUGH_CHANNELS = 32
"""Channels that a strided 1 × 1 kernel must see. Below 16 torch 2.15 is wrong; twice that is the margin."""

_RELATIVE, _ABSOLUTE = 1e-2, 1e-4
"""Far above rounding in float32, far below what a wrong convolution does: see :func:`_alike`."""

_MORE_POINTS = 2

_ROUNDING = 10.0
"""What a tensor may differ by, in differences that a change of all parameters' last bits makes to it or to all."""


@dataclass(frozen=True)
class Convolution:
    """Properties of a convolution that decide whether torch computes it correctly in channels-last layout.

    Attributes:
        kernel: height and width.
        channels: of the input, as each output channel sees them: those of one group.
        stride: vertical and horizontal.
        transposed: whether it is a transposed convolution.
    """

    kernel: tuple[int, ...]
    channels: int
    stride: tuple[int, ...]
    transposed: bool = False

    @property
    def safe(self) -> bool:
        """Whether it is known to be right channels last, with both gradients and for every size of batch and image.

        Not known for transposed convolutions. Wrong for strided 1 × 1 kernels that see fewer channels than a register
        holds, 16 or with AVX2 8: the gradient by the kernel is false, or the library writes behind the end of its
        memory, which kills the process at once or later.
        """
        strided_dot = set(self.kernel) == {1} and set(self.stride) != {1}
        return not self.transposed and (not strided_dot or self.channels >= ENOUGH_CHANNELS)


class ConvolutionWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch says no types here
    """Notes every convolution of images that torch computes, by whatever function the network asks for it.

    Attributes:
        seen: the different ones.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # nor here
        self.seen: set[Convolution] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note the call, and make it."""
        if function is torch.ops.aten.convolution.default and args[1].ndim == IMAGES:
            shape, stride, transposed = args[1].shape, args[3], args[6]
            self.seen.add(Convolution(tuple(shape[2:]), shape[1], tuple(stride), transposed))
        return function(*args, **(kwargs or {}))


def plain(tensor: Tensor) -> Tensor:
    """``tensor`` in torch's own layout; on another device than the CPU, or where it is no image, as it is.

    Convolutions follow the layout of inputs as well as that of kernels, and take strides of dimensions of length one
    for a layout too: those of a contiguous tensor are not always torch's own.
    """
    if isinstance(tensor, TensorTree):  # the inputs of a network that takes several
        return cast(Tensor, tensor.mapped(plain))
    if tensor.ndim != IMAGES or tensor.device.type != "cpu":
        return tensor
    height, width = tensor.shape[2:]
    own = tensor.is_contiguous() and tensor.stride()[1:] == (height * width, width, 1)
    return tensor if own else tensor.clone(memory_format=torch.contiguous_format)


def channels_last(tensor: Tensor) -> Tensor:
    """A kernel or images channels last; any other tensor as it is."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == IMAGES else tensor


def right_channels_last(
    run: Callable[[Point, Tensor], object], point: Point, inputs: Tensor, differentiated: Callable[[], object] = bool
) -> bool:
    """Whether a network may compute channels last.

    Every convolution must be known to be right, and outputs and gradients are held against those in the plain layout.
    A unit near zero may change sides by rounding, and gradients with it by some percent. So where they differ they are
    compared at two more points, which differ from the first in the last bits. What is wrong differs at all of them.
    Random numbers that the network draws are put back.

    Args:
        run: the network, from parameters and inputs.
        point: its parameters.
        inputs: a few samples.
        differentiated: told of every backward pass.
    """

    def told(leaves: Point, samples: Tensor) -> object:
        differentiated()
        return run(leaves, samples)

    own = {name: plain(tensor) for name, tensor in point.items()}
    try:
        with ConvolutionWatch() as watch:
            expected = _answers(told, own, inputs)
        if not all(convolution.safe for convolution in watch.seen):
            return False
        found = _answers(told, _channels_last(own), inputs)
        return _alike(found, expected) or any(
            _alike(_answers(told, _channels_last(moved), inputs), _answers(told, moved, inputs), expected)
            for moved in (_last_bits(own, seed) for seed in range(_MORE_POINTS))
        )
    except (BnsharpError, *REFUSALS):
        return False


def _answers(run: Callable[[Point, Tensor], object], point: Point, inputs: Tensor) -> Answers:
    """Outputs, and the gradient of a sum of them in which no two have the same weight."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in point.items()}
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        outputs = numbers_in(run(leaves, inputs))
        total = torch.stack([_weighted(output) for output in outputs]).sum()
        gradient = torch.autograd.grad(total, [*leaves.values()], allow_unused=True, materialize_grads=True)
    return [output.detach() for output in outputs], [*gradient]


def _weighted(output: Tensor) -> Tensor:
    weights = torch.arange(output.numel(), dtype=torch.float64).cos().reshape(output.shape)
    return (output.double() * weights).sum()


def _channels_last(point: Point) -> Point:
    return {name: channels_last(tensor) for name, tensor in point.items()}


def _last_bits(point: Point, seed: int) -> Point:
    """``point`` with every number times 1 ± ε."""
    generator = torch.Generator().manual_seed(seed)
    signs = {name: torch.rand(tensor.shape, generator=generator) < 0.5 for name, tensor in point.items()}
    epsilon = torch.finfo(torch.float32).eps
    return {name: tensor * (1 + epsilon * torch.where(signs[name], 1.0, -1.0)) for name, tensor in point.items()}


def _alike(found: Answers, expected: Answers, rounded: Answers | None = None) -> bool:
    """Whether outputs and gradients differ by no more than rounding, each tensor by itself.

    Beside its own norm counts a little of that of all outputs or of the whole gradient, for gradients that are zero but
    for rounding, such as that of a bias in front of a batch norm.

    Args:
        found: in one layout.
        expected: in the other.
        rounded: like ``expected``, where the parameters differ in the last bits; None where that is not known.
    """
    for part, (ones, others) in enumerate(zip(found, expected, strict=True)):
        sizes = [*map(_norm, others)]
        whole = math.hypot(*sizes)
        changes = [_norm(a - b) for a, b in zip(rounded[part], others, strict=True)] if rounded else [0.0] * len(others)
        share = _RELATIVE + (_ROUNDING * math.hypot(*changes) / whole if whole else 0.0)
        for one, other, size, change in zip(ones, others, sizes, changes, strict=True):
            if not _norm(one - other) <= share * size + _ABSOLUTE * whole + _ROUNDING * change:
                return False
    return True


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
