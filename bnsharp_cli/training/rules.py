"""What every training rule is: an optimiser of torch, driven by closures that compute the loss, for anyone's loop.

    rule = Sgds(model, blocks, lr=0.1, momentum=0.9)
    for inputs, targets in loader:
        loss = rule.step(lambda: criterion(model(inputs), targets))

A closure computes the loss of its batch at the present parameters and returns it with its graph. The rule sets
gradients to zero and calls backward itself, as often as it needs and at other parameters too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Never, Self

import torch
from torch import Tensor, nn
from torch.optim.optimizer import StateDict

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.training.agreement import require_agreement
from bnsharp_cli.training.checked_arguments import known_state
from bnsharp_cli.training.closures import A_CLOSURE, Differentiate, GradientWeight, LossClosure, differentiate, guarded
from bnsharp_cli.training.divergence import in_range, require_factors
from bnsharp_cli.training.gradient_scaling import OverflowedGradientError, ScaledGradients, require_no_grad_scaler
from bnsharp_cli.training.keywords import SgdKeywords
from bnsharp_cli.training.parameter_groups import (
    REFUSED_BY_TORCH,
    groups_of,
    not_trainable,
    of_base,
    require_base,
    require_settings,
    sgd_of,
    trained_parameters,
)
from bnsharp_cli.training.ranges import LENGTH, require_number

REQUIRED: Any = None
"""The default of an argument that must be given: if it is missing, the answer is that to any other bad value."""

Trainable = nn.Module | Iterable[Any]
"""A network, or what torch's optimisers take: parameters, pairs of names and parameters, or groups of them."""

_FOR_EXAMPLE = "For example lambda: criterion(model(inputs), targets)."
_SHARED = ("state", "param_groups", "defaults")


class RuleKeywords(SgdKeywords, total=False):
    """What every rule passes on, besides the settings of SGD."""

    scaler: torch.amp.GradScaler | None
    base: torch.optim.Optimizer | None


class TrainingRule(torch.optim.Optimizer):
    """One step: gradients, what the rule makes of them, and the step of an optimiser of torch.

    ``param_groups``, ``state``, ``state_dict`` and learning-rate schedules are those of that optimiser, which is
    ``torch.optim.SGD`` unless another one is given. Running statistics are updated by the pass at the parameters
    themselves and by no other.

    Args:
        params: the network to train, also wrapped by ``DistributedDataParallel``; or what torch's optimisers take:
            parameters, pairs of names and parameters, or groups of them.
        lr: the step size, from 0 on.
        momentum: in [0, 1).
        weight_decay: the factor of the parameters that is added to the gradient, from 0 on.
        nesterov: use Nesterov's momentum, which needs a momentum above 0.
        clip_gradient: longer gradients, without weight decay, are shortened to this norm; None shortens none.
        scaler: scales the loss of every pass in float16; a step with a gradient that overflows is left out.
        base: takes the steps instead of SGD, whose settings are then not given; its groups are those that are trained.

    Attributes:
        module: the network; None where parameters were given.
        differentiate: how the rule computes a gradient; a loop may put another way here, such as mixed precision.
        gradients_per_step: how many gradients a step computes.
        batches_per_step: how many closures a step takes.
        refreshes_statistics: whether running statistics are those of earlier parameters after a step, so that they need
            a pass over the data (``torch.optim.swa_utils.update_bn``) before they are used.
        of_all_groups: options that a single group of parameters cannot have.

    Raises:
        UsageError: an argument that is unknown, of another type or out of range, or nothing to train.
    """

    gradients_per_step: int = 1
    batches_per_step: int = 1
    refreshes_statistics: bool = False
    of_all_groups: ClassVar[frozenset[str]] = frozenset({"clip_gradient", "scaler", "base"})
    state = of_base("state")
    param_groups = of_base("param_groups")
    defaults = of_base("defaults")
    _step_supports_amp_scaling = True  # so GradScaler.step leaves it to step to refuse

    def __init__(
        self,
        params: Trainable,
        lr: float = REQUIRED,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        clip_gradient: float | None = None,
        scaler: torch.amp.GradScaler | None = None,
        base: torch.optim.Optimizer | None = None,
        **unknown: Never,
    ) -> None:
        for name, found in dict[str, object](unknown).items():
            raise UsageError.of(name, f"no argument of {type(self).__name__}", found, f"Leave {named(name)} out.")
        settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        if clip_gradient is not None:
            require_number("clip_gradient", clip_gradient, **LENGTH)
        if base is not None:
            require_base(base, params, settings)
        self._base = base or sgd_of(groups_of(params), settings)
        state = self._base.state
        super().__init__(self._base.param_groups, self._base.defaults)
        self._base.state = state
        self.module = params if isinstance(params, nn.Module) else None
        self.clip_gradient = clip_gradient
        self.differentiate: Differentiate = differentiate if scaler is None else ScaledGradients(scaler, self)
        self._losses: list[Tensor] = []
        self._agreed = False
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
        return ("momentum_buffer",) if self.param_groups[0].get("momentum") else ()

    def gradients_in(self, epoch: int) -> int:
        """How many gradients a step computes in an epoch, counted from 0; rules that change their number say so."""
        del epoch
        return self.gradients_per_step

    @property
    def steps(self) -> int:
        """The number of steps so far."""
        return int(self.param_groups[0].get("steps", 0))

    @property
    def epochs(self) -> int:
        """How often :meth:`end_epoch` was called."""
        return int(self.param_groups[0].get("epochs", 0))

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters of all groups."""
        return [parameter for group in self.param_groups for parameter in group["params"]]

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """See :func:`~bnsharp_cli.training.parameter_groups.trained_parameters`."""
        return trained_parameters(self.module, self.param_groups)

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
        require_no_grad_scaler(self)
        for one in used:
            if not callable(one):
                raise UsageError.of_type("closure", A_CLOSURE, one, _FOR_EXAMPLE)
        if len(others) + 1 < self.batches_per_step:
            wanted = f"{self.batches_per_step} closures"
            remedy = "Pass one for each batch that the rule uses in a step."
            raise UsageError.of("step", wanted, len(others) + 1, remedy)
        self._losses = []
        try:
            with torch.enable_grad(), in_range():
                loss = self._step([guarded(one, self.parameters) for one in used])
        except OverflowedGradientError as overflow:
            self.zero_grad()
            return [*self._losses, overflow.loss][0]
        self.param_groups[0]["steps"] = self.steps + 1
        return loss

    def __getstate__(self) -> dict[str, Any]:
        """All attributes, for ``copy`` and ``pickle``, except the ``step`` that a schedule of torch's adds to count."""
        return {name: entry for name, entry in vars(self).items() if name != "step"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What a copy, or a state that is loaded, has; groups and state are kept by the optimiser below."""
        super().__setstate__({name: entry for name, entry in state.items() if name not in _SHARED})
        shared = {name: state[name] for name in _SHARED if name in state}
        if shared:
            self._base.__setstate__(shared)

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Go on from the ``state_dict`` of a rule on the same network, or of the optimiser of torch that it drives.

        The settings are those of the state, as in torch; counts that it does not have begin at 0.

        Raises:
            UsageError: it is no such state.
        """
        try:
            known = known_state(state_dict, self.defaults, self.kept_tensors, self.param_groups)
            for group in known["param_groups"]:
                require_settings(group)
            super().load_state_dict(known)
        except REFUSED_BY_TORCH as error:
            found = f"{type(error).__name__}: {error}"
            raise UsageError(
                f"{named('state_dict')}: it does not belong to this {type(self).__name__}: {found}.",
                "Pass what the state_dict() of a rule of the same kind and network returned.",
                argument="state_dict",
                expected=f"the state of {type(self).__name__}",
                found=found,
            ) from error

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Train more parameters, as torch's optimisers do.

        Raises:
            UsageError: no group of parameters, a setting out of range, or an option that a group cannot have.
        """
        if not isinstance(param_group, dict):
            raise UsageError.of_type("param_group", "a dictionary", param_group, "Pass {'params': [...]}.")
        require_settings(param_group)
        for name in self.of_all_groups & param_group.keys():
            raise UsageError.of(name, "one value for all groups", param_group[name], "Give it to the rule itself.")
        try:
            super().add_param_group(param_group)
        except REFUSED_BY_TORCH as error:
            raise not_trainable("param_group", error) from error

    def end_epoch(self) -> None:
        """Let whatever grows with the epochs, such as λ, grow."""
        self.param_groups[0]["epochs"] = self.epochs + 1

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
        self._losses.append(loss)
        for parameter in self.parameters:
            if parameter.grad is not None and parameter.grad.layout != torch.strided:
                parameter.grad = parameter.grad.to_dense()
        if not self._agreed:
            require_agreement(self.parameters)
            self._agreed = True
        return loss

    def _descend(self) -> None:
        """Take the optimiser's step along ``.grad``."""
        if self.clip_gradient is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip_gradient)
        require_factors(self.param_groups)
        self._base.step()


class Sgd(TrainingRule):
    """Stochastic gradient descent with momentum and L2 weight decay.

    >>> _ = torch.manual_seed(0)
    >>> network, inputs, targets = nn.Linear(4, 3), torch.randn(8, 4), torch.arange(8) % 3
    >>> rule = Sgd(network, lr=0.5, momentum=0.9)
    >>> losses = [rule.step(lambda: nn.functional.cross_entropy(network(inputs), targets)) for _ in range(2)]
    >>> bool(losses[1] < losses[0])
    True
    """
