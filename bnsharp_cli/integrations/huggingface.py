"""A callback for the Trainer of Hugging Face that measures the sharpness and changes nothing of the training run."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from bnsharp_cli.errors import UsageError
from bnsharp_cli.integrations.monitor import SharpnessMonitor
from bnsharp_cli.integrations.record_keeping import figures_of


class SharpnessTrainerCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Calls a monitor before training and after every epoch, and adds what it measured to the trainer's history.

    The figures are in ``trainer.state.log_history`` and in its file; their names begin with ``sharpness/``. Give the
    monitor ``track=`` or ``file=`` for curves.

    Args:
        monitor: what is measured on which batches; its ``every`` counts epochs. Batches are those of the trainer, such
            as ``trainer.get_train_dataloader()``. The criterion gets what the network answers, and the ``labels``.

    >>> import torch
    >>> batches = [{"pixel_values": torch.randn(8, 4), "labels": torch.arange(8) % 3}]
    >>> callback = SharpnessTrainerCallback(SharpnessMonitor(batches, every=5))
    """

    def __init__(self, monitor: SharpnessMonitor) -> None:
        if not isinstance(monitor, SharpnessMonitor):
            raise UsageError.of_type("monitor", "a SharpnessMonitor", monitor, "Make one of your batches.")
        self.monitor = monitor

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Measure the network as it is before the first step."""
        self._call(state, given["model"])

    def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Measure, if that is due."""
        self._call(state, given["model"])

    def _call(self, state: Any, model: Any) -> None:
        record = self.monitor(model, step=state.global_step, epoch=state.epoch)
        if record is not None:
            state.log_history.append({"epoch": state.epoch, "step": state.global_step, **figures_of(record)})
