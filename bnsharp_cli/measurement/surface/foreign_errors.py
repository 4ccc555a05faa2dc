"""What a user's network, criterion or loader raises, told as one of our errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from bnsharp_cli.errors import BnsharpError, NotMeasurableError, described

REFUSALS = (RuntimeError, ValueError, IndexError, TypeError, AttributeError)
"""What torch raises over tensors that it cannot take."""

OUT_OF_MEMORY = (MemoryError, torch.OutOfMemoryError)

NO_GRADIENT = "A gradient is needed. Take detach(), torch.no_grad() and changes in place out of the network's forward."
"""What to do about a network that autograd cannot differentiate."""


@contextmanager
def accepting(what: str, remedy: str | Callable[[], str], argument: str = "model") -> Iterator[None]:
    """Tell what the user's code raises inside as one of our errors.

    Only our own errors and those of memory that ran out pass through.

    Args:
        what: the start of the sentence, as in "The network does not accept a batch of (8, 3)".
        remedy: what to do, or what finds it out once the code has failed.
        argument: whose code it is, ``model`` or ``criterion``.

    Raises:
        NotMeasurableError: with the reason that the code gives; the original error is its cause.
    """
    try:
        yield
    except (BnsharpError, *OUT_OF_MEMORY):
        raise
    except (Exception, SystemExit) as error:  # a user's code raises whatever it likes
        found = first_line(error) if isinstance(error, REFUSALS) else kind_and_first_line(error)
        expected = "batches that the network and the criterion accept"
        advice = remedy if isinstance(remedy, str) else remedy()
        raise NotMeasurableError(
            f"{what}: {found}", advice, argument=argument, expected=expected, found=found
        ) from error


def require_graph(loss: object) -> None:
    """Refuse a loss that autograd cannot follow back to any parameter.

    Raises:
        NotMeasurableError: it has no graph.
    """
    if isinstance(loss, Tensor) and not loss.requires_grad:
        raise NotMeasurableError(
            "The loss does not depend on the network's parameters as far as autograd can see.",
            NO_GRADIENT,
            argument="model",
            expected="a network whose output autograd can follow back to its parameters",
            found="an output without a graph",
        )


def first_line(error: BaseException) -> str:
    """The first line of a foreign exception's text, to be shown and nothing else."""
    return (str(error).splitlines() or [""])[0]


def kind_and_first_line(error: BaseException) -> str:
    """The same after the exception's type, for one whose text may say little by itself.

    >>> kind_and_first_line(KeyError("width"))
    "KeyError: 'width'"
    """
    return f"{type(error).__name__}: {first_line(error)}"


@contextmanager
def told_of_memory() -> Iterator[None]:
    """Tell of memory that ran out as the command does."""
    try:
        yield
    except OUT_OF_MEMORY as error:
        raise described(MemoryError()) from error
