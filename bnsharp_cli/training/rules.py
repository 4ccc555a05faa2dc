"""What every training rule is: torch's SGD, driven by closures that compute the loss, usable in anyone's loop.

    rule = Sgds(model, blocks, lr=0.1, momentum=0.9)
    for inputs, targets in loader:
        loss = rule.step(lambda: criterion(model(inputs), targets))

A closure computes the loss of its batch at the present parameters and returns it with its graph. The rule sets
gradients to zero and calls backward itself, as often as it needs and at other parameters too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Never, Self

import torch
from torch import Tensor, nn
from torch.optim.optimizer import StateDict

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.training.checked_arguments import known_state, number_in, parameters_of
from bnsharp_cli.training.divergence import in_range, require_fits
from bnsharp_cli.training.ranges import FRACTION, FROM_ZERO, LENGTH, require_number

REQUIRED: Any = None
"""The default of an argument that must be given: if it is missing, the answer is that to any other bad value."""

_A_CLOSURE = "a function that returns a scalar loss with its graph"

LossClosure = Callable[[], Tensor]
"""Computes the loss of a batch at the present parameters, a scalar with its graph."""

GradientWeight = Callable[[float], float]
"""From the loss to the factor of its gradient."""

Differentiate = Callable[[LossClosure, GradientWeight | None], Tensor]
"""Adds the gradient of a closure's loss, times its weight, to ``.grad`` and returns the loss without its graph."""


class TrainingRule(torch.optim.SGD):
    """One step: gradients, what the rule makes of them, and the step of ``torch.optim.SGD``.

    ``param_groups``, ``state_dict`` and learning-rate schedules are torch's. Running statistics are updated by the
    pass at the parameters themselves and by no other.

    Args:
        module: the network to train; also wrapped by ``DistributedDataParallel``.
        lr: the step size, from 0 on.
        momentum: in [0, 1).
        weight_decay: the factor of the parameters that is added to the gradient, from 0 on.
        nesterov: use Nesterov's momentum, which needs a momentum above 0.
        clip_gradient: longer gradients, without weight decay, are shortened to this norm; None shortens none.

    Attributes:
        differentiate: how the rule computes a gradient; a loop may put another way here, such as mixed precision.
        gradients_per_step: how many gradients a step computes.
        batches_per_step: how many closures a step takes.
        refreshes_statistics: whether running statistics are those of earlier parameters after a step, so that they need
            a pass over the data (``torch.optim.swa_utils.update_bn``) before they are used.

    Raises:
        UsageError: an argument that is unknown, of another type or out of range, or a module without parameters.
    """

    gradients_per_step: int = 1
    batches_per_step: int = 1
    refreshes_statistics: bool = False

    def __init__(
        self,
        module: nn.Module,
        lr: float = REQUIRED,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        clip_gradient: float | None = None,
        **unknown: Never,
    ) -> None:
        for name, found in dict[str, object](unknown).items():
            raise UsageError.of(name, f"no argument of {type(self).__name__}", found, f"Leave {named(name)} out.")
        parameters = parameters_of(module)
        require_number("lr", number_in(lr), **FROM_ZERO)
        require_number("momentum", momentum, **FRACTION)
        require_number("weight_decay", weight_decay, **FROM_ZERO)
        if clip_gradient is not None:
            require_number("clip_gradient", clip_gradient, **LENGTH)
        if not isinstance(nesterov, bool):
            raise UsageError.of("nesterov", "True or False", nesterov, f"Change {named('nesterov')}.")
        if nesterov and not momentum:
            raise UsageError.of("nesterov", f"a {named('momentum')} above 0", nesterov, "For example momentum=0.9.")
        super().__init__(parameters, lr, momentum, weight_decay=weight_decay, nesterov=nesterov)
        self.module, self.clip_gradient = module, clip_gradient
        self.differentiate: Differentiate = differentiate
        self.param_groups[0].update(steps=0, epochs=0)

    @classmethod
    def from_options(cls, module: nn.Module, options: Any, blocks: Callable[[], Blocks], **of_sgd: Any) -> Self:
        """Make the rule from the record of its own options, as the training loop does; rules with options override it.

        Args:
            module: the network to train.
            options: a record of the type that the rule is registered with.
            blocks: finds the scale-invariant rows; called only by a rule that needs them.
            **of_sgd: lr, momentum, weight_decay, nesterov, clip_gradient.
        """
        del options, blocks
        return cls(module, **of_sgd)

    @property
    def kept_tensors(self) -> tuple[str, ...]:
        """The names of what ``state`` has for a parameter, each a tensor of its shape; rules that keep more say so."""
        return ("momentum_buffer",) if self.param_groups[0]["momentum"] else ()

    def gradients_in(self, epoch: int) -> int:
        """How many gradients a step computes in an epoch, counted from 0; rules that change their number say so."""
        del epoch
        return self.gradients_per_step

    @property
    def steps(self) -> int:
        """The number of steps so far."""
        return int(self.param_groups[0]["steps"])

    @property
    def epochs(self) -> int:
        """How often :meth:`end_epoch` was called."""
        return int(self.param_groups[0]["epochs"])

    def step(self, closure: LossClosure = REQUIRED, *others: LossClosure) -> Tensor:  # type: ignore[override]  # needs a closure
        """Change the parameters once.

        Args:
            closure: computes the loss of the step's batch.
            others: those of further batches, ``batches_per_step`` in all, for rules that use several; more than that
                are ignored.

        Returns:
            The loss before the change, a scalar without a graph.

        Raises:
            UsageError: too few closures, one that is not a function, that does not return a loss with its graph, or
                that changes ``.grad``.
            NotMeasurableError: a number of the rule's own grew beyond the range of floats.
        """
        used = (closure, *others)[: self.batches_per_step]
        for one in used:
            if not callable(one):
                raise UsageError.of_type(
                    "closure", _A_CLOSURE, one, "For example lambda: criterion(model(inputs), targets)."
                )
        if len(others) + 1 < self.batches_per_step:
            raise UsageError.of(
                "step",
                f"{self.batches_per_step} closures",
                len(others) + 1,
                "Pass one for each batch that the rule uses in a step.",
            )
        with torch.enable_grad(), in_range():
            loss = self._step([self._guarded(one) for one in used])
        self.param_groups[0]["steps"] += 1
        return loss

    def __getstate__(self) -> dict[str, Any]:
        """All attributes, for ``copy`` and ``pickle``, except the ``step`` that a schedule of torch's adds to count."""
        return {name: entry for name, entry in vars(self).items() if name != "step"}

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Go on from the ``state_dict`` of a rule of the same kind on the same network.

        Raises:
            UsageError: it is no such state.
        """
        try:
            super().load_state_dict(known_state(state_dict, [*self.defaults, "steps", "epochs"]))
        except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:  # whatever torch stumbles over
            found = f"{type(error).__name__}: {error}"
            raise UsageError(
                f"{named('state_dict')}: it does not belong to this {type(self).__name__}: {found}.",
                "Pass what the state_dict() of a rule of the same kind and network returned.",
                argument="state_dict",
                expected=f"the state of {type(self).__name__}",
                found=found,
            ) from error

    def end_epoch(self) -> None:
        """Let whatever grows with the epochs, such as λ, grow."""
        self.param_groups[0]["epochs"] += 1

    def _step(self, closures: list[LossClosure]) -> Tensor:
        """What a rule overrides: one step from ``batches_per_step`` closures; returns the loss before it."""
        loss = self._plain_pass(closures[0])
        self._descend()
        return loss

    def _plain_pass(self, closure: LossClosure) -> Tensor:
        """Put the gradient at the parameters into ``.grad``; returns the loss."""
        self.zero_grad()
        return self.add_gradient(closure, None)

    def add_gradient(self, closure: LossClosure, weight: GradientWeight | None) -> Tensor:
        """Call :attr:`differentiate`, and let no ``.grad`` be sparse: rules add them up and take their norms."""
        loss = self.differentiate(closure, weight)
        for parameter in self.module.parameters():
            if parameter.grad is not None and parameter.grad.layout != torch.strided:
                parameter.grad = parameter.grad.to_dense()
        return loss

    def _descend(self) -> None:
        """Take the step of ``torch.optim.SGD`` along ``.grad``."""
        if self.clip_gradient is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.clip_gradient)
        for name in ("lr", "weight_decay"):
            require_fits(self.param_groups[0][name], self.module.parameters())
        super().step()

    def _guarded(self, closure: LossClosure) -> LossClosure:
        """The closure, refused if it changes ``.grad``: sums of gradients would be silently wrong."""

        def guarded() -> Tensor:
            before = self._gradients()
            loss = closure()
            for (old, version), (new, present) in zip(before, self._gradients(), strict=True):
                if new is not old or present != version:
                    called = "zero_grad" if new is None else "backward"
                    raise UsageError(
                        f"The closure called {called}.",
                        "Leave zero_grad and backward to the rule.",
                        argument="closure",
                        expected="a function that computes the loss and nothing else",
                    )
            return loss

        return guarded

    def _gradients(self) -> list[tuple[Tensor | None, int]]:
        """Every ``.grad`` with the count of the changes made to it."""
        gradients = (parameter.grad for parameter in self.module.parameters())
        return [(gradient, 0 if gradient is None else gradient._version) for gradient in gradients]


class Sgd(TrainingRule):
    """Stochastic gradient descent with momentum and L2 weight decay.

    >>> _ = torch.manual_seed(0)
    >>> network, inputs, targets = nn.Linear(4, 3), torch.randn(8, 4), torch.arange(8) % 3
    >>> rule = Sgd(network, lr=0.5, momentum=0.9)
    >>> losses = [rule.step(lambda: nn.functional.cross_entropy(network(inputs), targets)) for _ in range(2)]
    >>> bool(losses[1] < losses[0])
    True
    """


def differentiate(closure: LossClosure, weight: GradientWeight | None = None) -> Tensor:
    """Add the gradient of the closure's loss to ``.grad``, times ``weight`` of the loss.

    Returns:
        The loss without its graph, averaged over the processes that train together.

    Raises:
        UsageError: the closure does not return a scalar with a graph.
    """
    loss = require_loss(closure())
    known = loss.detach().clone()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(known)
        known /= torch.distributed.get_world_size()
    weighted = loss if weight is None else weight(float(known)) * loss
    weighted.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return known


def require_loss(loss: object) -> Tensor:
    """What a closure returned, if it is a loss.

    Raises:
        UsageError: it is not a scalar with a graph.
    """
    if not isinstance(loss, Tensor) or loss.ndim or loss.grad_fn is None:
        raise UsageError(
            "The closure did not return a scalar loss with its graph.",
            "Return criterion(model(inputs), targets); the rule itself calls backward.",
            argument="closure",
            expected=_A_CLOSURE,
            found=type(loss).__name__,
        )
    return loss
