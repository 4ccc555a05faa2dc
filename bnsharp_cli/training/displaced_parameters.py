"""Gradients at other parameters within one step, after which the module is as the plain pass left it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from bnsharp_cli.core.point import Point, Vector
from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.surface.random_numbers import other_states, set_other_states
from bnsharp_cli.training.agreement import train_together
from bnsharp_cli.training.closures import GradientWeight, LossClosure
from bnsharp_cli.training.divergence import require_fits
from bnsharp_cli.training.rules import TrainingRule


class RandomState:
    """The present state of every generator that a closure may draw from: torch's, also on devices, numpy's, Python's.

    Args:
        parameters: whose devices count.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        devices = {parameter.device for parameter in parameters if parameter.is_cuda}
        self._cuda = {device: torch.cuda.get_rng_state(device) for device in devices}
        self._cpu = torch.get_rng_state()
        self._others = other_states()

    def restore(self) -> None:
        """Make the generators draw the same numbers again."""
        torch.set_rng_state(self._cpu)
        for device, state in self._cuda.items():
            torch.cuda.set_rng_state(state, device)
        set_other_states(self._others)


class KeptBuffers:
    """The buffers of networks as they were when each was first seen.

    A network that runs while this is entered is seen just before it runs, also one that the rule does not train.
    """

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._kept: dict[int, tuple[nn.Module, dict[str, tuple[Tensor, Tensor]]]] = {}

    def keep(self, module: nn.Module) -> None:
        """Note the buffers of a network, unless they were noted before or another thread runs it."""
        if threading.get_ident() != self._thread:
            return
        for owner in module.modules():
            if id(owner) not in self._kept:
                buffers = owner.named_buffers(recurse=False)
                self._kept[id(owner)] = owner, {name: (buffer, buffer.clone()) for name, buffer in buffers}

    @torch.no_grad()
    def restore(self) -> None:
        """Put back what was noted, bit by bit."""
        for owner, buffers in self._kept.values():
            for name, (buffer, kept) in buffers.items():
                setattr(owner, name, buffer.copy_(kept))  # a forward pass may have put another tensor there


class DisplacedParameters:
    """A context in which a rule moves the parameters that it trains and takes gradients there.

    On leaving it, parameters, buffers and random state are what they were on entering, bit by bit; ``.grad`` is not
    touched.

    Args:
        rule: its parameters are moved.
        start: the random state before the plain pass, if dropout is to drop the same again in every pass.

    Attributes:
        parameters: the trained ones, by name.
        origin: θ, their values on entering.

    Raises:
        UsageError: a complex parameter, along which lengths and noise have another meaning.
    """

    def __init__(self, rule: TrainingRule, start: RandomState | None = None) -> None:
        self.parameters = rule.trained
        _require_real(self.parameters, type(rule).__name__)
        self._module = rule.module
        self._start, self._end = start, RandomState(rule.parameters)
        self._differentiate = rule.add_gradient

    def __enter__(self) -> Self:
        self.origin: Point = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self._unused = {name for name, parameter in self.parameters.items() if parameter.grad is None}
        self._kept, self._hook = KeptBuffers(), None
        if self._module is not None:
            self._kept.keep(self._module)
        if self._module is None or not any(hasattr(one, "_orig_mod") for one in self._module.modules()):
            # torch warns of such hooks on compiled networks
            self._hook = register_module_forward_pre_hook(lambda module, _: self._kept.keep(module))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._hook is not None:
            self._hook.remove()
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.origin[name])
        self._kept.restore()
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
        if self._borrowed():
            taken = {name: tensor.clone() for name, tensor in taken.items()}
        for parameter in self.parameters.values():
            parameter.grad = None
        return taken

    def give_gradient(self, gradient: Mapping[str, Tensor]) -> None:
        """Put ``gradient`` into ``.grad``, except where there was none on entering: those parameters must not move."""
        for name, parameter in self.parameters.items():
            parameter.grad = None if name in self._unused else gradient[name]

    def _borrowed(self) -> bool:
        """Whether a parallel wrapper may own the memory of ``.grad``, so that the next pass fills it again."""
        if self._module is None:
            return train_together()
        return bool(getattr(self._module, "gradient_as_bucket_view", False))


def _require_real(parameters: Mapping[str, Tensor], rule: str) -> None:
    for name, parameter in parameters.items():
        if parameter.is_complex():
            raise UsageError(
                f"{name} is complex, and {rule} moves real parameters.",
                "Keep it as pairs, torch.nn.Parameter(torch.view_as_real(weight)), and use "
                "torch.view_as_complex(weight) in forward; or train with Sgd.",
                argument="params",
                expected="real parameters",
                found=str(parameter.dtype),
            )
