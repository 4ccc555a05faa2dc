"""Copies of one network by every kind of rescaling that changes nothing it computes, each confirmed by its outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.rescale import random_factors, uniform_factors
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.probe import Probe
from bnsharp_cli.measurement.invariance.balanced import balanced_sets
from bnsharp_cli.measurement.invariance.balancing import Balancing
from bnsharp_cli.measurement.invariance.copies import Copier, RescaledCopy
from bnsharp_cli.measurement.invariance.options import PLANNED_COPIES
from bnsharp_cli.measurement.measures.survival import Rescaling
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

_SAME_LOSS = 1e-9
"""In float64 the losses of a copy and of the original differ by less, relative to 1 + |L|."""

_DECADES = {Rescaling.T_A: 2.0, Rescaling.NEURON: 1.0, Rescaling.ATTENTION: 1.0}
"""Random factors lie in [10^−d, 10^d]."""

_NONE_FOUND = {
    Rescaling.T_A: "no weight is followed by a norm",
    Rescaling.NORM: "no (γ, β) is followed by another norm",
    Rescaling.CLASSIFIER: "none found",
    Rescaling.LAYER: "none found",
    Rescaling.NEURON: "none found",
}
"""What is said of a kind that was not found; of attention nothing, since most networks have none."""


@dataclass(frozen=True)
class FunctionCopy:
    """A copy of a network that computes the same.

    Attributes:
        kind: of the rescaling.
        scale: the factor, or None where it differs from row to row.
        rescaled: the copy.
        loss: L of it, in float64.
        loss_drift: |L of the copy − L(θ)|.
        tensors: the names of the tensors that are rescaled.
    """

    kind: Rescaling
    scale: float | None
    rescaled: RescaledCopy
    loss: float
    loss_drift: float
    tensors: tuple[str, ...]

    @property
    def name(self) -> str:
        """What was done, in short."""
        return self.rescaled.name

    def surface(self, stored_epsilon: bool) -> LossSurface:
        """L of it, with ε per channel or as stored."""
        return self.rescaled.stored if stored_epsilon else self.rescaled.exact

    def to_dict(self) -> dict[str, object]:
        """Plain containers, as in the JSON schema ``bnsharp/1``."""
        return {
            "name": self.name,
            "kind": self.kind.value,
            "scale": self.scale,
            "loss": self.loss,
            "loss_drift": self.loss_drift,
            "tensors": list(self.tensors),
        }


@dataclass(frozen=True)
class FunctionCopies:
    """The copies of a network, and which rescalings it does not have.

    Attributes:
        copies: each computes what the network computes.
        missing: why there is no copy, by kind of rescaling.
    """

    copies: tuple[FunctionCopy, ...]
    missing: Mapping[Rescaling, str]


@dataclass
class CopyMaker:
    """Makes the copies.

    Attributes:
        surface: L.
        point: θ.
        blocks: the paper's partition.
        extended: the extended partition.
        seed: of random factors.
        stored_epsilon: keep every ε as stored; then T_a is not exact, and copies are kept whatever they compute.
    """

    surface: LossSurface
    point: Point
    blocks: Blocks
    extended: Blocks
    seed: int = 0
    stored_epsilon: bool = False
    _missing: dict[Rescaling, str] = field(default_factory=dict)

    def copies(self) -> FunctionCopies:
        """Every copy that is the same function.

        Raises:
            NotMeasurableError: there is none.
        """
        precise = self.surface.in_precision(torch.float64)
        loss, copier = precise.value(self.point), Copier(self.surface, self.point, self.blocks)
        found = []
        for kind, partition, named_factors, tensors in self._plan():
            for name, scale, factors in named_factors:
                rescaled = copier.by(partition).copy(name, factors)
                one = self._measured(kind, scale, rescaled, loss, tensors)
                if self.stored_epsilon or self._same(one, loss):
                    found.append(one)
                else:
                    self._missing[kind] = "found, but a copy would compute something else: the ε of a norm stays"
        if not found:
            raise NotMeasurableError(
                "No rescaling was found that leaves unchanged what the network computes.",
                "There is nothing to compare with. Measure its sharpness without the test.",
                argument="model",
                expected="a network with norms, with attention, or with ReLUs between its layers",
                found="none of the known rescalings",
            )
        there = {one.kind for one in found}
        missing = {kind: why for kind, why in {**_NONE_FOUND, **self._missing}.items() if kind not in there}
        return FunctionCopies(tuple(found), missing)

    def _plan(self) -> Iterator[tuple[Rescaling, Blocks, Sequence[tuple[str, float | None, Tensor]], tuple[str, ...]]]:
        """Each kind with its partition, the names, scales and factors of its copies, and what they rescale."""
        if self.blocks.invariant:
            yield Rescaling.T_A, self.blocks, self._of_blocks(Rescaling.T_A, self.blocks), tuple(self.blocks.layers())
        if self.extended.joint:
            names = tuple(dict.fromkeys(name for names in self.extended.joint.values() for name in names))
            yield (
                Rescaling.NORM,
                self.extended,
                self._of_blocks(Rescaling.NORM, self.extended, [*self.extended.joint]),
                names,
            )
        for kind, balancing in self._balancings():
            factors = [
                (name, scale, balancing.factors(self._scales(kind, scale, balancing.count)))
                for name, scale in PLANNED_COPIES[kind].items()
            ]
            yield kind, balancing.blocks, factors, balancing.names

    def _balancings(self) -> Iterator[tuple[Rescaling, Balancing]]:
        sets = balanced_sets(Probe.of(self.surface, self.point))
        for kind in (Rescaling.CLASSIFIER, Rescaling.LAYER, Rescaling.NEURON, Rescaling.ATTENTION):
            own = [one for one in sets if one.kind == kind]
            if own:
                yield kind, Balancing.of(own, self.point)

    def _of_blocks(
        self, kind: Rescaling, blocks: Blocks, only: Sequence[int] | None = None
    ) -> list[tuple[str, float | None, Tensor]]:
        """Factors for the invariant blocks of a partition, or for some of them."""
        planned = []
        for name, scale in PLANNED_COPIES[kind].items():
            factors = torch.ones(blocks.invariant + 1, dtype=torch.float64)
            chosen = torch.arange(blocks.invariant) if only is None else torch.tensor(only)
            factors[chosen] = self._scales(kind, scale, len(chosen))
            planned.append((name, scale, factors))
        return planned

    def _scales(self, kind: Rescaling, scale: float | None, count: int) -> Tensor:
        if scale is not None:
            return uniform_factors(count, scale)[:-1]
        return random_factors(count, _DECADES[kind], torch.Generator().manual_seed(self.seed))[:-1]

    def _measured(
        self, kind: Rescaling, scale: float | None, rescaled: RescaledCopy, loss: float, tensors: tuple[str, ...]
    ) -> FunctionCopy:
        surface = rescaled.stored if self.stored_epsilon else rescaled.exact
        own = surface.in_precision(torch.float64).value(rescaled.point)
        return FunctionCopy(kind, scale, rescaled, own, abs(own - loss), tensors)

    def _same(self, one: FunctionCopy, loss: float) -> bool:
        return one.rescaled.is_exact and one.loss_drift <= _SAME_LOSS * (1 + abs(loss))
