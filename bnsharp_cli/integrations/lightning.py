"""A Lightning callback: BN-Sharpness in the log of a training run that it does not change by a bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch.nn import functional

from bnsharp_cli.api import measure
from bnsharp_cli.errors import NotMeasurableError, UsageError
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.fixed_batches import fixed_batches


class BNSharpnessCallback(Callback):
    """Logs ``bn_sharpness`` and its errors at the end of training epochs.

    The same batches are measured every time. Weights, running statistics, gradients, modes and random states of the run
    stay what they are: it ends with the same bits with and without this callback. Every process measures by itself, so
    give them the same batches. What cannot be measured, such as a loss that is not finite, is warned of and not logged.

    Args:
        batches: as for :func:`bnsharp_cli.measure`: a list, or a loader, of which the first ``limit_batches`` are read
            when training starts, under a seed of their own.
        criterion: as for :func:`bnsharp_cli.measure`.
        network: name of the submodule to measure, such as ``model``; the whole LightningModule if left out.
        every_n_epochs: how often.
        limit_batches: how many batches are read; None for all.
        bn: ``batch`` or ``running``, as for :func:`bnsharp_cli.measure`.
        seed: of reading the batches, for loaders that shuffle.
        **options: of :class:`~bnsharp_cli.measurement.measures.options.MeasureOptions`: delta, restarts, …

    Raises:
        UsageError: options that cannot be meant.
    """

    def __init__(
        self,
        batches: Iterable[Any],
        criterion: Callable[[Any, Any], Any] = functional.cross_entropy,
        *,
        network: str = "",
        every_n_epochs: int = 1,
        limit_batches: int | None = 8,
        bn: str = "batch",
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        if every_n_epochs < 1 or (limit_batches is not None and limit_batches < 1):
            raise UsageError("every_n_epochs and limit_batches: expected at least 1.", "For example 1 and 8.")
        MeasureOptions.from_flat(**options)
        self._source = batches
        self._criterion = criterion
        self._network = network
        self._every = every_n_epochs
        self._limit = limit_batches
        self._seed = seed
        self._options = {"bn": bn, **options}
        self._batches: list[Any] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the batches, and put every random state back to what it was."""
        generator = getattr(self._source, "generator", None)
        before = generator.get_state() if isinstance(generator, torch.Generator) else None
        with isolate_rng():
            torch.manual_seed(self._seed)
            self._batches = fixed_batches(islice(self._source, self._limit))
        if isinstance(generator, torch.Generator) and before is not None:
            generator.set_state(before)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and log, if this epoch is one of those to be measured."""
        if (trainer.current_epoch + 1) % self._every:
            return
        network = pl_module.get_submodule(self._network)
        with isolate_rng():
            try:
                measured = measure(network, self._batches, self._criterion, **self._options)
            except NotMeasurableError as error:
                rank_zero_warn(f"bn_sharpness was not measured: {error}")
                return
        errors = {f"bn_sharpness_{kind}": error for kind, error in vars(measured.uncertainty).items()}
        figures = {"bn_sharpness": measured.value, **errors}
        pl_module.log_dict({name: value for name, value in figures.items() if value is not None}, on_epoch=True)
