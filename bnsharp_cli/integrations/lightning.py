"""A Lightning callback that logs BN-Sharpness and does not change a bit of the training run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Unpack

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parameter import is_lazy

from bnsharp_cli.api import measure
from bnsharp_cli.errors import BnsharpError, UsageError, described, shown
from bnsharp_cli.measurement.measures.keywords import UnseededKeywords
from bnsharp_cli.measurement.measures.options import BatchNormPolicy, MeasureOptions
from bnsharp_cli.measurement.surface.adapters import OutputKey, require_criterion
from bnsharp_cli.measurement.surface.fixed_batches import fixed_batches
from bnsharp_cli.measurement.surface.foreign_errors import kind_and_first_line, told_of_memory
from bnsharp_cli.option_records import OptionRecord, option, same_option

_LOG = logging.getLogger(__name__)


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
    by itself, so give all of them the same batches.

    The callback measures once before training, so that what cannot work is an error there. Later it ends no run,
    whatever fails: a value that cannot be measured or logged is left out, and the first time a warning says why.

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
        BnsharpError: when training starts, a network that cannot be measured on these batches.

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
        self._warned = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the batches and measure once, then restore every random state."""
        network = self._measured_network(pl_module)
        self._warned = False
        if not self._batches or not isinstance(self._source, Iterator):  # which the last fit has read to its end
            self._batches = self._read()
        if not any(is_lazy(parameter) for parameter in network.parameters()):  # those cannot be measured yet
            try:
                self._figures(network)
            except Exception as error:  # a network raises whatever it likes
                raise described(error) from error

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and log, if this epoch is one of those to be measured; a failure is warned of, once."""
        if (trainer.current_epoch + 1) % self._own.every_n_epochs:
            return
        try:
            figures = self._figures(self._measured_network(pl_module))
            pl_module.log_dict(figures, on_epoch=True, logger=False)
            for logger in trainer.loggers:  # not by way of the trainer, which lets a logger that fails end the run
                logger.log_metrics({"epoch": trainer.current_epoch, **figures}, step=trainer.global_step)
                logger.save()
        except Exception as error:  # measuring is not worth a training run, whatever fails
            self._warn(error)

    def _figures(self, network: nn.Module) -> dict[str, float]:
        with isolate_rng():
            measured = measure(
                network, self._batches, self._criterion, bn=self._own.bn, output=self._output, **self._options
            )
        errors = {f"bn_sharpness_{kind}": error for kind, error in vars(measured.uncertainty).items()}
        figures = {"bn_sharpness": measured.value, **errors}
        return {name: float(value) for name, value in figures.items() if value is not None}

    def _read(self) -> list[Any]:
        generator = getattr(self._source, "generator", None)
        before = generator.get_state() if isinstance(generator, torch.Generator) else None
        with isolate_rng(), told_of_memory():
            torch.manual_seed(self._own.seed)
            batches = fixed_batches(islice(self._source, self._own.limit_batches))
        if isinstance(generator, torch.Generator) and before is not None:
            generator.set_state(before)
        return [*batches]

    def _warn(self, error: Exception) -> None:
        """Say once why nothing was logged, even where warnings are errors."""
        if self._warned:
            return
        self._warned = True
        about = shown(error) if isinstance(error, BnsharpError) else kind_and_first_line(error)
        message = f"bn_sharpness was not measured: {about} Training goes on; later failures are not reported."
        try:
            rank_zero_warn(message)
        except Warning:
            _LOG.warning(message)

    def _measured_network(self, module: LightningModule) -> nn.Module:
        try:
            return module.get_submodule(self._own.network)
        except AttributeError as error:
            names = ", ".join(name for name, _ in module.named_children())
            raise UsageError.of("network", f"a submodule: {names}", self._own.network, "Name one of them.") from error
