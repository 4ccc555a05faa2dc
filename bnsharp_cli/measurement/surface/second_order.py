"""One batch differentiated twice: products of its Hessian with vectors, by reverse mode through the gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from bnsharp_cli.core.point import Point, Vector
from bnsharp_cli.errors import UnfitMeasureError
from bnsharp_cli.measurement.surface.code_switches import dense
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.measurement.surface.foreign_errors import OUT_OF_MEMORY, first_line, require_graph
from bnsharp_cli.measurement.surface.passes import Passes
from bnsharp_cli.measurement.surface.stacked_passes import OverBatches
from bnsharp_cli.measurement.surface.sums import GradientSum


@dataclass(frozen=True)
class CurvatureProduct:
    """The product of the Hessian with one vector.

    Attributes:
        product: H v, which is the caller's to overwrite.
        forms: ⟨v, H_b v⟩ for the Hessian H_b of every batch's loss; their mean is ⟨v, H v⟩.
    """

    product: Vector
    forms: tuple[float, ...]


def summed_products(
    passes: Passes, point: Point, vectors: Sequence[Point], over_batches: OverBatches
) -> tuple[Tensor, list[Vector]]:
    """The products of the Hessian of each batch with several vectors, added up in float64.

    Returns:
        ⟨v, H_b v⟩, (vectors, batches) float64 on the CPU, and Σ_b H_b v for each vector.

    Raises:
        UnfitMeasureError: torch cannot differentiate the loss twice.
    """
    parameters, directions = passes.cast(point), [passes.cast(vector) for vector in vectors]
    forms: list[Tensor] = []
    totals = [GradientSum(parameters) for _ in vectors]
    with attention_differentiable_twice():
        for own, products in over_batches(lambda batch: _products_of_batch(passes, parameters, directions, batch)):
            forms.append(own)
            for total, product in zip(totals, products, strict=True):
                total.add(product)
            del products  # or they would live through the next batch
    return _summed(forms, len(vectors)), [total.point() for total in totals]


def _summed(forms: Sequence[Tensor], vectors: int) -> Tensor:
    """(vectors, batches) on the CPU, from (vectors, parameters) of each batch, fetched at once."""
    if not forms:
        return torch.zeros(vectors, 0, dtype=torch.float64)
    each = torch.stack([*forms]).tolist()
    return torch.tensor([[math.fsum(parts) for parts in own] for own in each], dtype=torch.float64).T


def _products_of_batch(
    passes: Passes, parameters: Point, vectors: Sequence[Point], batch: Batch
) -> tuple[Tensor, list[list[Tensor]]]:
    """⟨v, H_b v⟩ for each vector, (vectors, parameters) float64, and H_b v in the order of ``parameters``."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in parameters.items()}
    with torch.enable_grad():
        loss = passes.loss(leaves, batch, fast=False)
        if not (passes.constants and not loss.requires_grad):  # a batch may not use the few parameters that are varied
            require_graph(loss)
        _, found = gradient_and_products(loss, leaves, vectors)
    forms = [
        torch.stack([part.double().mul(vector[name]).sum() for name, part in zip(leaves, product, strict=True)])
        for vector, product in zip(vectors, found, strict=True)
    ]
    return torch.stack(forms), found


@contextmanager
def attention_differentiable_twice() -> Iterator[None]:
    """Compute attention by plain products of matrices: the derivatives of torch's faster kernels have none."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def gradient_and_products(
    loss: Tensor, leaves: Point, vectors: Sequence[Point]
) -> tuple[list[Tensor], list[list[Tensor]]]:
    """The gradient of ``loss`` and the products of its Hessian with ``vectors``, in the order of ``leaves``.

    Raises:
        UnfitMeasureError: torch cannot differentiate the loss twice.
    """
    gradients = _gradients(loss, leaves)
    last = len(vectors) - 1
    products = [_product(gradients, leaves, vector, keep=i < last) for i, vector in enumerate(vectors)]
    return [gradient.detach() for gradient in gradients], products


def _gradients(loss: Tensor, leaves: Point) -> list[Tensor]:
    """The gradient, with a graph behind it."""
    if not loss.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves.values()]
    try:
        found = torch.autograd.grad(
            loss, [*leaves.values()], create_graph=True, allow_unused=True, materialize_grads=True
        )
    except OUT_OF_MEMORY:
        raise
    except Exception as error:  # the code of a network's own functions raises whatever it likes
        raise _once_only(error) from error
    return dense(found)


def _product(gradients: Sequence[Tensor], leaves: Point, vector: Point, *, keep: bool) -> list[Tensor]:
    """The gradient of ⟨gradient, vector⟩; zero where the loss is linear."""
    pairs = [(one, vector[name]) for name, one in zip(leaves, gradients, strict=True) if one.requires_grad]
    if not pairs:
        return [torch.zeros_like(leaf) for leaf in leaves.values()]
    try:
        found = torch.autograd.grad(
            [one for one, _ in pairs],
            [*leaves.values()],
            [own.to(one) for one, own in pairs],
            retain_graph=keep,
            allow_unused=True,
            materialize_grads=True,
        )
    except OUT_OF_MEMORY:
        raise
    except Exception as error:
        raise _once_only(error) from error
    return dense(found)


def _once_only(error: Exception) -> UnfitMeasureError:
    return UnfitMeasureError(
        f"The loss cannot be differentiated twice: {first_line(error).rstrip('.')}.",
        "Measure something else, or write that part of the network with functions that torch differentiates twice.",
        argument="model",
        expected="a loss that torch can differentiate twice",
        found=first_line(error),
    )
