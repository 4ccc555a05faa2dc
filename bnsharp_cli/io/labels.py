"""Whether labels can belong to what a network answers."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from bnsharp_cli.errors import DataRefusedError

_REMEDY = "Use the data the network was trained on; y holds one class number, an integer, for each image."


def require_labels(outputs: Tensor, labels: Iterable[Tensor]) -> None:
    """Refuse labels that cross entropy cannot compare with the outputs.

    Args:
        outputs: (n, classes, …) of any n examples.
        labels: of each batch: class numbers (N, …), or floating class probabilities (N, classes, …).

    Raises:
        DataRefusedError: another shape, or class numbers that the network does not have.
    """
    classes, rest = outputs.shape[1], outputs.shape[2:]
    for batch in labels:
        expected = (classes, *rest) if batch.is_floating_point() else rest
        if batch.shape[1:] != expected:
            raise DataRefusedError(
                f"The labels are {str(batch.dtype).removeprefix('torch.')} of shape {_shape(batch.shape[1:])}, "
                f"expected integers of shape {_shape(rest)}.",
                _REMEDY,
            )
        if not batch.is_floating_point() and (int(batch.min()) < 0 or int(batch.max()) >= classes):
            raise DataRefusedError(
                f"The labels lie in {int(batch.min())} … {int(batch.max())}, the network has {classes} classes.",
                _REMEDY,
            )


def _shape(rest: Iterable[int]) -> str:
    return f"({', '.join(['N', *map(str, rest)])})"
