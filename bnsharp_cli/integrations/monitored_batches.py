"""The batches that a monitor measures on: read once, without a trace in the training run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.measurement.surface.fixed_batches import fixed_batches
from bnsharp_cli.measurement.surface.foreign_errors import told_of_memory
from bnsharp_cli.measurement.surface.random_numbers import states_kept

OF_A_LOADER = 8
"""Batches that are read of a loader, which may have the whole split."""


def monitored_batches(source: Iterable[Any], limit: int | None, seed: int) -> list[Batch]:
    """The first batches of a list or a loader; every random state is afterwards what it was.

    Args:
        source: a list of batches, or a loader.
        limit: how many are read; None for all of a list, and the first eight of anything else.
        seed: of torch while they are read, for loaders that shuffle.

    Raises:
        UsageError: no batches, or a loader that fails.
    """
    if not isinstance(source, Iterable) or isinstance(source, Mapping | Tensor | str):
        raise UsageError.of_type("batches", "a list or a loader", source, "Pass a list of (inputs, targets).")
    with _generators_kept(source), told_of_memory():
        torch.default_generator.manual_seed(seed)  # not CUDA's: a seed that waits for CUDA to start would be replaced
        several = isinstance(source, list | tuple)
        return fixed_batches(islice(source, limit if limit or several else OF_A_LOADER))


@contextmanager
def _generators_kept(source: object) -> Iterator[None]:
    """Leave the generators of torch, numpy and Python, and those that a loader and its sampler have, as they were."""
    owners = [source, getattr(source, "sampler", None), getattr(source, "batch_sampler", None)]
    generators = [one for one in (getattr(owner, "generator", None) for owner in owners) if one is not None]
    own = [one for one in generators if isinstance(one, torch.Generator)]
    before = [one.get_state() for one in own]
    cuda: Any = torch.cuda  # of whose functions some have no types
    devices = range(cuda.device_count()) if cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices), states_kept():
        try:
            yield
        finally:
            for generator, state in zip(own, before, strict=True):
                generator.set_state(state)
