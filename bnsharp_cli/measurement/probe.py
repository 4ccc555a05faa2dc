"""Euler's theorem as a probe: which parameters are scale-invariant, whatever the code of the model looks like."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point, random_normal
from bnsharp_cli.core.spheres import along
from bnsharp_cli.measurement.norms import NormCall, NormTreatment, input_moments
from bnsharp_cli.measurement.surface import LossSurface

PROBE_EPSILON = 1e-24
"""What replaces the norms' ε, which is all that breaks exact invariance in float64."""

INVARIANT = 1e-10
"""Normalised Euler products below this are zero: invariant rows lie below 1e-14, the others above 1e-7."""

UNRESOLVED = 1e-12
"""Relative size of ‖θ_i‖‖∂f/∂θ_i‖ below which a row says nothing."""

_SAMPLES = 8
_TINY = 1e-3
_COTANGENTS = 2
_AGREEMENT = 1e-8


@dataclass(frozen=True)
class Evidence:
    """Inner products for one slice of parameters, one entry per cotangent and row: (cotangents, rows).

    Attributes:
        products: ⟨θ_i, ∂f/∂θ_i⟩.
        sizes: ‖θ_i‖² and ‖∂f/∂θ_i‖², stacked: (2, cotangents, rows).
    """

    products: Tensor
    sizes: Tensor

    def grouped(self, groups: int) -> Evidence:
        """The evidence for ``groups`` joint sets of consecutive rows."""
        count = self.products.shape[-1]
        shape = (groups, count // groups)
        return Evidence(
            self.products.reshape(*self.products.shape[:-1], *shape).sum(-1),
            self.sizes.reshape(*self.sizes.shape[:-1], *shape).sum(-1),
        )

    def __add__(self, other: Evidence) -> Evidence:
        return Evidence(self.products + other.products, self.sizes + other.sizes)

    def magnitude(self) -> Tensor:
        """‖θ_i‖‖∂f/∂θ_i‖, (cotangents, rows)."""
        return self.sizes.prod(dim=0).sqrt()


@dataclass(frozen=True)
class Probe:
    """A float64 surface without ε, a few inputs, the user's point and a generic one.

    The generic point has random weights: there a unit that is dead at the user's point, or a row behind a zero γ,
    has a gradient and can be settled.
    """

    surface: LossSurface
    inputs: Tensor
    points: tuple[Point, ...]

    @classmethod
    def of(cls, surface: LossSurface, point: Point, seed: int = 0) -> Probe:
        """A probe of ``surface`` at ``point`` on the first inputs of its first batch, with batch statistics."""
        treatment = NormTreatment(batch_statistics=True, epsilon=PROBE_EPSILON)
        bare = surface.in_precision(torch.float64).with_norms(treatment=treatment)
        inputs = surface.batches[0][0][:_SAMPLES]
        point = {name: _lifted(tensor) for name, tensor in point.items()}
        probe = cls(bare, inputs, (point,))
        generic = _generic(point, torch.Generator().manual_seed(seed))
        finite = all(bool(torch.isfinite(output).all()) for output in probe.outputs(generic))
        return cls(bare, inputs, (point, generic)) if finite else probe

    def outputs(self, point: Point) -> list[Tensor]:
        """The outputs at ``point``, without gradient."""
        with torch.no_grad():
            return self.surface.outputs(point, self.inputs)

    def gradients(self, point: Point, count: int, seed: int = 0, only: Collection[str] = ()) -> Iterable[Point]:
        """∂⟨f, c⟩/∂θ for ``count`` random cotangents c, one after the other; of ``only`` some tensors, if any."""
        generator = torch.Generator().manual_seed(seed)
        wanted = only or point
        leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in point.items() if name in wanted}
        outputs = [output for output in self.surface.outputs({**point, **leaves}, self.inputs) if output.requires_grad]
        for _ in range(count if outputs else 0):
            cotangents = [
                torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.device)
                for output in outputs
            ]
            gradients = torch.autograd.grad(
                outputs, list(leaves.values()), cotangents, retain_graph=True, allow_unused=True
            )
            yield {
                name: torch.zeros_like(leaf) if gradient is None else gradient
                for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
            }

    def pairs(self) -> list[tuple[Point, Point]]:
        """(point, gradient) for each point and cotangent."""
        return [(point, gradient) for point in self.points for gradient in self.gradients(point, _COTANGENTS)]

    def unchanged(self, transform: Callable[[Point], Point]) -> bool:
        """Whether ``transform`` of the parameters leaves the outputs alone at every point."""
        for point in self.points:
            for before, after in zip(self.outputs(point), self.outputs(transform(point)), strict=True):
                if not bool((before - after).abs().max() <= _AGREEMENT * before.abs().max()):
                    return False
        return True

    def moments(self, point: Point) -> list[tuple[NormCall, Tensor, Tensor]]:
        """Each norm call at ``point`` with the mean and standard deviation of its input."""
        seen: list[tuple[NormCall, Tensor, Tensor]] = []
        with torch.no_grad():
            self.surface.outputs(point, self.inputs, lambda _, call: seen.append((call, *input_moments(call))))
        return seen


def evidence(pairs: Sequence[tuple[Point, Point]], name: str, axis: int) -> Evidence:
    """The inner products of each slice of ``name`` along ``axis`` with its gradient."""
    products, squares, gradient_squares = [], [], []
    for point, gradient in pairs:
        theta, slope = (_as_rows(vector[name], axis) for vector in (point, gradient))
        products.append((theta * slope).sum(1))
        squares.append(theta.square().sum(1))
        gradient_squares.append(slope.square().sum(1))
    return Evidence(torch.stack(products), torch.stack([torch.stack(squares), torch.stack(gradient_squares)]))


def invariant(joint: Evidence, scale: float) -> Tensor:
    """Which sets are scale-invariant: their product vanishes for every cotangent, and for one of them it could not but.

    Args:
        joint: the evidence of the sets.
        scale: the largest ‖θ_i‖‖∂f/∂θ_i‖ of the network.

    Returns:
        (sets,) of bool; a set whose gradient is zero everywhere is not called invariant.
    """
    magnitude = joint.magnitude()
    resolved = magnitude > UNRESOLVED * scale
    vanishes = joint.products.abs() <= INVARIANT * magnitude
    return resolved.any(dim=0) & (vanishes | ~resolved).all(dim=0)


def silent(joint: Evidence, scale: float) -> Tensor:
    """Which sets have no effect on any output, (sets,) of bool."""
    return ~(joint.magnitude() > UNRESOLVED * scale).any(dim=0)


def _as_rows(tensor: Tensor, axis: int) -> Tensor:
    return tensor.reshape(-1, 1) if tensor.ndim < 2 else tensor.movedim(axis, 0).flatten(1)


def _lifted(tensor: Tensor) -> Tensor:
    """Rows of almost no norm, brought to the usual one: ε is not small beside them, and invariance knows no scale."""
    if tensor.ndim < 2:
        return tensor
    norms = tensor.flatten(1).norm(dim=1)
    tiny = (norms > 0) & (norms < _TINY * norms.median())
    return tensor * along(torch.where(tiny, norms.median() / norms, torch.ones_like(norms)), 0, tensor.ndim)


def _generic(point: Point, generator: torch.Generator) -> Point:
    """Weights of the usual initial size; vectors around ½, so that no unit stays dead and no γ zero."""
    noise = random_normal(point, generator)
    return {
        name: noise[name] * math.sqrt(2 / max(1, tensor[0].numel())) if tensor.ndim > 1 else (noise[name] + 1) / 2
        for name, tensor in point.items()
    }
