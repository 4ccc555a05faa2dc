"""Common random numbers: a network that draws some in eval mode draws the same ones in every pass of a batch.

So the loss is a function of the parameters again, one of many that the network may stand for.
"""

from __future__ import annotations

import random as python_random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from numpy.random import get_state, seed, set_state

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
    seed(chosen)
    python_random.seed(chosen)
    yield


def random_states(device: torch.device) -> tuple[Any, ...]:
    """The states of all those generators, to be compared: equal as long as nothing is drawn."""
    kind, keys, *rest = get_state()
    on_device = torch.cuda.get_rng_state(device).tolist() if device.type == "cuda" else None
    return torch.get_rng_state().tolist(), on_device, (kind, keys.tolist(), *rest), python_random.getstate()


@contextmanager
def states_kept() -> Iterator[None]:
    """Leave numpy's and Python's generators as they were; of torch's see ``torch.random.fork_rng``."""
    before, python_before = get_state(), python_random.getstate()
    try:
        yield
    finally:
        set_state(before)
        python_random.setstate(python_before)
