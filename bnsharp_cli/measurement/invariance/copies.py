"""Copies of a network under the scale transformation T_a: the same function at another point."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point, random_normal
from bnsharp_cli.core.rescale import rescaled_mean, rescaled_variance
from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.errors import CheckpointRefusedError, NotMeasurableError, named
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.probe import Probe, norm_moments
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.norm_call import Moments, same_for_all_samples

_GENTLE = math.log(2.0)
"""The factors are first tried as a power of themselves that lies within [½, 2]. The scale of a norm's input is then the
same power of the wanted scale, and is not lost beside the input's mean or bias."""

_SAME = 1e-9
"""Running statistics that differ by less, relative to the largest, are the same."""

_EXACT = 1e-10
"""Outputs in float64 that differ by less are the same, whatever rounding does."""

_ROUNDINGS = 100.0
"""So many times the effect of a last bit still counts as rounding."""


@dataclass(frozen=True)
class RescaledCopy:
    """T_a of a network.

    Attributes:
        name: names a.
        point: T_a(θ).
        exact: the surface with transformed running statistics and one ε per slot; there T_a does not change the loss.
        stored: the surface with transformed running statistics and ε as the modules store it. A plain state_dict
            cannot say more.
        norm_epsilon: a² ε for every slot of each norm call.
        tied: tensors whose rows do not have each its own a, because no ε and no running statistics would undo that.
            They share the smallest of their factors, or keep their scale if that cannot be undone either.
        is_exact: whether the outputs on ``exact`` are those of the original up to rounding. They are not if the
            network has a norm of its own, whose ε cannot be replaced.
    """

    name: str
    point: Point
    exact: LossSurface
    stored: LossSurface
    norm_epsilon: tuple[Tensor, ...]
    tied: tuple[str, ...] = ()
    is_exact: bool = True


@dataclass(frozen=True)
class _Norms:
    """The effect of T_a on the norms.

    Attributes:
        scales: the scale s of the input of each norm call.
        buffers: the transformed running statistics by name.
    """

    scales: tuple[Tensor, ...]
    buffers: Mapping[str, Tensor]


class Copier:
    """Makes copies of one network without knowing its structure.

    The moments of a norm's input before and after T_a, in float64 and without ε, tell its scale: the ratio of their
    sizes is the scale s of the slot, and (mean after − s · mean before) / (1 − s) is b, the bias before the norm.

    Args:
        surface: L.
        point: θ.
        blocks: which rows scale together.
    """

    def __init__(self, surface: LossSurface, point: Point, blocks: Blocks) -> None:
        self._surface = surface
        self._point = point
        self._probe = Probe.of(surface, point)
        self._before = [self._probe.moments(location) for location in self._probe.locations]
        self._outputs = self._precisely(surface, point)
        self._blocks = blocks

    def by(self, blocks: Blocks) -> Copier:
        """A copier of the same network by another partition."""
        other = copy(self)
        other._blocks = blocks
        return other

    def copy(self, name: str, factors: Tensor) -> RescaledCopy:
        """T_a by ``factors``, (blocks + 1,), as far as it can be exact; see ``RescaledCopy.tied``.

        Raises:
            NotMeasurableError: the network does not give the same outputs twice.
        """
        factors, norms, tied = self._feasible(factors)
        point = self.scaled(factors)
        stored = self._surface.with_norms(buffers={**self._surface.buffers, **norms.buffers})
        earlier = self._surface.treatment.input_scales or (torch.ones(()),) * len(norms.scales)
        combined = tuple(scale * old.to(scale) for scale, old in zip(norms.scales, earlier, strict=True))
        exact = stored.with_norms(treatment=replace(stored.treatment, input_scales=combined))
        calls = [moments.call for moments in self._before[0]]
        epsilon = tuple(scale.square() * call.epsilon for scale, call in zip(combined, calls, strict=True))
        return RescaledCopy(name, point, exact, stored, epsilon, tied, self._agrees(exact, point))

    def scaled(self, factors: Tensor) -> Point:
        """The parameters T_a(θ), without a surface."""
        return self._scale(self._point, factors.to(next(iter(self._point.values())).device))

    def _scale(self, point: Point, factors: Tensor) -> Point:
        return Spheres(self._blocks.rows, torch.ones_like(factors)).scale(point, factors)

    def _feasible(self, factors: Tensor) -> tuple[Tensor, _Norms, tuple[str, ...]]:
        """The factors; or one factor for all layers whose own ones cannot be undone; or none for these layers."""
        norms = self._norms(factors)
        if norms is not None:
            return factors, norms, ()
        layers = {name: own for name, own in self._layers().items() if self._norms(_only(factors, own)) is None}
        own = torch.cat(list(layers.values())) if layers else torch.arange(len(factors) - 1)
        for common in (float(factors[own].min()), 1.0):
            tied = factors.clone()
            tied[own] = common
            norms = self._norms(tied)
            if norms is not None:
                return tied, norms, tuple(layers)
        raise NotMeasurableError(
            "The network does not compute the same twice.",
            "Switch off what is random in its forward pass: dropout as a function needs training=self.training.",
            argument="model",
        )

    def _layers(self) -> dict[str, Tensor]:
        joint = {", ".join(names): torch.tensor([block]) for block, names in self._blocks.joint.items()}
        return {**self._blocks.layers(), **joint}

    def _norms(self, factors: Tensor) -> _Norms | None:
        """What undoes ``factors``; None if neither one ε for all samples nor running statistics can."""
        power = min(1.0, _GENTLE / max(float(factors.log().abs().max()), _GENTLE))
        gentle = partial(self._scale, factors=factors**power)
        after = [self._probe.moments(location, gentle) for location in self._probe.locations]
        ratios = _ratios(self._before[0], after[0])
        if [entry.shape for entry in ratios] == [moments.size.shape for moments in self._before[-1]]:
            elsewhere = _ratios(self._before[-1], after[-1])
            ratios = [torch.where(own.isnan(), other, own) for own, other in zip(ratios, elsewhere, strict=True)]
        scales = []
        buffers: dict[str, Tensor] = {}
        for before, moved, ratio in zip(self._before[0], after[0], ratios, strict=True):
            common = same_for_all_samples(before.call, ratio)
            if common is None:
                return None
            scales.append(common ** (1 / power))
            running = self._running(before, moved, common, scales[-1])
            if not self._surface.treatment.batch_statistics and _contradict(running, buffers):
                return None
            buffers.update(running)
        return _Norms(tuple(scales), buffers)

    def _running(self, before: Moments, after: Moments, ratio: Tensor, scale: Tensor) -> dict[str, Tensor]:
        """The running mean and variance of a norm, by name.

        Args:
            before: moments of its input.
            after: moments of its input when the factors were tried gently.
            ratio: the scale between the two.
            scale: the wanted scale.
        """
        call = before.call
        if not call.running_mean or not call.running_var:
            return {}
        mean, variance = (self._surface.buffers[name].double() for name in (call.running_mean, call.running_var))
        start, end = (moments.mean.reshape(-1, len(mean)).mean(0) for moments in (before, after))
        ratio, scale = ratio.flatten(), scale.flatten()
        bias = torch.where(ratio == 1, 0.0, (end - ratio * start) / (1 - ratio))
        return {
            call.running_mean: rescaled_mean(mean, scale, start, scale * start + (1 - scale) * bias),
            call.running_var: rescaled_variance(variance, scale),
        }

    def _agrees(self, exact: LossSurface, point: Point) -> bool:
        """Whether the outputs are the original's, up to a multiple of what a last bit in each parameter changes."""
        after = self._precisely(exact, point)
        deviation = _deviation(self._outputs, after)
        if deviation <= _EXACT:
            return True
        whole = exact.with_constants(point)
        noise = random_normal(whole, torch.Generator().manual_seed(0), rough=True)
        bit = torch.finfo(torch.float64).eps
        moved = {name: tensor * (1 + bit * noise[name].sign()) for name, tensor in whole.items()}
        return deviation <= _ROUNDINGS * _deviation(after, self._precisely(exact, moved))

    def _precisely(self, surface: LossSurface, point: Point) -> list[Tensor]:
        with torch.no_grad():
            return surface.in_precision(torch.float64).outputs(point, self._probe.locations[0].inputs)


def _ratios(before: list[Moments], after: list[Moments]) -> list[Tensor]:
    """The scale of each slot of each norm; NaN where the slot is constant."""
    return [
        torch.where(own.resolved(), scaled.size / own.size, math.nan) for own, scaled in zip(before, after, strict=True)
    ]


def _only(factors: Tensor, blocks: Tensor) -> Tensor:
    alone = torch.ones_like(factors)
    alone[blocks] = factors[blocks]
    return alone


def _contradict(running: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    """Whether a norm that is called twice would need two different running statistics."""
    return any(
        bool(((tensor - others[name]).abs() > _SAME * tensor.abs().max()).any())
        for name, tensor in running.items()
        if name in others
    )


def _deviation(before: list[Tensor], after: list[Tensor]) -> float:
    """The largest difference, relative to the largest number of its output."""
    sizes = (
        float((new - old).abs().max() / old.abs().max().clamp_min(torch.finfo(old.dtype).tiny))
        for old, new in zip(before, after, strict=True)
    )
    return max(sizes, default=0.0)


def restored_scales(surface: LossSurface, point: Point, epsilon: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The input scales √(ε_c/ε) of a copy that was saved with its ε per slot.

    Raises:
        CheckpointRefusedError: the entries do not fit the network's norms.
    """
    norms = norm_moments(surface, point, surface.few_inputs())
    if len(epsilon) != len(norms) or not all(
        _fits(entry, moments.size) for entry, moments in zip(epsilon, norms, strict=True)
    ):
        raise CheckpointRefusedError(
            f"The copy's 'norm_epsilon' has {len(epsilon)} entries that do not fit the network's {len(norms)} norms.",
            f"Write the copy again with `bnsharp rescale-test {named('save_copies')}`.",
        )
    return tuple((entry.double() / moments.call.epsilon).sqrt() for entry, moments in zip(epsilon, norms, strict=True))


def _fits(entry: Tensor, slots: Tensor) -> bool:
    """Whether ``entry`` is positive and can be broadcast over the slots."""
    lengths = zip(entry.shape, slots.shape, strict=False)
    return entry.ndim == slots.ndim and all(a in {1, b} for a, b in lengths) and bool((entry > 0).all())
