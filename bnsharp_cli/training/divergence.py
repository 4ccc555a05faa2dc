"""Numbers of a training rule that grow beyond every range: one kind of error, whoever notices it first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from bnsharp_cli.errors import NotMeasurableError, named


@contextmanager
def in_range() -> Iterator[None]:
    """Turn an OverflowError into that of a training that diverged.

    Python's floats raise it where tensors become infinite, and so does :func:`require_fits`.

    Raises:
        NotMeasurableError: instead of it.
    """
    try:
        yield
    except OverflowError as error:
        raise NotMeasurableError(
            "A number of the training rule grew beyond the range of floats.",
            f"Lower {named('learning_rate')}, or the options of the rule.",
            expected="a finite step",
            found=str(error),
        ) from error


def require_fits(number: float | Tensor, tensors: Iterable[Tensor]) -> None:
    """Refuse a finite factor that is beyond the range of a tensor, which torch answers with a bare RuntimeError.

    Raises:
        OverflowError: it is.
    """
    size = abs(float(number))
    for dtype in {tensor.dtype for tensor in tensors}:
        if torch.finfo(dtype).max < size < float("inf"):
            raise OverflowError(f"{size:g} is beyond the range of {dtype}")


def require_factors(groups: Iterable[Mapping[str, Any]]) -> None:
    """:func:`require_fits` for the factors by which an optimiser multiplies the parameters of its groups.

    Raises:
        OverflowError: one does not.
    """
    for group in groups:
        for name in ("lr", "weight_decay"):
            require_fits(group.get(name, 0.0), group["params"])
