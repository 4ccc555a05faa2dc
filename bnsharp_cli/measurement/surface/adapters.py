"""Networks and criteria as people have them, brought to what a loss surface takes."""

from __future__ import annotations

import copy
import functools
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from bnsharp_cli.errors import BnsharpError, NotMeasurableError, UsageError, indefinite, named
from bnsharp_cli.measurement.surface.accuracy import entries_of, prediction
from bnsharp_cli.measurement.surface.foreign_errors import OUT_OF_MEMORY, REFUSALS, kind_and_first_line
from bnsharp_cli.measurement.surface.tensor_trees import (
    TensorTree,
    as_float64,
    floating_tensors,
    map_tensors,
    tensors_in,
)

_SAME = 1e-6
_TORCH_LOSSES = "torch.nn."


class _Repeatable:
    """The arguments of a call that is repeated: the same again, or copies where the call has written into them.

    Copies are taken beforehand and used only then: a loss that differentiates outputs by inputs needs the same tensors.
    """

    def __init__(self, *arguments: Any) -> None:
        self._given, self._copies = arguments, map_tensors(Tensor.clone, arguments)
        self._versions = self._counted()

    def arguments(self) -> tuple[Any, ...]:
        """What the call is repeated with."""
        return self._given if self._counted() == self._versions else tuple(self._copies)

    def _counted(self) -> list[int]:
        return [tensor._version for tensor in tensors_in(self._given)]


class CheckedCriterion:
    """A user's criterion whose answers are checked: one differentiable number, the same for the same outputs.

    Differentiability and repetition are checked once, on the first batch with gradients.

    Args:
        criterion: from outputs and targets to the mean loss of a batch. A module is copied, and its tensors become
            float64, as outputs are.
        name: how an error message calls it.
        device: where outputs and targets are.
        own: whether ``criterion`` is a private copy already, made together with the network that it refers to.

    Raises:
        UsageError: a module that cannot be copied.
    """

    def __init__(
        self, criterion: Callable[[Any, Any], Any], name: str, device: torch.device | str = "cpu", *, own: bool = False
    ) -> None:
        self._name = name
        self._criterion = criterion
        if isinstance(criterion, nn.Module):
            self._criterion = (criterion if own else self._copied(criterion)).eval().double().to(device)
        self._checked = False

    @property
    def function(self) -> Callable[[Any, Any], Any]:
        """The user's own function, or the private copy of a module."""
        return self._criterion

    def __call__(self, outputs: Any, targets: Any) -> Tensor:
        """The mean loss of a batch, a scalar in float64.

        Raises:
            UsageError: it is no scalar, not differentiable, or random.
            NotMeasurableError: the criterion raised an error.
        """
        plain = targets.value if isinstance(targets, TensorTree) else targets
        unchecked = torch.is_grad_enabled() and not self._checked
        again = _Repeatable(outputs, plain) if unchecked else None
        loss = self._answer(outputs, plain)
        if not isinstance(loss, Tensor) or not loss.is_floating_point() or loss.ndim:
            kind = (
                f"a tensor of shape {tuple(loss.shape)}"
                if isinstance(loss, Tensor)
                else indefinite(type(loss).__name__)
            )
            self._refuse(f"returned {kind}, expected a floating scalar", "Return the mean loss of the batch.", kind)
        if again is not None:
            self._check_once(again.arguments(), loss)
        precise: Tensor = loss.double()
        return precise

    def _copied(self, criterion: nn.Module) -> nn.Module:
        try:
            return copy.deepcopy(criterion)
        except OUT_OF_MEMORY:
            raise
        except Exception as error:  # a module may keep anything, such as a tensor with a graph behind it
            raise UsageError(
                f"The criterion {self._name} cannot be copied: {kind_and_first_line(error)}",
                "Pass a function that calls it.",
                argument="criterion",
                expected="a criterion that can be copied",
            ) from error

    def _answer(self, outputs: Any, targets: Any) -> Any:
        try:
            return self._criterion(outputs, targets)
        except (BnsharpError, *REFUSALS, *OUT_OF_MEMORY):
            raise
        except (Exception, SystemExit) as error:  # a user's function raises whatever it likes
            kind = kind_and_first_line(error)
            raise NotMeasurableError(
                f"The criterion {self._name} failed: {kind}",
                "Mend the function.",
                argument="criterion",
                expected="the mean loss of a batch",
                found=kind,
            ) from error

    def _check_once(self, arguments: tuple[Any, ...], loss: Tensor) -> None:
        outputs, targets = arguments
        if not loss.requires_grad and any(part.requires_grad for part in floating_tensors(outputs)):
            self._refuse("is not differentiable in the network's outputs", "Use a loss that autograd can follow.")
        again = self._answer(outputs, targets)
        if bool(torch.isfinite(loss)) and not torch.isclose(loss, again, rtol=_SAME, atol=0):
            self._refuse("gives two losses for the same outputs", "Take what is random out of it.")
        self._checked = True

    def _refuse(self, problem: str, remedy: str, found: str | None = None) -> None:
        raise UsageError(
            f"The criterion {self._name} {problem}.",
            remedy,
            argument="criterion",
            expected="one differentiable number, the same for the same outputs",
            found=found,
        )


def require_criterion(criterion: Any) -> None:
    """Refuse what cannot be called with the outputs and targets of a batch.

    Raises:
        UsageError: no function, or a class where its instance is needed.
    """
    if isinstance(criterion, type):
        found = f"the class {criterion.__name__}"
        remedy = f"Pass an instance: {criterion.__name__}()."
        raise UsageError(
            f"{named('criterion')}: expected a function, found {found}.",
            remedy,
            argument="criterion",
            expected="a function",
            found=criterion,
        )
    if not callable(criterion):
        raise UsageError.of_type("criterion", "a function", criterion, "Pass a loss.")


def criterion_name(criterion: Any) -> str:
    """What to call a criterion."""
    return str(getattr(criterion, "__name__", type(criterion).__name__))


def takes_tensor(criterion: Any) -> bool:
    """Whether a criterion is one of torch's own, which take the prediction, a tensor, and nothing else."""
    while isinstance(criterion, functools.partial):
        criterion = criterion.func
    home = type(criterion).__module__ if isinstance(criterion, nn.Module) else getattr(criterion, "__module__", "")
    return str(home).startswith(_TORCH_LOSSES)


OutputKey = str | int
"""Which of a network's outputs: a key, the name of an attribute or a position."""


def adapt(module: nn.Module, tensor_only: bool, output: OutputKey | None = None, argument: str = "output") -> None:
    """Let a network take a :class:`TensorTree` and return what its criterion takes; parameters keep their names.

    A mapping becomes keyword arguments, a list or tuple positional ones, and a record is the only argument.

    Args:
        module: changed by two hooks, so pass a copy of the user's.
        tensor_only: the criterion takes the prediction alone; otherwise it takes all that the network returns.
        output: which of several outputs the criterion takes; None for the only one, or what ``tensor_only`` says.
        argument: how an error message calls ``output``.
    """
    module.register_forward_pre_hook(_unpacked, with_kwargs=True)
    module.register_forward_hook(_Answer(tensor_only, output, argument))


def _unpacked(_: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if not args or not isinstance(args[0], TensorTree):
        return args, keywords
    inputs = args[0].value
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    several = isinstance(inputs, list | tuple) and not isinstance(inputs, PackedSequence)
    return (tuple(inputs) if several else (inputs,)), {}


@dataclass(frozen=True)
class _Answer:
    """What the criterion takes of all that a network returns, in float64.

    Attributes:
        tensor_only: whether it takes one tensor.
        output: which one is chosen, or None.
        argument: how an error message calls ``output``.
    """

    tensor_only: bool
    output: OutputKey | None
    argument: str

    def __call__(self, _: nn.Module, __: Any, outputs: Any) -> Any:
        if self.output is not None:
            outputs = self._chosen(outputs)
        if not self.tensor_only:
            return _in_float64(outputs)
        found = prediction(outputs)
        if found is None:
            raise self._refusal(outputs)
        return found

    def _chosen(self, outputs: Any) -> Any:
        entries = entries_of(outputs)
        if isinstance(outputs, list | tuple):
            entries = {**entries, **{place - len(outputs): each for place, each in enumerate(outputs)}}
        texts = {str(key): each for key, each in entries.items()}  # as a command gives them
        entries = {**texts, **entries}
        if self.output not in entries:
            if isinstance(outputs, Tensor):
                reason = f"{named(self.argument)}: the network answers with one tensor, so there is nothing to choose."
                remedy = f"Leave {named(self.argument)} out."
                raise UsageError(reason, remedy, argument=self.argument, expected="nothing", found=self.output)
            raise UsageError.of(self.argument, f"one of {_listed(outputs)}", self.output, "Name one of them.")
        return entries[self.output]

    def _refusal(self, outputs: Any) -> UsageError:
        if not floating_tensors(outputs):
            reason = f"The network answers with no tensor of numbers that a loss could take: {_listed(outputs)}."
            return UsageError(reason, "Let it return one.", argument="model", expected="a prediction", found=outputs)
        first = next(iter(entries_of(outputs)), 0)
        return UsageError(
            f"The network answers with no single tensor and with no logits and no out: {_listed(outputs)}.",
            f"Choose one with {named(self.argument)}, for example {first}, or pass a criterion of your own that takes "
            "all of it.",
            argument=self.argument,
            expected="which of the outputs the loss takes",
            found=_listed(outputs),
        )


def _listed(outputs: Any) -> str:
    """What a network answered with, each entry with its shape."""
    entries = entries_of(outputs)
    shapes = {
        key: tuple(each.shape) if isinstance(each, Tensor) else type(each).__name__ for key, each in entries.items()
    }
    return ", ".join(f"{key} {shape}" for key, shape in shapes.items())[:200] or indefinite(type(outputs).__name__)


def _in_float64(outputs: Any) -> Any:
    """What follows the network is computed in float64; of a bare tensor the surface itself takes care.

    A tensor that the network asks gradients in stays the same, so that its criterion can take them.
    """
    return outputs if isinstance(outputs, Tensor) else map_tensors(_precise, outputs)


def _precise(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_leaf and tensor.requires_grad else as_float64(tensor)


def usable_output(output: Any) -> OutputKey | None:
    """What chooses one of several outputs.

    Raises:
        UsageError: it is no key and no position.
    """
    if output is None or isinstance(output, str):
        return output
    if isinstance(output, numbers.Integral) and not isinstance(output, bool):
        return int(output)
    raise UsageError.of_type("output", "a key or a position", output, "For example logits or 0.")
