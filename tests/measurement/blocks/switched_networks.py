"""Networks in which a weight, a buffer, a setting or an activation decides which rows are scale-invariant."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional


class Switched(nn.Module):
    """A norm that is only there where the weight before it is long, beside two weights that only scale together."""

    def __init__(self, size: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.hidden = (nn.Linear(4, 6, bias=False) for _ in range(3))
        self.norm, self.other, self.output = nn.BatchNorm1d(6), nn.BatchNorm1d(6), nn.Linear(6, 3)
        with torch.no_grad():
            self.hidden.weight.mul_(size)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.hidden(inputs)
        hidden = self.norm(hidden) if self.hidden.weight.norm() > 0.1 else hidden
        stream = self.other(self.first(inputs) + self.second(inputs))
        return self.output(torch.tanh(hidden + stream))


class Mask(nn.Module):
    """A layer that is normalised, or not, as a buffer says."""

    def __init__(self, mask: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.norm, self.output = nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.Linear(6, 3)
        self.register_buffer("mask", torch.tensor(mask))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.hidden(inputs)
        return self.output(torch.tanh(self.mask * self.norm(hidden) + (1 - self.mask) * hidden))


class Configured(nn.Module):
    """A layer that is normalised, or not, as an object says of which no description is made."""

    def __init__(self, normalised: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.norm, self.output = nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.Linear(6, 3)
        self.config = SimpleNamespace(normalised=normalised)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.hidden(inputs)
        return self.output(torch.tanh(self.norm(hidden) if self.config.normalised else hidden))


class Capped(nn.Module):
    """A cap that only scaled rows reach: of two caps that no generic row reaches, one refutes a scaling by 2."""

    def __init__(self, cap: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.norm, self.output = nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.Linear(6, 3)
        self.register_buffer("cap", torch.tensor(cap))
        with torch.no_grad():
            self.hidden.weight.mul_(1e-3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.output(torch.tanh(self.norm(self.hidden(inputs).clamp(max=self.cap))))


class Stopped(nn.Module):
    """The same outputs with and without a gradient of the hidden layer, as a setting says."""

    def __init__(self, stop: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.norm, self.output = nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.Linear(6, 3)
        self.stop = stop

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.hidden(inputs)
        return self.output(torch.relu(self.norm(hidden.detach() if self.stop else hidden)))


class Activated(nn.Module):
    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.activation, self.norm = nn.Linear(4, 6, bias=False), activation, nn.BatchNorm1d(6)
        self.output = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.output(self.norm(self.activation(self.hidden(inputs))))


class Grown(nn.Module):
    """Rows that are normalised only where all weights together are long, as they are at a generic location."""

    def __init__(self, size: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight, self.output = nn.Parameter(torch.randn(6, 4) * size), nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        weight = functional.normalize(self.weight, dim=1) if self.weight.norm() > 0.1 else self.weight
        return self.output(torch.tanh(inputs @ weight.T))
