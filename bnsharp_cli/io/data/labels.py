"""Whether labels can belong to what a network answers."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from bnsharp_cli.errors import DataRefusedError, named
from bnsharp_cli.measurement.surface.token_loss import IGNORED

_REMEDY = (
    f"Use the data the network was trained on, y one class number for each image (or pixel), or name another "
    f"{named('loss')}: "
    "mse compares numbers."
)
_AGREES = 1e-3


def label_range(labels: Tensor) -> tuple[int, int] | None:
    """The smallest and the largest class number; None if labels are no class numbers, or all are ignored.

    >>> import torch
    >>> label_range(torch.tensor([[3, IGNORED], [0, 7]]))
    (0, 7)
    """
    counted = labels[labels != IGNORED]
    return None if labels.is_floating_point() or not len(counted) else (int(counted.min()), int(counted.max()))


def require_labels(outputs: Tensor, labels: Tensor, span: tuple[int, int] | None) -> None:
    """Refuse labels that cross entropy cannot compare with the outputs.

    Args:
        outputs: (n, classes, …) of any n examples.
        labels: of some: class numbers (N, …), or floating class probabilities (N, classes, …).
        span: the smallest and the largest class number of all, or None.

    Raises:
        DataRefusedError: another shape, class numbers that the network does not have, none that counts, or numbers that
            are no probabilities.
    """
    classes, rest = outputs.shape[1], outputs.shape[2:]
    if labels.shape[1:] != ((classes, *rest) if labels.is_floating_point() else rest):
        raise DataRefusedError(
            f"The labels are {str(labels.dtype).removeprefix('torch.')} of shape {batch_shape(labels.shape[1:])}, "
            f"expected integers of shape {batch_shape(rest)}.",
            _REMEDY,
        )
    if labels.is_floating_point() and not _are_probabilities(labels):
        raise DataRefusedError(
            f"The labels are {str(labels.dtype).removeprefix('torch.')} and no probabilities of {classes} classes.",
            _REMEDY,
        )
    if span is None and not labels.is_floating_point():
        raise DataRefusedError(
            f"All labels are {IGNORED}, which cross entropy leaves out.",
            "Use examples with labels.",
            expected="class numbers",
            found=f"all {IGNORED}",
        )
    if span is not None and (span[0] < 0 or span[1] >= classes):
        raise DataRefusedError(
            f"The labels lie in {span[0]} … {span[1]}, the network has {classes} classes.",
            _REMEDY,
        )


def require_tokens(outputs: Tensor, targets: Tensor, span: tuple[int, int] | None) -> None:
    """Refuse targets that are no tokens of what the network answers for.

    Args:
        outputs: (n, T, V) of any n sequences.
        targets: (n, T) of some.
        span: the smallest and the largest number of a token of all, or None where none counts.

    Raises:
        DataRefusedError: outputs of another shape, or tokens that the network does not have.
    """
    remedy = f"Use a language model with {named('data')} text:FILE, or name another {named('loss')}."
    if outputs.ndim != targets.ndim + 1 or outputs.shape[1:-1] != targets.shape[1:] or targets.is_floating_point():
        raise DataRefusedError(
            f"The network answers with outputs of {batch_shape(outputs.shape[1:])}, expected logits "
            f"{batch_shape([*targets.shape[1:], 'V'])}, a number for each token of the vocabulary at each place.",
            remedy,
        )
    if span is not None and (span[0] < 0 or span[1] >= outputs.shape[-1]):
        raise DataRefusedError(
            f"The tokens lie in {span[0]} … {span[1]}, the network has {outputs.shape[-1]:,}.", remedy
        )


def _are_probabilities(labels: Tensor) -> bool:
    return bool((labels >= 0).all()) and bool(((labels.sum(1) - 1).abs() <= _AGREES).all())


def batch_shape(rest: Iterable[int | str]) -> str:
    """A shape with N for the examples."""
    return f"({', '.join(['N', *map(str, rest)])})"
