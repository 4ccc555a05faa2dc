"""Copies of a network under the scale transformation T_a: the same function at another point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.rescale import rescaled_mean, rescaled_variance
from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.measurement.blocks import Blocks
from bnsharp_cli.measurement.norms import NormCall
from bnsharp_cli.measurement.probe import Probe
from bnsharp_cli.measurement.surface import LossSurface

_CONSTANT = 1e-6
"""A channel whose standard deviation is below this share of its mean tells no ratio; the generic point does."""


@dataclass(frozen=True)
class Copy:
    """T_a of a network.

    Attributes:
        name: which a.
        point: T_a(θ).
        exact: the surface with transformed running statistics and ε per channel, on which T_a changes nothing.
        stored: the same with ε as stored in the modules, as a plain state_dict can hold it.
    """

    name: str
    point: Point
    exact: LossSurface
    stored: LossSurface

    def norm_epsilon(self) -> list[Tensor]:
        """ε per channel of each norm call, a_c² ε."""
        calls = [call for call, _, _ in Probe.of(self.exact, self.point).moments(self.point)]
        scales = self.exact.treatment.input_scales
        return [scale.square() * _epsilon(call) for scale, call in zip(scales, calls, strict=True)]


class Copier:
    """Makes copies of one network; needs no knowledge of its structure.

    What a norm's input is scaled by is read off its moments before and after T_a, in float64 without ε: their ratio is
    the channel's scale s, and mean after − s · mean before is (1 − s) b, b the bias before the norm.
    """

    def __init__(self, surface: LossSurface, point: Point, blocks: Blocks) -> None:
        self._surface = surface
        self._point = point
        self._ones = Spheres(blocks.rows, torch.ones(blocks.invariant + 1, dtype=torch.float64))
        self._probe = Probe.of(surface, point)
        self._before = [self._probe.moments(at) for at in self._probe.points]

    def copy(self, name: str, factors: Tensor) -> Copy:
        """T_a with ``factors``, (blocks + 1,)."""
        point = self.scaled(factors)
        own_after = self._probe.moments(self._ones.scale(self._probe.points[0], factors))
        generic_after = self._probe.moments(self._ones.scale(self._probe.points[-1], factors))
        scales, buffers = [], dict(self._surface.buffers)
        for before, after, generic, generic_scaled in zip(
            self._before[0], own_after, self._before[-1], generic_after, strict=True
        ):
            scale = _ratio(before, after, generic, generic_scaled)
            scales.append(scale)
            buffers.update(self._running(before[0], scale, before[1], after[1]))
        stored = self._surface.with_norms(buffers=buffers)
        earlier = self._surface.treatment.input_scales or (torch.ones(()),) * len(scales)
        combined = tuple(scale * old.to(scale) for scale, old in zip(scales, earlier, strict=True))
        exact = stored.with_norms(treatment=replace(stored.treatment, input_scales=combined))
        return Copy(name, point, exact, stored)

    def scaled(self, factors: Tensor) -> Point:
        """T_a(θ) alone."""
        return self._ones.scale(self._point, factors.to(next(iter(self._point.values())).device))

    def _running(self, call: NormCall, scale: Tensor, before: Tensor, after: Tensor) -> Mapping[str, Tensor]:
        buffers = self._surface.buffers
        if not call.running_mean or not call.running_var:
            return {}
        mean, variance = buffers[call.running_mean].double(), buffers[call.running_var].double()
        return {
            call.running_mean: rescaled_mean(mean, scale, before, after),
            call.running_var: rescaled_variance(variance, scale),
        }


_Moments = tuple[NormCall, Tensor, Tensor]


def _ratio(before: _Moments, after: _Moments, generic: _Moments, generic_scaled: _Moments) -> Tensor:
    """What each channel of a norm's input was scaled by; 1 where neither point tells."""
    own = after[2] / before[2]
    elsewhere = generic_scaled[2] / generic[2]
    own = torch.where(_varies(before), own, elsewhere)
    return torch.where(torch.isfinite(own) & (own > 0), own, torch.ones_like(own))


def _varies(moments: _Moments) -> Tensor:
    _, mean, std = moments
    return std > _CONSTANT * mean.abs()


def restored_scales(surface: LossSurface, point: Point, epsilon: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The input scales √(ε_c/ε) of a copy that was saved with its ε per channel.

    Raises:
        CheckpointRefusedError: the entries do not fit the network's norms.
    """
    moments = Probe.of(surface, point).moments(point)
    calls = [call for call, _, _ in moments]
    if [entry.shape for entry in epsilon] != [mean.shape for _, mean, _ in moments] or not all(
        bool((entry > 0).all()) for entry in epsilon
    ):
        raise CheckpointRefusedError(
            f"The copy's 'norm_epsilon' has {len(epsilon)} entries that do not fit the network's {len(calls)} norms.",
            "Write the copy again with `bnsharp rescale-test --save-copies`.",
        )
    return tuple((entry.double() / _epsilon(call)).sqrt() for entry, call in zip(epsilon, calls, strict=True))


def _epsilon(call: NormCall) -> float:
    """ε as the module has it; an rms norm without one uses the unit of its arithmetic."""
    epsilon = call.arguments["eps"]
    return torch.finfo(torch.float32).eps if epsilon is None else float(epsilon)
