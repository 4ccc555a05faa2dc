"""Networks, batches and criteria as people have them, brought to what a loss surface takes: tensor in, tensor out."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnsharp_cli.errors import BnsharpError, NotMeasurableError, UsageError
from bnsharp_cli.measurement.surface.outputs import REFUSALS, as_double, converted, floating, prediction, tensors

_SAME = 1e-6
_TORCHS = "torch.nn."


@dataclass(frozen=True, eq=False)
class Nested:
    """Tensors in nested mappings and sequences, with as much of a tensor's interface as a surface needs.

    Attributes:
        value: what holds the tensors; the first dimension of each counts the examples.
        first: one of them.
    """

    value: Any
    first: Tensor

    @classmethod
    def of(cls, value: Any) -> Nested:
        """The tensors in ``value``.

        Raises:
            UsageError: there is none.
        """
        first = next(tensors(value), None)
        if first is None:
            raise UsageError(f"batches: there is no tensor in a {type(value).__name__}.", "Pass tensors.")
        return cls(value, first)

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, part: slice) -> Nested:
        """Some of the examples."""
        return self.mapped(lambda tensor: tensor[part])

    def to(self, *target: Any, **options: Any) -> Nested:
        """Each tensor on another device, or each floating one in another precision."""
        moves = not isinstance(target[0], torch.dtype)
        return self.mapped(lambda tensor: tensor.to(*target, **options) if moves or _floats(tensor) else tensor)

    def double(self) -> Nested:
        """Each floating tensor as float64."""
        return self.to(torch.float64)

    def detach(self) -> Nested:
        """Each tensor without its history."""
        return self.mapped(Tensor.detach)

    def clone(self) -> Nested:
        """Each tensor copied."""
        return self.mapped(Tensor.clone)

    def requires_grad_(self, wanted: bool = True) -> Nested:
        """Each floating tensor marked."""
        return self.mapped(lambda tensor: tensor.requires_grad_(wanted) if _floats(tensor) else tensor)

    def is_floating_point(self) -> bool:
        """Whether any of the tensors is."""
        return bool(floating(self.value))

    def untyped_storage(self) -> Any:
        """That of the first tensor."""
        return self.first.untyped_storage()

    @property
    def shape(self) -> torch.Size:
        """That of the first tensor."""
        return self.first.shape

    @property
    def ndim(self) -> int:
        """That of the first tensor."""
        return self.first.ndim

    @property
    def device(self) -> torch.device:
        """That of the first tensor."""
        return self.first.device

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Nested:
        """``function`` of each tensor."""
        return Nested.of(converted(function, self.value))


class CheckedCriterion:
    """A criterion whose answers are a loss: one differentiable number, the same for the same outputs.

    Args:
        criterion: from outputs and targets to a loss; a module's tensors become float64, as outputs are.
        name: how to call it in an error message.
        device: where outputs and targets are.
    """

    def __init__(self, criterion: Callable[[Any, Any], Any], name: str, device: torch.device | str = "cpu") -> None:
        if isinstance(criterion, nn.Module):
            criterion = copy.deepcopy(criterion).eval().double().to(device)
        self._criterion = criterion
        self._name = name
        self._checked = False

    def __call__(self, outputs: Any, targets: Any) -> Tensor:
        """The loss of a batch.

        Raises:
            UsageError: it is no scalar, not differentiable, or random.
        """
        wanted = targets.value if isinstance(targets, Nested) else targets
        loss = self._answer(outputs, wanted)
        if not isinstance(loss, Tensor) or not loss.is_floating_point() or loss.ndim:
            kind = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
            self._refuse(f"returned {kind}, expected a floating scalar", "Return the mean loss of the batch.")
        if torch.is_grad_enabled():
            self._check_once(outputs, wanted, loss)
        precise: Tensor = loss.double()
        return precise

    def _answer(self, outputs: Any, targets: Any) -> Any:
        try:
            return self._criterion(outputs, targets)
        except (BnsharpError, *REFUSALS):
            raise
        except Exception as error:  # a user's function raises whatever it likes
            first = (str(error).splitlines() or [""])[0]
            raise NotMeasurableError(
                f"The criterion {self._name} failed: {type(error).__name__}: {first}", "Mend the function."
            ) from error

    def _check_once(self, outputs: Any, targets: Any, loss: Tensor) -> None:
        if self._checked:
            return
        if not loss.requires_grad and any(part.requires_grad for part in floating(outputs)):
            self._refuse("is not differentiable in the network's outputs", "Use a loss that autograd can follow.")
        again = self._answer(outputs, targets)
        if bool(torch.isfinite(loss)) and not torch.isclose(loss, again, rtol=_SAME, atol=0):
            self._refuse("gives two losses for the same outputs", "Take what is random out of it.")
        self._checked = True

    def _refuse(self, problem: str, remedy: str) -> None:
        raise UsageError(f"The criterion {self._name} {problem}.", remedy)


def takes_tensor(criterion: Any) -> bool:
    """Whether a criterion is one of torch's own, which take a tensor and nothing else."""
    while isinstance(criterion, functools.partial):
        criterion = criterion.func
    home = type(criterion).__module__ if isinstance(criterion, nn.Module) else getattr(criterion, "__module__", "")
    return str(home).startswith(_TORCHS)


def adapt(module: nn.Module, tensor_only: bool) -> None:
    """Let a network take :class:`Nested` inputs and answer what its criterion takes. It keeps its parameters' names.

    A mapping becomes keywords, a sequence becomes arguments.

    Args:
        module: changed by two hooks, so a copy of the user's.
        tensor_only: the criterion takes the prediction alone; otherwise it takes all that the network returns.
    """
    module.register_forward_pre_hook(_unpacked, with_kwargs=True)
    module.register_forward_hook(_prediction_only if tensor_only else _precise)


def named(criterion: Any) -> str:
    """What to call a criterion."""
    return str(getattr(criterion, "__name__", type(criterion).__name__))


def _unpacked(_: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if not args or not isinstance(args[0], Nested):
        return args, keywords
    inputs = args[0].value
    return ((), dict(inputs)) if isinstance(inputs, Mapping) else (tuple(inputs), {})


def _prediction_only(_: nn.Module, __: Any, outputs: Any) -> Tensor:
    found = prediction(outputs)
    if found is None:
        kind = f"a {type(outputs).__name__} of {', '.join(outputs)}" if isinstance(outputs, Mapping) else f"{outputs!r}"
        raise UsageError(
            f"The network answers with {kind[:200]}, which has no logits and no out.",
            "Name a criterion of your own that takes it.",
        )
    return found


def _precise(_: nn.Module, __: Any, outputs: Any) -> Any:
    """What follows the network is computed in float64; of a bare tensor the surface takes care."""
    return outputs if isinstance(outputs, Tensor) else converted(as_double, outputs)


def _floats(tensor: Tensor) -> bool:
    return tensor.is_floating_point()
