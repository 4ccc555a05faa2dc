"""Gradients at other parameters within one step, after which the module is as the plain pass left it."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from bnsharp_cli.core.point import Point, Vector
from bnsharp_cli.measurement.surface.module_pool import unwrapped
from bnsharp_cli.training.divergence import require_fits
from bnsharp_cli.training.rules import GradientWeight, LossClosure, TrainingRule


class RandomState:
    """The present state of torch's generators, on the CPU and on the devices of a module."""

    def __init__(self, module: nn.Module) -> None:
        devices = {parameter.device for parameter in module.parameters() if parameter.is_cuda}
        self._cuda = {device: torch.cuda.get_rng_state(device) for device in devices}
        self._cpu = torch.get_rng_state()

    def restore(self) -> None:
        """Make the generators draw the same numbers again."""
        torch.set_rng_state(self._cpu)
        for device, state in self._cuda.items():
            torch.cuda.set_rng_state(state, device)


class DisplacedParameters:
    """A context in which a rule moves the parameters of its module and takes gradients there.

    On leaving it, parameters, buffers and random state are what they were on entering, bit by bit; ``.grad`` is not
    touched.

    Args:
        rule: its module's trainable parameters are moved.
        start: the random state before the plain pass, if dropout is to drop the same again in every pass.

    Attributes:
        parameters: the trainable ones by their names in the network itself.
        origin: θ, their values on entering.
    """

    def __init__(self, rule: TrainingRule, start: RandomState | None = None) -> None:
        self.parameters = trainable_parameters(rule.module)
        self._buffers = [
            (owner, name, buffer)
            for owner in rule.module.modules()
            for name, buffer in owner.named_buffers(recurse=False)
        ]
        # DistributedDataParallel then owns the memory of .grad, and the next pass fills it again
        self._borrowed = bool(getattr(rule.module, "gradient_as_bucket_view", False))
        self._start, self._end = start, RandomState(rule.module)
        self._differentiate = rule.add_gradient

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
        self._end.restore()

    @torch.no_grad()
    def displace(self, direction: Mapping[str, Tensor], length: float) -> None:
        """Move the parameters to θ + length · direction.

        Raises:
            OverflowError: the length is beyond the range of the parameters.
        """
        require_fits(length, self.parameters.values())
        for name, parameter in self.parameters.items():
            parameter.copy_(self.origin[name]).add_(direction[name], alpha=length)

    @torch.no_grad()
    def mirror(self) -> None:
        """Move the parameters from θ + d to θ − d, so that d need not be kept."""
        for name, parameter in self.parameters.items():
            parameter.neg_().add_(self.origin[name], alpha=2)

    def add_gradient(self, closure: LossClosure, weight: GradientWeight | None = None) -> Tensor:
        """Add the gradient at the present parameters to ``.grad``.

        Args:
            closure: computes the loss.
            weight: the factor of the gradient; None for 1.

        Returns:
            The loss, a scalar without a graph.
        """
        if self._start is not None:
            self._start.restore()
        torch.clear_autocast_cache()  # it holds casts of the parameters as they were before they moved
        return self._differentiate(closure, weight)

    def use_new_random_numbers(self) -> None:
        """Let the passes that follow draw random numbers of their own, as for another batch."""
        self._start = None

    def gradient(self) -> Vector:
        """The tensors in ``.grad``, and zeros where there is none."""
        return {
            name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for name, parameter in self.parameters.items()
        }

    def take_gradient(self) -> Vector:
        """The tensors in ``.grad``, which is None afterwards."""
        taken = self.gradient()
        if self._borrowed:
            taken = {name: tensor.clone() for name, tensor in taken.items()}
        for parameter in self.parameters.values():
            parameter.grad = None
        return taken

    def give_gradient(self, gradient: Mapping[str, Tensor]) -> None:
        """Put ``gradient`` into ``.grad``, except where there was none on entering: those parameters must not move."""
        for name, parameter in self.parameters.items():
            parameter.grad = None if name in self._unused else gradient[name]


def trainable_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that take a gradient, by their names in the network itself, without the marks of wrappers."""
    return {name: parameter for name, parameter in unwrapped(module).named_parameters() if parameter.requires_grad}
