"""Sharpness-aware minimisation, the baselines that a user would pick today: two gradients a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, Unpack

import torch
from torch import Tensor, nn

from bnsharp_cli.core.point import LazyPoint, Point, norm
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.training.closures import LossClosure
from bnsharp_cli.training.displaced_parameters import DisplacedParameters, RandomState
from bnsharp_cli.training.ranges import FROM_ZERO, require_number
from bnsharp_cli.training.registry import SamOptions
from bnsharp_cli.training.rules import REQUIRED, RuleKeywords, Trainable, TrainingRule


class Sam(TrainingRule):
    """SAM (Foret et al., ICLR 2021, Eq. 2): the step of SGD with the gradient at θ + ρ ∇L/‖∇L‖.

    Args:
        params: the network to train, or parameters as for any optimiser of torch.
        lr: the step size.
        rho: ρ, the radius of the ball in parameter space; the range and None are those of ``SamOptions``.
        **more: of :class:`~bnsharp_cli.training.rules.TrainingRule`: momentum, weight_decay, clip_gradient, base, …

    Raises:
        UsageError: an argument that is unknown, of another type or out of range.

    >>> _ = torch.manual_seed(0)
    >>> network, inputs, targets = nn.Linear(4, 3), torch.randn(8, 4), torch.arange(8) % 3
    >>> rule = Sam(network, lr=0.5, rho=0.05)
    >>> losses = [rule.step(lambda: nn.functional.cross_entropy(network(inputs), targets)) for _ in range(2)]
    >>> bool(losses[1] < losses[0])
    True
    """

    gradients_per_step = 2
    of_all_groups = TrainingRule.of_all_groups | {"rho"}
    authors_rho: ClassVar[float] = 0.05
    """ρ where none is given."""

    def __init__(
        self, params: Trainable, lr: float = REQUIRED, *, rho: float | None = None, **more: Unpack[RuleKeywords]
    ) -> None:
        super().__init__(params, lr, **more)
        chosen = SamOptions(rho=rho).rho
        self.rho = self.authors_rho if chosen is None else chosen

    @classmethod
    def from_options(cls, module: nn.Module, options: SamOptions, blocks: Callable[[], Blocks], **of_sgd: Any) -> Self:
        """See :meth:`TrainingRule.from_options`."""
        del blocks
        return cls(module, rho=options.rho, **of_sgd)

    def _step(self, closures: list[LossClosure]) -> Tensor:
        start = RandomState(self.parameters)
        loss = self._plain_pass(closures[0])
        with DisplacedParameters(self, start) as displaced:
            gradient = displaced.take_gradient()
            displaced.displace(*self._ascent(displaced.origin, gradient))
            del gradient
            displaced.add_gradient(closures[0])
        self._descend()
        return loss

    def _ascent(self, theta: Point, gradient: Point) -> tuple[Mapping[str, Tensor], float]:
        """The direction to the top of the ball, and the length of the way in units of it."""
        del theta
        return gradient, _quotient(self.rho, norm(gradient))


class Asam(Sam):
    """ASAM (Kwon et al., ICML 2021, Eq. 4): SAM with the gradient at θ + ρ T²∇L/‖T∇L‖, T = |θ| + η.

    Rescaling a weight changes nothing but the share of η. T is 1 for parameters of fewer than two dimensions: biases
    and the parameters of norms. (The authors' code goes by names and scales the weights of norms as well.)

    Args:
        params: the network to train, or parameters as for any optimiser of torch.
        lr: the step size.
        rho: ρ, the radius relative to the weights; the range and None are those of ``SamOptions``.
        eta: η, from 0 on.
        **more: of :class:`~bnsharp_cli.training.rules.TrainingRule`: momentum, weight_decay, clip_gradient, base, …

    Raises:
        UsageError: an argument that is unknown, of another type or out of range.

    >>> _ = torch.manual_seed(0)
    >>> network, inputs, targets = nn.Linear(4, 3), torch.randn(8, 4), torch.arange(8) % 3
    >>> rule = Asam(network, lr=0.5, rho=0.5)
    >>> losses = [rule.step(lambda: nn.functional.cross_entropy(network(inputs), targets)) for _ in range(2)]
    >>> bool(losses[1] < losses[0])
    True
    """

    of_all_groups = Sam.of_all_groups | {"eta"}
    authors_rho = 0.5

    def __init__(
        self,
        params: Trainable,
        lr: float = REQUIRED,
        *,
        rho: float | None = None,
        eta: float = 0.01,
        **more: Unpack[RuleKeywords],
    ) -> None:
        super().__init__(params, lr, rho=rho, **more)
        require_number("eta", eta, **FROM_ZERO)
        self.eta = eta

    def _ascent(self, theta: Point, gradient: Point) -> tuple[Mapping[str, Tensor], float]:
        scaled = LazyPoint(theta, lambda name: self._scale(theta[name]) * gradient[name])
        length = float(torch.stack([tensor.square().sum() for tensor in scaled.values()]).sum().sqrt())
        return LazyPoint(theta, lambda name: self._scale(theta[name]) * scaled[name]), _quotient(self.rho, length)

    def _scale(self, weight: Tensor) -> Tensor:
        """T = |θ| + η for weights, 1 for biases and norms."""
        return weight.abs() + self.eta if weight.ndim > 1 else torch.ones_like(weight)


def _quotient(radius: float, length: float) -> float:
    """``radius / length``, and 0 where the gradient vanishes."""
    return radius / length if length > 0 else 0.0
