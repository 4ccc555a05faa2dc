"""What a user's network or criterion raises over tensors that it cannot take, told as one of our errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bnsharp_cli.errors import NotMeasurableError

REFUSALS = (RuntimeError, ValueError, IndexError, TypeError, AttributeError)
"""What torch raises over tensors that it cannot take."""


@contextmanager
def accepting(what: str, remedy: str) -> Iterator[None]:
    """Tell what a foreign function raises inside as one of our errors; only that memory ran out passes through.

    Args:
        what: the start of the sentence, as in "The network does not accept a batch of (8, 3)".
        remedy: what to do.

    Raises:
        NotMeasurableError: with the function's own reason.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except REFUSALS as error:
        found = first_line(error)
        expected = "batches that the network and the criterion accept"
        raise NotMeasurableError(f"{what}: {found}", remedy, expected=expected, found=found) from error


def first_line(error: Exception) -> str:
    """The first line of a foreign exception's text, to be shown and nothing else."""
    return (str(error).splitlines() or [""])[0]
