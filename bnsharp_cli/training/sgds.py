"""SGDS, Algorithm 1 of Yi et al.: descends L + λ · BN-Sharpness^p (Eq. 11)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Self, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from bnsharp_cli.core.point import Point, Vector, norm
from bnsharp_cli.core.quadrature import gradient_nodes
from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.training.checked_arguments import chosen_options
from bnsharp_cli.training.closures import LossClosure
from bnsharp_cli.training.displaced_parameters import DisplacedParameters, RandomState
from bnsharp_cli.training.registry import SgdsOptions
from bnsharp_cli.training.rules import REQUIRED, RuleKeywords, Trainable, TrainingRule


class Sgds(TrainingRule):
    """SGD on L + λ · BN-Sharpness^p (Yi et al., Eq. 11), with the direction v searched anew in every step.

    Besides SGD's own memory it needs that of the parameters and one gradient; the exact gradients need that of v too.

    Args:
        params: the network to train; or its ``named_parameters()``, or groups of them, since blocks go by names.
        blocks: which rows are scale-invariant, by the names of the parameters.
        lr: the step size.
        options: the options of the regulariser.
        **more: of :class:`~bnsharp_cli.training.rules.TrainingRule`: momentum, weight_decay, clip_gradient, base, …

    Raises:
        UsageError: an argument that is unknown, of another type or out of range, or the blocks of another network.

    >>> import bnsharp_cli
    >>> _ = torch.manual_seed(0)
    >>> network = nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.Linear(6, 3))
    >>> inputs, targets = torch.randn(8, 4), torch.arange(8) % 3
    >>> blocks = bnsharp_cli.find_blocks(network, [(inputs, targets)])
    >>> rule = Sgds(network, blocks, lr=0.5, options=SgdsOptions(coefficient=0.01))
    >>> losses = [rule.step(lambda: nn.functional.cross_entropy(network(inputs), targets)) for _ in range(2)]
    >>> bool(losses[1] < losses[0])
    True
    """

    of_all_groups = TrainingRule.of_all_groups | {"blocks", "options", *SgdsOptions.__dataclass_fields__}

    def __init__(
        self,
        params: Trainable,
        blocks: Blocks = REQUIRED,
        lr: float = REQUIRED,
        *,
        options: SgdsOptions | None = None,
        **more: Unpack[RuleKeywords],
    ) -> None:
        super().__init__(params, lr, **more)
        self.options = chosen_options(options, SgdsOptions)
        self.batches_per_step = 3 if self.options.regulariser_batches == "independent" else 1
        self.gradients_per_step = self.options.gradients_per_step
        if not isinstance(blocks, Blocks):
            raise UsageError.of_type("blocks", "a Blocks", blocks, "Pass what find_blocks returns.")
        self._blocks = blocks
        self._require_blocks()

    @classmethod
    def from_options(cls, module: nn.Module, options: SgdsOptions, blocks: Callable[[], Blocks], **of_sgd: Any) -> Self:
        """See :meth:`TrainingRule.from_options`."""
        return cls(module, blocks(), options=options, **of_sgd)

    @property
    def coefficient(self) -> float:
        """λ of the present epoch."""
        return self._coefficient_in(self.epochs)

    def gradients_in(self, epoch: int) -> int:
        """See :meth:`TrainingRule.gradients_in`: where λ is 0, the step is that of SGD."""
        return self.gradients_per_step if self._coefficient_in(epoch) else 1

    def _coefficient_in(self, epoch: int) -> float:
        """λ of an epoch; infinite beyond the range of floats."""
        try:
            return self.options.coefficient * self.options.growth**epoch
        except OverflowError:
            return math.inf if self.options.coefficient else 0.0

    def _step(self, closures: list[LossClosure]) -> Tensor:
        if not self.coefficient:
            return super()._step(closures)
        self._require_blocks()
        start = RandomState(self.parameters)
        loss = self._plain_pass(closures[0])
        with DisplacedParameters(self, start) as displaced:
            gradient = displaced.take_gradient()
            rows = {name: self._blocks.rows[name] for name in gradient}
            spheres = Spheres.around(displaced.origin, rows, self._blocks.relative)
            segment = _Segment(displaced, spheres, gradient, float(loss), self.options)
            segment.search(closures[0])
            if self.options.exact:
                regulariser = segment.gradient_of_integral(closures[0])
            elif self.options.regulariser_batches == "independent":
                displaced.use_new_random_numbers()
                regulariser = segment.equation_15(*closures[1:])
            else:
                regulariser = segment.equation_15(closures[0], closures[0])
            self._clip(regulariser)
            displaced.give_gradient({name: tensor.add_(regulariser.pop(name)) for name, tensor in gradient.items()})
        self._descend()
        return loss

    def _require_blocks(self) -> None:
        """Refuse parameters that the blocks say nothing of."""
        unknown = [name for name in self.trained if name not in self._blocks.rows]
        if unknown:
            raise UsageError(
                f"{named('blocks')}: nothing is known of {unknown[0]}.",
                "Find the blocks of the same network, and train it, or its named_parameters().",
                argument="blocks",
                expected="the blocks of every parameter that is trained",
                found=unknown,
            )

    def _clip(self, regulariser: Point) -> None:
        """Multiply the regulariser's gradient by λ and shorten it to ``regulariser_clip``."""
        length = self.coefficient * norm(regulariser)
        factor = self.coefficient * min(1.0, self.options.regulariser_clip / length if length else 1.0)
        for tensor in regulariser.values():
            tensor.mul_(factor)


class _Segment:
    """The segment θ + tv, |t| ≤ δ, on it F(v) = δ⁻¹ ∫_{−δ}^{δ} |ΔL(t)/δ|^p dt, and the gradients of F.

    To save memory, v is not kept while a pass runs at θ + d; it is recovered from the moved parameters.

    Args:
        displaced: computes gradients at other parameters.
        spheres: φ(θ).
        gradient: ∇L(θ).
        loss: L(θ).
        options: the options of the regulariser.
    """

    def __init__(
        self, displaced: DisplacedParameters, spheres: Spheres, gradient: Point, loss: float, options: SgdsOptions
    ) -> None:
        self._displaced, self._spheres, self._gradient = displaced, spheres, gradient
        self._loss, self._options = loss, options
        self._direction: Mapping[str, Tensor] = spheres.direction_along(gradient)

    def search(self, closure: LossClosure) -> None:
        """Begin with v of Eq. (6), then take K₁ steps of the power method, with two nodes as the measure's search."""
        node = float(gradient_nodes(self._options.power, 2)[0][1])
        scale = 1 / (self._options.delta * norm(self._gradient) or 1.0)
        for _ in range(self._options.search_steps):
            self._move_along(node)
            self._add(closure, 1.0, scale)
            self._displaced.mirror()
            self._add(closure, -1.0, scale)
            self._direction = self._spheres.direction_along(self._displaced.take_gradient())

    def equation_15(self, ahead: LossClosure, behind: LossClosure) -> Vector:
        """Eq. (15) over λ: δ⁻¹ (∇L·v)^{p−1} [∇L(θ + rδv) − ∇L(θ − rδv)], r = p/(p+1); + and − 2∇L as printed."""
        power = self._options.power
        slope = sum(  # torch.dot takes no memory, and autocast does not touch it
            float(torch.dot(self._gradient[name].flatten(), v.flatten())) for name, v in self._direction.items()
        )
        factor = slope ** (power - 1) / self._options.delta
        printed = self._options.regulariser_gradient == "printed"
        self._move_along(power / (power + 1))
        self._displaced.add_gradient(ahead, lambda _: factor)
        self._displaced.mirror()
        self._displaced.add_gradient(behind, lambda _: factor if printed else -factor)
        found = self._displaced.take_gradient()
        if printed:
            for name, tensor in found.items():
                tensor.add_(self._gradient[name], alpha=-2 * factor)
        return found

    def gradient_of_integral(self, closure: LossClosure) -> Vector:
        """∇_θ F by Gauss nodes: at fixed v, and for ``exact-total`` with ∂v/∂θ, (u_i · ∇_{v_i}F) θ_i/‖θ_i‖."""
        delta = self._options.delta
        direction = {name: v.clone() for name, v in self._direction.items()}
        total, radial = 0.0, torch.zeros_like(self._spheres.radii)
        so_far = torch.zeros_like(radial)
        for node, weight in zip(*np.polynomial.legendre.leggauss(self._options.nodes), strict=True):
            self._displaced.displace(direction, delta * float(node))
            total += self._add(closure, float(weight) * self._options.power / delta, 1 / delta)
            sums = self._spheres.inner(direction, self._displaced.gradient())
            radial += delta * float(node) * (sums - so_far)
            so_far = sums
        found = self._displaced.take_gradient()
        for name, tensor in found.items():
            tensor.add_(self._gradient[name], alpha=-total)
        if self._options.regulariser_gradient == "exact-total":
            for name, tensor in self._moving(radial).items():
                found[name] += tensor
        return found

    def _moving(self, radial: Tensor) -> Point:
        """Σ_i (v_i · ∇_{v_i}F) θ_i/‖θ_i‖² over the blocks whose v_i grows with θ_i."""
        squares = self._spheres.radii.square()
        shares = torch.where(squares > 0, radial / squares, 0.0)
        shares[-1] = 0.0
        return self._spheres.scale(self._displaced.origin, shares)

    def _move_along(self, part: float) -> None:
        """Move to θ + part · δ v and forget v."""
        self._displaced.displace(self._direction, part * self._options.delta)
        self._direction = {}

    def _add(self, closure: LossClosure, factor: float, scale: float) -> float:
        """Add factor · (scale · ΔL)^{p−1} ∇L at the present parameters to ``.grad``; returns the factor of ∇L."""
        used = []

        def weight(loss: float) -> float:
            used.append(factor * (scale * (loss - self._loss)) ** (self._options.power - 1))
            return used[0]

        self._displaced.add_gradient(closure, weight)
        return used[0]
