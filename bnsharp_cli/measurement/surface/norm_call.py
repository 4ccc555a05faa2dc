"""One call of a norm, and its slots: the sets of numbers that are each normalised by a statistic of their own.

A slot is a channel for batch norm, a sample's channel for instance norm, a sample's group of channels for group norm,
and the last dimensions at one position for layer and rms norm: a head at one place in a sequence, for example. ε is
added once a slot, so what a copy T_a(θ) does to ε is a number a slot too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

_CONSTANT = 1e-5
"""A size below this share of the mean is rounding: 1e-16 / 1e-5 is too near the 1e-10 that the probe resolves."""

_SAME = 1e-9

_LAST_BITS = 16
"""More units in the last place than a sum loses, so that few trials meet what rounding does only now and then."""


@dataclass(frozen=True)
class NormCall:
    """One call of a norm during one forward.

    Attributes:
        kind: batch, instance, group, layer or rms.
        arguments: by the names of ``torch.nn.functional``.
        running_mean: the name of the buffer of running means, or an empty string.
        running_var: the name of that buffer, or an empty string.
        owner: the module whose parameters or buffers the norm uses, or an empty string.
    """

    kind: str
    arguments: dict[str, Any]
    running_mean: str = ""
    running_var: str = ""
    owner: str = ""

    @property
    def input(self) -> Tensor:
        """What is normalised, (N, C, …) or (…, *normalized_shape)."""
        return cast(Tensor, self.arguments["input"])

    @property
    def epsilon(self) -> float:
        """ε as the module has it; an rms norm without one uses the unit of float32."""
        epsilon = self.arguments["eps"]
        return torch.finfo(torch.float32).eps if epsilon is None else float(epsilon)

    def slots(self) -> Tensor:
        """The numbers of each slot: (C, ·), (N, C, ·), (N, G, ·) or (…, ·)."""
        x = self.input
        if self.kind == "batch":
            return x.movedim(1, 0).flatten(1)
        if self.kind == "instance":
            return x.flatten(2)
        if self.kind == "group":
            return x.reshape(len(x), self.arguments["num_groups"], -1)
        return x.flatten(-len(self.arguments["normalized_shape"]))

    def over_input(self, per_slot: Tensor) -> Tensor:
        """A number for each slot, shaped to be broadcast over the input."""
        x = self.input
        if self.kind == "batch":
            return per_slot.reshape(1, -1, *[1] * (x.ndim - 2))
        if self.kind == "group":
            per_slot = per_slot.repeat_interleave(x.shape[1] // self.arguments["num_groups"], dim=-1)
        return per_slot.reshape(*per_slot.shape, *[1] * (x.ndim - per_slot.ndim))

    def neutral_statistics(self) -> dict[str, Tensor]:
        """Running statistics under which a batch norm changes its input by γ and β alone: mean 0 and variance 1."""
        zeros = self.input.new_zeros(self.input.shape[1])
        return {"running_mean": zeros, "running_var": zeros + 1}

    def moments(self) -> Moments:
        """Mean and size of each slot."""
        slots = self.slots().detach()
        if self.kind == "rms":
            size = slots.square().mean(-1).sqrt()
            return Moments(self, torch.zeros_like(size), size)
        return Moments(self, slots.mean(-1), slots.std(-1, correction=0))

    def cleaned(self) -> Tensor:
        """The input without what its norm removes: centred, and zero where nothing but rounding would be left.

        A norm of this is the norm of the input, and so is its gradient. But products with weights no longer carry the
        rounding of a mean that is a thousand times the spread, and a constant slot, which is its bias after the norm,
        is that without rounding errors divided by ε.
        """
        moments = self.moments()
        centred = self.input if self.kind == "rms" else self.input - self.over_input(moments.mean)
        silent = ~moments.resolved()
        return centred.masked_fill(self.over_input(silent), 0.0) if bool(silent.any()) else centred

    def with_last_bits(self, seed: int) -> Tensor:
        """The input with the last bits of every number of a drowned slot moved at random; drawn on the CPU."""
        drowned = self.over_input(self.moments().drowned())
        if not bool(drowned.any()):
            return self.input
        generator = torch.Generator().manual_seed(seed)
        signs = (torch.rand(self.input.shape, generator=generator) < 0.5).to(self.input).mul_(2).sub_(1)
        return torch.where(
            drowned, self.input * (1 + _LAST_BITS * torch.finfo(self.input.dtype).eps * signs), self.input
        )


@dataclass(frozen=True)
class Moments:
    """Mean and size of each slot of a norm's input.

    Attributes:
        call: the call of the norm.
        mean: zero for an rms norm, which does not remove it.
        size: standard deviation, or root mean square for an rms norm.
    """

    call: NormCall
    mean: Tensor
    size: Tensor

    def resolved(self) -> Tensor:
        """Whether each size is more than the rounding of the mean."""
        return self.size > _CONSTANT * self.mean.abs()

    def drowned(self) -> Tensor:
        """Whether each size is lost beside a mean that is not zero."""
        return ~self.resolved() & (self.mean != 0)


def same_for_all_samples(call: NormCall, per_slot: Tensor) -> Tensor | None:
    """A number for each slot, known on a few samples, as one for every sample; None if it differs between samples.

    NaN means unknown: the other samples decide, and where all are unknown it is 1. Dimensions of a layer or rms norm's
    slots along which the number is the same have length one in the answer, so that it fits sequences of any length.
    """
    if call.kind == "batch":
        return per_slot.nan_to_num(1.0)
    per_slot = per_slot.contiguous()  # of expanded tensors torch 2.15 returns medians that are none of their entries
    along = (0,) if call.kind in {"instance", "group"} else range(per_slot.ndim)
    for dimension in along:
        known = per_slot.nanmedian(dimension, keepdim=True).values
        if not bool(((per_slot - known).abs() > _SAME * known.abs()).any()):
            per_slot = known
        elif dimension == 0:
            return None
    return per_slot.nan_to_num(1.0)
