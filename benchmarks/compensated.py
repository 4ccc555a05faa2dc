"""Networks whose sums are compensated: a reference for what float64 rounds.

While ``CompensatedSums`` is active, the sums of linear layers, convolutions, batch and layer norm and cross-entropy are
computed as if in twice the precision and rounded once: products and sums without error (Dekker 1971, Knuth 1969), the
errors summed beside them (Dot2 of Ogita, Rump and Oishi, SIAM J. Sci. Comput. 26, 2005). Gradients are those of the
ordinary functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_SPLIT = 2.0**27 + 1


def two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The rounded sum and its error: their exact sum is that of ``a`` and ``b``."""
    total = a + b
    shadow = total - a
    return total, (a - (total - shadow)) + (b - shadow)


def two_product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The rounded product and its error, float64."""
    product = a * b
    a_high, b_high = ((x * _SPLIT) - (x * _SPLIT - x) for x in (a, b))
    a_low, b_low = a - a_high, b - b_high
    return product, a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def compensated_sum(terms: Tensor, errors: Tensor | None = None) -> Tensor:
    """The sum over the last dimension, with ``errors`` that belong to the terms added at the end."""
    beside = torch.zeros_like(terms[..., 0]) if errors is None else errors.sum(-1)
    while terms.shape[-1] > 1:
        if terms.shape[-1] % 2:
            terms = functional.pad(terms, (0, 1))
        terms, lost = two_sum(terms[..., ::2], terms[..., 1::2])
        beside = beside + lost.sum(-1)
    return terms[..., 0] + beside


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(…, in) and (out, in) to (…, out)."""
    products, errors = two_product(x.unsqueeze(-2), weight)
    if bias is not None:
        products = torch.cat([products, bias.expand(products.shape[:-1]).unsqueeze(-1)], -1)
    return compensated_sum(products, errors)


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """An ungrouped convolution as a linear layer on unfolded patches."""
    if groups != 1 or isinstance(padding, str):
        raise NotImplementedError("compensated sums of grouped convolutions or padding by name")
    patches = functional.unfold(x, weight.shape[2:], dilation, padding, stride).transpose(1, 2)
    sums = linear(patches, weight.flatten(1), bias).transpose(1, 2)
    like = functional.conv2d(x[:1], weight, None, stride, padding, dilation)
    return sums.reshape(len(x), len(weight), *like.shape[2:])


def normalised(x: Tensor, over: tuple[int, ...], epsilon: float) -> Tensor:
    """(x − mean) / √(variance + ε), both over the dimensions ``over``."""
    kept = [dimension for dimension in range(x.ndim) if dimension not in over]
    order = (*kept, *over)
    rows = x.permute(order).flatten(len(kept))
    mean = (compensated_sum(rows) / rows.shape[-1]).unsqueeze(-1)
    centred = rows - mean
    variance = compensated_sum(*two_product(centred, centred)) / rows.shape[-1]
    shape = [x.shape[dimension] for dimension in order]
    scaled = (centred / (variance + epsilon).sqrt().unsqueeze(-1)).reshape(shape)
    return scaled.permute([order.index(dimension) for dimension in range(x.ndim)])


def batch_norm(
    x: Tensor, running_mean: Any, running_var: Any, weight: Tensor | None = None, bias: Tensor | None = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """By the batch's statistics."""
    del running_mean, running_var, momentum
    if not training:
        raise NotImplementedError("compensated sums of running statistics")
    shape = (1, -1, *[1] * (x.ndim - 2))
    scaled = normalised(x, (0, *range(2, x.ndim)), eps)
    scaled = scaled if weight is None else scaled * weight.reshape(shape)
    return scaled if bias is None else scaled + bias.reshape(shape)


def layer_norm(
    x: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Over the last dimensions."""
    scaled = normalised(x, tuple(range(x.ndim - len(normalized_shape), x.ndim)), eps)
    scaled = scaled if weight is None else scaled * weight
    return scaled if bias is None else scaled + bias


def cross_entropy(outputs: Tensor, targets: Tensor, **defaults: object) -> Tensor:
    """The mean over samples, class indices as targets."""
    del defaults
    shifted = outputs - outputs.max(-1, keepdim=True).values
    losses = compensated_sum(shifted.exp()).log() - shifted.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return compensated_sum(losses) / len(losses)


class _Swapped(torch.autograd.Function):
    """The value of one function with the gradient of another."""

    @staticmethod
    def forward(ctx: Any, ordinary: Tensor, compensated: Tensor) -> Tensor:
        del ctx, ordinary
        return compensated

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        del ctx
        return gradient, None


_COMPENSATED: dict[Any, Callable[..., Tensor]] = {
    functional.linear: linear,
    functional.conv2d: conv2d,
    functional.batch_norm: batch_norm,
    functional.layer_norm: layer_norm,
    functional.cross_entropy: cross_entropy,
}


class CompensatedSums(TorchFunctionMode):
    """While active, the functions named above are compensated in float64, in this thread; not under ``vmap``."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Divert what is compensated, pass everything else on."""
        del types
        ordinary = func(*args, **(kwargs or {}))
        if func not in _COMPENSATED or ordinary.dtype != torch.float64:
            return ordinary
        names = {"input": "x"} if func is not functional.cross_entropy else {"input": "outputs", "target": "targets"}
        renamed = {names.get(key, key): value for key, value in (kwargs or {}).items()}
        with torch.no_grad():
            compensated = _COMPENSATED[func](*args, **renamed)
        return _Swapped.apply(ordinary, compensated) if ordinary.requires_grad else compensated
