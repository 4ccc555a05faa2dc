"""Common random numbers: a network that draws some in eval mode draws the same ones in every pass of a batch.

So the loss is a function of the parameters again, one of many that the network may stand for.
"""

from __future__ import annotations

import random as python_random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from bnsharp_cli.errors import NotMeasurableError

_SEED = 20191
_BITS = 32


@contextmanager
def common_random_numbers(batch: int) -> Iterator[None]:
    """Start every generator of this process at a seed of the batch's own; torch's, numpy's and Python's.

    Args:
        batch: its number.
    """
    chosen = (_SEED + batch) % 2**_BITS
    torch.manual_seed(chosen)
    np.random.seed(chosen)  # noqa: NPY002 - the generator that a network's code shares with everyone
    python_random.seed(chosen)
    yield


def random_states(device: torch.device) -> tuple[Any, ...]:
    """The states of all those generators, to be compared: equal as long as nothing is drawn."""
    numpys: Any = np.random.get_state(True)  # noqa: NPY002 - the generator that a network's code shares with everyone
    on_device = torch.cuda.get_rng_state(device).tolist() if device.type == "cuda" else None
    return torch.get_rng_state().tolist(), on_device, (numpys[1].tolist(), *numpys[2:]), python_random.getstate()


@contextmanager
def nothing_drawn(device: torch.device) -> Iterator[None]:
    """Refuse random numbers that are drawn inside: by a network that drew none at the weights that it was tried at.

    Raises:
        NotMeasurableError: some were.
    """
    before = random_states(device)
    yield
    if random_states(device) != before:
        raise NotMeasurableError(
            "The network or the loss draws random numbers at some weights and none at others.",
            "Let it draw them in every pass, or in none.",
            argument="model",
            expected="the same loss for the same weights and batch",
            found="random numbers that only other weights need",
        )


def other_states() -> tuple[Any, Any]:
    """The states of numpy's and Python's generators, for :func:`set_other_states`."""
    return np.random.get_state(True), python_random.getstate()  # noqa: NPY002 - the generator that is shared


def set_other_states(states: tuple[Any, Any]) -> None:
    """Put numpy's and Python's generators into states that :func:`other_states` returned."""
    np.random.set_state(states[0])  # noqa: NPY002 - the generator that is shared
    python_random.setstate(states[1])


@contextmanager
def states_kept() -> Iterator[None]:
    """Leave numpy's and Python's generators as they were; of torch's see ``torch.random.fork_rng``."""
    before = other_states()
    try:
        yield
    finally:
        set_other_states(before)
