"""Passes at other parameters within one step, after which everything is where the plain pass left it."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from bnsharp_cli.core.point import Point, Vector
from bnsharp_cli.measurement.surface.module_pool import unwrapped
from bnsharp_cli.training.rules import Closure, Rule, Weight


class RandomState:
    """The state of torch's generators on the CPU and where the module is."""

    def __init__(self, module: nn.Module) -> None:
        devices = {parameter.device for parameter in module.parameters() if parameter.is_cuda}
        self._cuda = {device: torch.cuda.get_rng_state(device) for device in devices}
        self._cpu = torch.get_rng_state()

    def put_back(self) -> None:
        """Let the same random numbers come again."""
        torch.set_rng_state(self._cpu)
        for device, state in self._cuda.items():
            torch.cuda.set_rng_state(state, device)


class Detour:
    """Moves a module's parameters about; on leaving they, its buffers and the random state are put back.

    Args:
        rule: whose module's trainable parameters move.
        start: the random state before the plain pass: dropout on the same batch drops the same again.

    Attributes:
        parameters: the trainable ones by name, without the marks of wrappers.
        origin: their values on entering.
    """

    def __init__(self, rule: Rule, start: RandomState | None = None) -> None:
        self.parameters = trainable(rule.module)
        self._buffers = [
            (owner, name, buffer)
            for owner in rule.module.modules()
            for name, buffer in owner.named_buffers(recurse=False)
        ]
        self._lent = bool(getattr(rule.module, "gradient_as_bucket_view", False))
        self._start, self._end = start, RandomState(rule.module)
        self._differentiate = rule.differentiate

    def __enter__(self) -> Self:
        self.origin: Point = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self._unused = {name for name, parameter in self.parameters.items() if parameter.grad is None}
        self._kept = [buffer.clone() for _, _, buffer in self._buffers]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.origin[name])
            for (owner, name, buffer), kept in zip(self._buffers, self._kept, strict=True):
                setattr(owner, name, buffer.copy_(kept))  # a forward pass may have put another tensor there
        torch.clear_autocast_cache()
        self._end.put_back()

    @torch.no_grad()
    def displace(self, direction: Mapping[str, Tensor], length: float) -> None:
        """Let the parameters be θ + length · direction."""
        for name, parameter in self.parameters.items():
            parameter.copy_(self.origin[name]).add_(direction[name], alpha=length)

    @torch.no_grad()
    def mirror(self) -> None:
        """From θ + d to θ − d."""
        for name, parameter in self.parameters.items():
            parameter.neg_().add_(self.origin[name], alpha=2)

    def add_gradient(self, closure: Closure, weight: Weight | None = None) -> Tensor:
        """Add the gradient here to ``.grad``, times ``weight`` of the loss; returns the loss."""
        if self._start is not None:
            self._start.put_back()
        torch.clear_autocast_cache()  # it knows nothing of parameters that move
        return self._differentiate(closure, weight)

    def draw_anew(self) -> None:
        """Let the passes that follow draw random numbers of their own."""
        self._start = None

    def gradient(self) -> Vector:
        """What ``.grad`` holds, zero where nothing."""
        return {
            name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for name, parameter in self.parameters.items()
        }

    def take_gradient(self) -> Vector:
        """What ``.grad`` holds; it is empty afterwards."""
        taken = self.gradient()
        if self._lent:  # DistributedDataParallel's buffers, which the next pass fills anew
            taken = {name: tensor.clone() for name, tensor in taken.items()}
        for parameter in self.parameters.values():
            parameter.grad = None
        return taken

    def give_gradient(self, gradient: Mapping[str, Tensor]) -> None:
        """Let ``.grad`` be ``gradient``; what had none on entering has none, so that no optimiser moves it."""
        for name, parameter in self.parameters.items():
            parameter.grad = None if name in self._unused else gradient[name]


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that take a gradient, by their names in the network itself."""
    return {name: parameter for name, parameter in unwrapped(module).named_parameters() if parameter.requires_grad}
