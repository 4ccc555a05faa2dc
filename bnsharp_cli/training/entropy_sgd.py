"""Entropy-SGD (Chaudhari et al., ICLR 2017): descends the local entropy, which is large in wide valleys."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self, Unpack

import torch
from torch import Tensor, nn

from bnsharp_cli.core.point import Vector
from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.training.checked_arguments import chosen_options
from bnsharp_cli.training.closures import LossClosure
from bnsharp_cli.training.displaced_parameters import DisplacedParameters
from bnsharp_cli.training.registry import EntropySgdOptions
from bnsharp_cli.training.rules import REQUIRED, RuleKeywords, Trainable, TrainingRule

_SEEDS = 2**31


class EntropySgd(TrainingRule):
    r"""Algorithm 1 of Chaudhari et al.: L steps of Langevin dynamics around θ, then a step towards their mean.

    .. math:: x' ← x' − η' (∇f(x') + γ (x' − θ)) + \sqrt{η'} ε N(0, I), \quad μ ← α μ + (1 − α) x'

    The gradient of the local entropy is γ (θ − μ). As in the authors' code the outer step leaves γ out,
    θ ← θ − lr (θ − μ), so ``lr`` = 1 goes to μ itself. Weight decay is a part of f: it acts in the inner steps only.
    Running statistics are updated by the first inner pass, the one at θ.

    Args:
        params: the network to train, or parameters as for any optimiser of torch.
        lr: the size of the outer step.
        options: the options of the inner steps.
        **more: momentum, nesterov, clip_gradient and scaler; weight_decay, of the inner steps.

    Raises:
        UsageError: an argument that is unknown, of another type or out of range.

    >>> _ = torch.manual_seed(0)
    >>> network, inputs, targets = nn.Linear(4, 3), torch.randn(8, 4), torch.arange(8) % 3
    >>> rule = EntropySgd(network, lr=1.0, options=EntropySgdOptions(langevin_steps=2))
    >>> closure = lambda: nn.functional.cross_entropy(network(inputs), targets)
    >>> losses = [rule.step(closure, closure) for _ in range(2)]
    >>> bool(losses[1] < losses[0])
    True
    """

    refreshes_statistics = True
    of_all_groups = TrainingRule.of_all_groups | {"options", *EntropySgdOptions.__dataclass_fields__}

    def __init__(
        self,
        params: Trainable,
        lr: float = REQUIRED,
        *,
        options: EntropySgdOptions | None = None,
        **more: Unpack[RuleKeywords],
    ) -> None:
        if more.get("base") is not None:
            raise UsageError.of(
                "base", "no argument of EntropySgd", type(more["base"]).__name__, "Its outer step is that of SGD."
            )
        super().__init__(params, lr, **more)
        self.options = chosen_options(options, EntropySgdOptions)
        self.gradients_per_step = self.batches_per_step = self.options.langevin_steps

    @classmethod
    def from_options(
        cls, module: nn.Module, options: EntropySgdOptions, blocks: Callable[[], Blocks], **of_sgd: Any
    ) -> Self:
        """See :meth:`TrainingRule.from_options`."""
        del blocks
        return cls(module, options=options, **of_sgd)

    def _step(self, closures: list[LossClosure]) -> Tensor:
        with torch.no_grad():
            mean = {name: parameter.clone() for name, parameter in self.trained.items()}
        loss = self._plain_pass(closures[0])
        with DisplacedParameters(self) as displaced:
            generators: dict[torch.device, torch.Generator] = {}
            for number, closure in enumerate(closures):
                if number:
                    self.zero_grad()
                    displaced.add_gradient(closure)
                self._move(displaced, mean, generators)
        self._step_towards(mean)
        return loss

    @property
    def coefficient(self) -> float:
        """γ at the present step."""
        return self.options.scope * (1 + self.options.scoping) ** self.steps

    @torch.no_grad()
    def _move(
        self, displaced: DisplacedParameters, mean: Vector, generators: dict[torch.device, torch.Generator]
    ) -> None:
        """One step of Langevin dynamics from the gradient in ``.grad``, then one of the running mean μ."""
        inner, gamma = self.options, self.coefficient
        rate, kick = inner.langevin_lr, math.sqrt(inner.langevin_lr) * inner.langevin_noise
        decays = {id(p): group["weight_decay"] for group in self.param_groups for p in group["params"]}
        for name, parameter in displaced.parameters.items():
            force = gamma * (parameter - displaced.origin[name]) + decays[id(parameter)] * parameter
            if parameter.grad is not None:
                force += parameter.grad
            noise = torch.empty_like(parameter).normal_(generator=self._generator(parameter.device, generators))
            parameter.add_(force, alpha=-rate).add_(noise, alpha=kick)
            mean[name].lerp_(parameter, 1 - inner.langevin_averaging)

    def _step_towards(self, mean: Vector) -> None:
        """The outer step, without weight decay in any group."""
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.grad = parameter - mean[name]
        decays = [group["weight_decay"] for group in self.param_groups]
        try:
            for group in self.param_groups:
                group["weight_decay"] = 0.0
            self._descend()
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay

    def _generator(self, device: torch.device, known: dict[torch.device, torch.Generator]) -> torch.Generator:
        """The generator of the noise of this step, seeded by its number so that a resumed run draws the same."""
        if device not in known:
            known[device] = torch.Generator(device).manual_seed((self.options.langevin_seed + 1) * _SEEDS + self.steps)
        return known[device]
