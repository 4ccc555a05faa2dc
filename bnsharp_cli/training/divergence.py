"""Numbers of a training rule that grow beyond every range: one kind of error, whoever notices it first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from bnsharp_cli.errors import BnsharpError, DataRefusedError, NotMeasurableError, named
from bnsharp_cli.measurement.surface.token_loss import IGNORED

LOWER_RATE = (
    f"Lower {named('learning_rate')} in a new run with another {named('output')}; "
    f"{named('resume')} keeps the options of the old one."
)
"""What helps a training that diverged."""


def infinite_loss(loss: float, epoch: int, targets: Any) -> BnsharpError:
    """The error for a training loss that is not finite: about the targets of its batch, if it is theirs.

    Args:
        loss: what it is.
        epoch: counted from 1.
        targets: of the last batch.
    """
    problem = _problem(targets) if isinstance(targets, Tensor) else ""
    if problem:
        return DataRefusedError(
            f"The training loss became {loss} in epoch {epoch}: {problem}.",
            f"Use other data, or a larger {named('batch_size')} where some labels count.",
            argument="data",
            expected="targets with a finite loss",
            found=problem,
        )
    reason = f"The training loss became {loss} in epoch {epoch}."
    return NotMeasurableError(reason, LOWER_RATE, expected="a finite loss", found=loss)


def _problem(targets: Tensor) -> str:
    if not targets.is_floating_point():
        ignored = bool((targets == IGNORED).all())
        return f"all labels of a batch are {IGNORED}, which cross entropy leaves out" if ignored else ""
    return "" if bool(torch.isfinite(targets.float().square()).all()) else "squares of its targets are not finite"


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
