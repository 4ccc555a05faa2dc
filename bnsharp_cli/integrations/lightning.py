"""A Lightning callback that logs BN-Sharpness and does not change a bit of the training run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Unpack

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.api import measure
from bnsharp_cli.errors import NotMeasurableError, UsageError
from bnsharp_cli.measurement.measures.keywords import UnseededKeywords
from bnsharp_cli.measurement.measures.options import BatchNormPolicy, MeasureOptions
from bnsharp_cli.measurement.surface.adapters import OutputKey, require_criterion
from bnsharp_cli.measurement.surface.fixed_batches import fixed_batches
from bnsharp_cli.option_records import OptionRecord, option, same_option


@dataclass(frozen=True)
class CallbackOptions(OptionRecord):
    """What the callback measures and when, besides the options of the measure.

    Attributes:
        network: name of the submodule; empty for the whole LightningModule.
        every_n_epochs: epochs from one measurement to the next.
        limit_batches: how many batches are read; None for all.
        bn: whether batch norm uses the statistics of the batch or running ones.
        seed: of torch while the batches are read.
    """

    network: str = option("", "Submodule to measure.", example="For example model.")
    every_n_epochs: int = option(1, "Epochs from one measurement to the next.", minimum=1)
    limit_batches: int | None = option(8, "Batches that are read.", minimum=1)
    bn: BatchNormPolicy = option("batch", "Statistics that batch norm uses.")
    seed: int = same_option(MeasureOptions, "seed")


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
    bnsharp_cli.errors.UsageError: every_n_epochs: expected at least 1, found 0. For example 1.
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
        **options: Unpack[UnseededKeywords],
    ) -> None:
        super().__init__()
        if not isinstance(batches, Iterable) or isinstance(batches, Mapping | Tensor | str):
            raise UsageError.of_type("batches", "a list or a loader", batches, "Pass a list of (inputs, targets).")
        require_criterion(criterion)
        self._own = CallbackOptions(network, every_n_epochs, limit_batches, bn, seed)
        MeasureOptions.from_flat(**options)
        self._source = batches
        self._criterion = criterion
        self._output = output
        self._options = options
        self._batches: list[Any] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the batches, then restore every random state."""
        self._measured_network(pl_module)
        generator = getattr(self._source, "generator", None)
        before = generator.get_state() if isinstance(generator, torch.Generator) else None
        with isolate_rng():
            torch.manual_seed(self._own.seed)
            self._batches = fixed_batches(islice(self._source, self._own.limit_batches))
        if isinstance(generator, torch.Generator) and before is not None:
            generator.set_state(before)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and log, if this epoch is one of those to be measured."""
        if (trainer.current_epoch + 1) % self._own.every_n_epochs:
            return
        network = self._measured_network(pl_module)
        with isolate_rng():
            try:
                measured = measure(
                    network, self._batches, self._criterion, bn=self._own.bn, output=self._output, **self._options
                )
            except NotMeasurableError as error:
                rank_zero_warn(f"bn_sharpness was not measured: {error}")
                return
        errors = {f"bn_sharpness_{kind}": error for kind, error in vars(measured.uncertainty).items()}
        figures = {"bn_sharpness": measured.value, **errors}
        pl_module.log_dict({name: value for name, value in figures.items() if value is not None}, on_epoch=True)

    def _measured_network(self, module: LightningModule) -> nn.Module:
        try:
            return module.get_submodule(self._own.network)
        except AttributeError as error:
            names = ", ".join(name for name, _ in module.named_children())
            raise UsageError.of("network", f"a submodule: {names}", self._own.network, "Name one of them.") from error
