"""A Lightning callback that logs BN-Sharpness and does not change a bit of the training run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Unpack

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn
from torch.nn import functional

from bnsharp_cli.api import measure
from bnsharp_cli.errors import NotMeasurableError, UsageError
from bnsharp_cli.measurement.measures.keywords import BatchNormPolicy, Partition, UnseededKeywords
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.adapters import OutputKey
from bnsharp_cli.measurement.surface.fixed_batches import fixed_batches


class _Keywords(UnseededKeywords, total=False):
    """The options of ``measure``; the seed is that of reading the batches here."""

    partition: Partition


class BNSharpnessCallback(Callback):
    """Logs ``bn_sharpness`` and its errors at the end of training epochs.

    The same batches are measured every time. Weights, running statistics, gradients, train and eval modes and random
    states stay what they are: the run ends with the same bits with and without this callback. Every process measures
    by itself, so give all of them the same batches. A value that cannot be measured, because the loss is not finite for
    example, is not logged; a warning says why.

    Args:
        batches: a list of batches, or a loader, of which the first ``limit_batches`` are read when training starts.
        criterion: as for :func:`bnsharp_cli.measure`.
        network: name of the submodule to measure, such as ``model``; empty for the whole LightningModule.
        every_n_epochs: epochs from one measurement to the next, at least 1.
        limit_batches: how many batches are read, at least 1; None for all.
        bn: ``batch`` or ``running``, as for :func:`bnsharp_cli.measure`.
        output: which of several outputs the loss takes, as for :func:`bnsharp_cli.measure`.
        seed: of torch while the batches are read, for loaders that shuffle.
        **options: of :class:`~bnsharp_cli.measurement.measures.options.MeasureOptions`: delta, restarts, …

    Raises:
        UsageError: an unknown option, or a value out of range; when training starts, an unknown submodule.

    >>> batches = [(torch.randn(8, 4), torch.arange(8) % 3)]
    >>> callback = BNSharpnessCallback(batches, network="model", every_n_epochs=5, delta=1e-3)
    >>> BNSharpnessCallback(batches, every_n_epochs=0)
    Traceback (most recent call last):
    bnsharp_cli.errors.UsageError: every_n_epochs and limit_batches: expected at least 1. For example 1 and 8.
    """

    def __init__(
        self,
        batches: Iterable[Any],
        criterion: Callable[[Any, Any], Any] = functional.cross_entropy,
        *,
        network: str = "",
        every_n_epochs: int = 1,
        limit_batches: int | None = 8,
        bn: BatchNormPolicy = "batch",
        output: OutputKey | None = None,
        seed: int = 0,
        **options: Unpack[_Keywords],
    ) -> None:
        super().__init__()
        for argument, count in (("every_n_epochs", every_n_epochs), ("limit_batches", limit_batches)):
            if count is not None and count < 1:
                raise UsageError(
                    "every_n_epochs and limit_batches: expected at least 1.",
                    "For example 1 and 8.",
                    argument=argument,
                    expected="at least 1",
                    found=count,
                )
        MeasureOptions.from_flat(**options)
        self._source = batches
        self._criterion = criterion
        self._network = network
        self._every = every_n_epochs
        self._limit = limit_batches
        self._seed = seed
        self._bn: BatchNormPolicy = bn
        self._output = output
        self._options = options
        self._batches: list[Any] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the batches, then restore every random state."""
        self._measured_network(pl_module)
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
        network = self._measured_network(pl_module)
        with isolate_rng():
            try:
                measured = measure(
                    network, self._batches, self._criterion, bn=self._bn, output=self._output, **self._options
                )
            except NotMeasurableError as error:
                rank_zero_warn(f"bn_sharpness was not measured: {error}")
                return
        errors = {f"bn_sharpness_{kind}": error for kind, error in vars(measured.uncertainty).items()}
        figures = {"bn_sharpness": measured.value, **errors}
        pl_module.log_dict({name: value for name, value in figures.items() if value is not None}, on_epoch=True)

    def _measured_network(self, module: LightningModule) -> nn.Module:
        try:
            return module.get_submodule(self._network)
        except AttributeError as error:
            names = ", ".join(name for name, _ in module.named_children())
            raise UsageError.of("network", f"a submodule: {names}", self._network, "Name one of them.") from error
