"""A Lightning callback that logs the sharpness and does not change a bit of the training run."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from bnsharp_cli.errors import UsageError
from bnsharp_cli.integrations.monitor import SharpnessMonitor
from bnsharp_cli.integrations.record_keeping import figures_of


class SharpnessCallback(Callback):
    """Calls a monitor before training and after every training epoch, and logs what it measured.

    The names of the figures begin with ``sharpness/``, as in ``sharpness/bn`` and ``sharpness/bn_error``. They go to
    the loggers and to ``trainer.callback_metrics``. In several processes the first one measures, and all know the
    figures. What fails is warned of once and ends no run.

    Args:
        monitor: what is measured on which batches; its ``every`` counts epochs.
        network: name of the submodule to measure, such as ``model``; empty for the whole LightningModule.

    >>> import torch
    >>> batches = [(torch.randn(8, 4), torch.arange(8) % 3)]
    >>> callback = SharpnessCallback(SharpnessMonitor(batches, every=5), network="model")
    """

    def __init__(self, monitor: SharpnessMonitor, network: str = "") -> None:
        super().__init__()
        if not isinstance(monitor, SharpnessMonitor):
            raise UsageError.of_type("monitor", "a SharpnessMonitor", monitor, "Make one of your batches.")
        if not isinstance(network, str):
            raise UsageError.of_type("network", "the name of a submodule", network, "For example model.")
        self.monitor, self._network = monitor, network

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the network as it is before the first step."""
        self._call(trainer, pl_module, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure, if that is due."""
        self._call(trainer, pl_module, trainer.current_epoch + 1)

    def _call(self, trainer: Trainer, module: LightningModule, done: int) -> None:
        """Measure and log.

        Args:
            trainer: that trains.
            module: what is trained.
            done: epochs so far.
        """
        try:
            record = self.monitor(self._measured(module), step=trainer.global_step, epoch=done)
            figures = trainer.strategy.broadcast(figures_of(record or {}))
            if figures:
                module.log_dict(figures, on_step=False, on_epoch=True, logger=False)
                for logger in trainer.loggers:  # not by way of the trainer, which lets a logger that fails end the run
                    logger.log_metrics({"epoch": trainer.current_epoch, **figures}, step=trainer.global_step)
                    logger.save()
        except Exception as error:  # measuring is not worth a training run, whatever fails
            self.monitor.warn("Sharpness was not logged", error)

    def _measured(self, module: LightningModule) -> nn.Module:
        try:
            return module.get_submodule(self._network)
        except AttributeError as error:
            names = ", ".join(name for name, _ in module.named_children())
            raise UsageError.of("network", f"a submodule: {names}", self._network, "Name one of them.") from error
