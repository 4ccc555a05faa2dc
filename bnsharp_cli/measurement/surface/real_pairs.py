"""Complex numbers: a point holds complex parameters as pairs of real numbers, and the network gets them as it has them.

A complex tensor (…) is a real one (…, 2) to everything but the network: norms, directions and blocks are of real and
imaginary parts, as they are to an optimiser.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.surface.tensor_trees import TensorTree

_COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}


def as_real(tensor: Tensor) -> Tensor:
    """A complex tensor (…) as pairs (…, 2) of real numbers; any other as it is.

    >>> as_real(torch.tensor([1 + 2j]))
    tensor([[1., 2.]])
    """
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def as_complex(point: Mapping[str, Tensor], names: Collection[str]) -> Point:
    """The tensors of ``point``, those in ``names`` as complex numbers again."""
    return {
        name: torch.view_as_complex(tensor.contiguous()) if name in names else tensor for name, tensor in point.items()
    }


def widened(tensor: Tensor, dtype: torch.dtype, *, copy: bool = False) -> Tensor:
    """A tensor, or each of a tree, in the precision ``dtype`` if it holds real or complex numbers; or a copy of it."""
    if isinstance(tensor, TensorTree):
        return cast(Tensor, tensor.mapped(lambda part: widened(part, dtype, copy=copy)))
    if tensor.is_floating_point():
        return tensor.to(dtype, copy=copy)
    if tensor.is_complex():
        return tensor.to(_COMPLEX[dtype], copy=copy)
    return tensor.clone() if copy else tensor
