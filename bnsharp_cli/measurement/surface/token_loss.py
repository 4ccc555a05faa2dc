"""The loss of language models: cross entropy of the token that follows, averaged over all tokens that count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional

from bnsharp_cli.errors import DataRefusedError
from bnsharp_cli.measurement.surface.accuracy import prediction

IGNORED = -100
"""The label that torch's cross entropy leaves out."""


def token_cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    """−(1/n) Σ log p(target) over the n tokens of a batch whose target is not −100, in nats.

    Targets are those of the inputs' own places: who predicts the token that follows gives that one. Batches count by
    their tokens, so that the loss of several is the mean over all tokens, however they are cut.

    Args:
        outputs: logits (N, T, V), or what a network returns that has them as ``logits``.
        targets: numbers of tokens (N, T), −100 where nothing is predicted, as at padding.

    Raises:
        DataRefusedError: outputs and targets are of other shapes.

    >>> import torch
    >>> logits = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [9.0, 0.0]]])
    >>> round(float(token_cross_entropy(logits, torch.tensor([[0, 1, -100]]))), 6)  # ln 2
    0.693147
    """
    logits = prediction(outputs)
    found = "no single tensor" if logits is None else f"outputs of {tuple(logits.shape)}"
    if logits is None or logits.ndim < 2 or logits.shape[:-1] != targets.shape:
        expected = ", ".join([*map(str, targets.shape), "V"])
        raise DataRefusedError(
            f"The network answers with {found}, expected logits ({expected}) for targets of {tuple(targets.shape)}.",
            "Use a language model, which answers with a number for each token of its vocabulary at each place.",
            argument="criterion",
            expected=f"logits ({expected})",
            found=found,
        )
    return functional.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORED)


def counted_tokens(targets: Tensor) -> Tensor:
    """How many targets count, a scalar on their device."""
    return (targets != IGNORED).sum()


def averages_over_tokens(criterion: Callable[..., Any]) -> bool:
    """Whether a criterion is :func:`token_cross_entropy`, whose batches count by their tokens."""
    return getattr(criterion, "function", criterion) is token_cross_entropy
