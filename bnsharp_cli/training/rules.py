"""Training rules: optimisers like torch's, driven by closures, usable in anyone's loop.

    rule = Sgds(model, blocks, lr=0.1, momentum=0.9)
    for inputs, targets in loader:
        loss = rule.step(lambda: criterion(model(inputs), targets))

A closure computes the loss of its batch at the present parameters and returns it with its graph. Gradients are set to
zero and computed by the rule, which may need several, at several places.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.blocks.blocks import Blocks

Closure = Callable[[], Tensor]
Weight = Callable[[float], float]
"""From the loss of a pass to what its gradient counts."""

Differentiate = Callable[[Closure, Weight | None], Tensor]


class Rule(torch.optim.SGD):
    """One step: the gradient at the parameters, what the rule makes of it, and the step of ``torch.optim.SGD``.

    ``param_groups``, ``state_dict`` and learning-rate schedules are torch's. Running statistics see the pass at the
    parameters themselves and no other.

    Args:
        module: what to train; also wrapped by ``DistributedDataParallel``.
        lr: the step size, positive.
        momentum: in [0, 1).
        weight_decay: the factor of the parameters that is added to the gradient.
        nesterov: use Nesterov's momentum.
        clip_gradient: the longest gradient, without weight decay, that is not shortened; None for any.

    Attributes:
        differentiate: adds the gradient of a closure's loss to ``.grad``; a loop may have another way, such as mixed
            precision.
        gradients_per_step: what one step costs.
        batches_per_step: how many closures one step takes.
        refreshes_statistics: whether running statistics lag behind the parameters and want a pass over the data
            (``torch.optim.swa_utils.update_bn``) before they are used.
    """

    gradients_per_step: int = 1
    batches_per_step: int = 1
    refreshes_statistics: bool = False

    def __init__(
        self,
        module: nn.Module,
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        clip_gradient: float | None = None,
    ) -> None:
        super().__init__(module.parameters(), lr, momentum, weight_decay=weight_decay, nesterov=nesterov)
        self.module, self.clip_gradient = module, clip_gradient
        self.differentiate: Differentiate = differentiate
        self.param_groups[0].update(steps=0, epochs=0)

    @classmethod
    def from_options(cls, module: nn.Module, options: Any, blocks: Callable[[], Blocks], **of_sgd: Any) -> Self:
        """How a loop makes the rule from the record of its own options; a rule that has some overrides this.

        Args:
            module: what to train.
            options: the record that the rule is registered with.
            blocks: finds the scale-invariant rows; only called by a rule that needs them.
            **of_sgd: lr, momentum, weight_decay, nesterov, clip_gradient.
        """
        del options, blocks
        return cls(module, **of_sgd)

    @property
    def steps(self) -> int:
        """Steps so far."""
        return int(self.param_groups[0]["steps"])

    @property
    def epochs(self) -> int:
        """How often :meth:`end_epoch` was called."""
        return int(self.param_groups[0]["epochs"])

    def step(self, closure: Closure, *others: Closure) -> Tensor:  # type: ignore[override]  # it cannot do without
        """Change the parameters once.

        Args:
            closure: the loss of the step's batch.
            others: those of further batches, ``batches_per_step`` in all, for rules that use several; what is more
                than that is left alone.

        Returns:
            The loss before the change, a scalar without a graph.

        Raises:
            UsageError: too few closures, or one that does not return a loss with its graph.
        """
        if len(others) + 1 < self.batches_per_step:
            raise UsageError(
                f"step: expected {self.batches_per_step} closures, found {len(others) + 1}.",
                "Pass one for each batch that the rule uses in a step.",
            )
        with torch.enable_grad():
            loss = self._step([closure, *others][: self.batches_per_step])
        self.param_groups[0]["steps"] += 1
        return loss

    def __getstate__(self) -> dict[str, Any]:
        """All of it, for ``copy`` and ``pickle``, but the ``step`` that a schedule of torch's puts there to count."""
        return {name: entry for name, entry in vars(self).items() if name != "step"}

    def end_epoch(self) -> None:
        """What grows with the epochs, such as λ, grows now."""
        self.param_groups[0]["epochs"] += 1

    def _step(self, closures: list[Closure]) -> Tensor:
        loss = self._plain_pass(closures[0])
        self._descend()
        return loss

    def _plain_pass(self, closure: Closure) -> Tensor:
        """The gradient at the parameters."""
        self.zero_grad()
        return self.differentiate(closure, None)

    def _descend(self) -> None:
        """The step of ``torch.optim.SGD`` along what is in ``.grad``."""
        if self.clip_gradient is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.clip_gradient)
        super().step()


class Sgd(Rule):
    """Stochastic gradient descent with momentum and L2 weight decay."""


def differentiate(closure: Closure, weight: Weight | None = None) -> Tensor:
    """Add the gradient of the closure's loss to ``.grad``, times ``weight`` of the loss.

    Returns:
        The loss without its graph, averaged over the processes that train together.

    Raises:
        UsageError: the closure does not return a scalar with a graph.
    """
    loss = with_graph(closure())
    known = loss.detach().clone()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(known)
        known /= torch.distributed.get_world_size()
    try:
        (loss if weight is None else weight(float(known)) * loss).backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        if "second time" not in str(error):
            raise
        raise UsageError("The closure called backward.", "Leave zero_grad and backward to the rule.") from error
    return known


def with_graph(loss: object) -> Tensor:
    """What a closure returned, if it is a loss.

    Raises:
        UsageError: it is no scalar with a graph.
    """
    if not isinstance(loss, Tensor) or loss.ndim or loss.grad_fn is None:
        raise UsageError(
            "The closure did not return a scalar loss with its graph.",
            "Return criterion(model(inputs), targets); the rule itself calls backward.",
        )
    return loss
