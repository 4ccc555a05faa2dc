"""A network at one point of its loss surface as a plain module with a loss, for tools that know nothing else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import UnfitMeasureError
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.module_pool import private_pair
from bnsharp_cli.measurement.surface.norms import NormInterception, NormTreatment

_REMEDY = "Leave it out."


class ExposedNetwork(nn.Module):
    """The network in float32, with its norms computed as the surface computes them: by which statistics, and which ε.

    So a copy with ε per channel is the same function here, too. ``eval()`` and ``train()`` change nothing.

    Args:
        surface: L.
        point: θ.

    Attributes:
        batch: inputs and targets of the first batch.

    Raises:
        UnfitMeasureError: the network or its loss is not of the kind that such tools take.
    """

    def __init__(self, surface: LossSurface, point: Point) -> None:
        super().__init__()
        _require_plain(surface)
        self.network, _ = private_pair(surface.module, None, surface.device)
        self.network.to(torch.float32)
        for name, parameter in self.network.named_parameters():
            if name in point:
                parameter.data = point[name].detach().to(torch.float32, copy=True)
                parameter.requires_grad_()
        for name, buffer in self.network.named_buffers():
            if buffer.is_floating_point():
                buffer.data = surface.buffers[name].to(torch.float32, copy=True)
        for name in surface.conduct.own_norms:
            self.network.get_submodule(name).training = surface.treatment.batch_statistics
        self._treatment, self._criterion = surface.treatment, surface.criterion
        inputs, targets = surface.batches[0]
        self.batch = (inputs.to(torch.float32) if inputs.is_floating_point() else inputs, targets)

    def train(self, mode: bool = True) -> ExposedNetwork:
        """Nothing: how the network runs is the surface's to say."""
        del mode
        return self

    def forward(self, inputs: Tensor) -> Any:
        """The network's outputs."""
        with NormInterception(self._treatment, dtype=torch.float32):
            return self.network(inputs)

    def criterion(self, outputs: Any, targets: Tensor) -> Tensor:
        """The mean loss of a batch."""
        with NormInterception(NormTreatment(), dtype=torch.float64):
            loss: Tensor = self._criterion(outputs.double(), targets)
        return loss


def _require_plain(surface: LossSurface) -> None:
    inputs, targets = surface.batches[0]
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):
        raise UnfitMeasureError("It takes networks of one tensor alone.", _REMEDY, argument="model")
    if surface.loss_reads_network:
        raise UnfitMeasureError("It takes losses of outputs alone.", _REMEDY, argument="criterion")
    if any(parameter.is_complex() for parameter in surface.module.parameters()):
        raise UnfitMeasureError("It takes real weights alone.", _REMEDY, argument="model")
