"""A probe of a network: outputs, gradients and norms on a few samples, in float64 and without ε."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bnsharp_cli.core.point import Point, random_normal
from bnsharp_cli.core.spheres import broadcast_over_rows
from bnsharp_cli.errors import NotMeasurableError, UsageError
from bnsharp_cli.measurement.blocks.search_memory import Findings, SearchMemory
from bnsharp_cli.measurement.surface.code_switches import dense
from bnsharp_cli.measurement.surface.cost import BACKWARD, FORWARD
from bnsharp_cli.measurement.surface.foreign_errors import NO_GRADIENT, accepting
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.norm_call import Moments
from bnsharp_cli.measurement.surface.norms import NormTreatment
from bnsharp_cli.measurement.surface.recomputation import outputs_with_whole_graph
from bnsharp_cli.measurement.surface.surface_state import FEW
from bnsharp_cli.measurement.surface.tensor_trees import TensorTree

PROBE_EPSILON = 1e-24
"""What replaces the norms' ε, which is all that breaks exact invariance in float64."""

_TINY = 1e-3
_AGREEMENT = 1e-8
_CASTS = {"long", "int", "short", "char", "byte", "to", "type", "type_as"}


@dataclass(frozen=True)
class ProbeLocation:
    """A point and inputs at which a probe evaluates the network.

    Attributes:
        point: the parameters.
        inputs: a few samples, a tensor or a tree of tensors.
        targets: theirs, for a loss that reads the network besides its outputs; None for any other loss.
        findings: what was found out there so far.
    """

    point: Point
    inputs: Tensor
    targets: Tensor | None = None
    findings: Findings = field(default_factory=Findings, compare=False)


@dataclass(frozen=True)
class Probe:
    """A network in float64 and without ε, evaluated at the user's point on a few samples and at a generic location.

    The generic location has random weights and, where the network takes them, random inputs. A unit that is dead at the
    user's point, a row behind a zero γ, or one that sees a constant channel has a gradient there and can be judged.

    Attributes:
        surface: computes in float64 with batch statistics.
        locations: the user's, and the generic one if the network gives finite outputs there.
    """

    surface: LossSurface
    locations: tuple[ProbeLocation, ...]

    @classmethod
    def of(cls, surface: LossSurface, point: Point, seed: int = 0, memory: SearchMemory | None = None) -> Probe:
        """A probe of ``surface`` at ``point`` on the first inputs of its first batch, with batch statistics.

        Args:
            surface: of the network.
            point: the user's.
            seed: of the generic location.
            memory: what was found at generic locations before.
        """
        treatment = NormTreatment(batch_statistics=True, epsilon=PROBE_EPSILON)
        bare = surface.in_precision(torch.float64).with_norms(treatment=treatment)
        lifted = {name: _lifted(tensor) for name, tensor in point.items()}
        users = _users_location(bare, lifted)
        with _IntegerCasts() as casts:
            cls(bare, (users,)).before(users)
        generator = torch.Generator().manual_seed(seed)
        weights = _generic(users.point, generator)
        noise = [] if casts.seen or not users.inputs.is_floating_point() else [_noise(users.inputs, generator)]
        for inputs in (*noise, users.inputs):
            generic = ProbeLocation(weights, inputs, users.targets)
            if cls(bare, (generic,))._works():
                known = (memory or SearchMemory()).findings(bare, weights, (inputs, users.targets), generic.findings)
                return cls(bare, (users, replace(generic, findings=known)))
        return cls(bare, (users,))

    def samples(self, at_once: int) -> Iterator[ProbeLocation]:
        """All samples of the surface, a few at a time, at the last location's parameters, then at the first one's.

        Both, because parameters may decide which samples use a row, as those of a gate before several experts do.
        """
        numbers = itertools.count()
        for other in self.locations[::-1]:
            for inputs, labels in self.surface.batches:
                self.surface.progress.reach(next(numbers))
                whole = not self.surface.conduct.parts or (other.targets is not None and len(other.targets) > FEW)
                size = len(inputs) if whole else at_once
                for first in range(0, len(inputs), size):
                    part = slice(first, first + size)
                    yield ProbeLocation(other.point, inputs[part], None if other.targets is None else labels[part])

    def before(self, location: ProbeLocation) -> list[Tensor]:
        """The outputs at a location; computed once."""
        if not location.findings.outputs:
            location.findings.outputs = self.outputs(location.point, location)
        return location.findings.outputs

    def outputs(self, point: Point, location: ProbeLocation) -> list[Tensor]:
        """The outputs at ``point`` for a location's inputs, without gradient."""
        with torch.no_grad():
            outputs = _outputs(self.surface, point, location)
        self.surface.progress.passed(FORWARD)
        return outputs

    def gradients(
        self, location: ProbeLocation, count: int, seed: int = 0, only: Collection[str] = ()
    ) -> Iterable[Point]:
        """∂⟨f, c⟩/∂θ for ``count`` random cotangents c, one after the other.

        Args:
            location: where.
            count: how many.
            seed: the seed of the cotangents.
            only: names of the tensors whose gradients are wanted; all where it is empty.

        Raises:
            NotMeasurableError: the network recomputes its activations in the backward pass, or that pass fails.
        """
        generator = torch.Generator().manual_seed(seed)
        wanted = only or location.point
        leaves = {name: t.detach().clone().requires_grad_() for name, t in location.point.items() if name in wanted}
        inputs = location.inputs.detach().requires_grad_(location.inputs.is_floating_point()).clone()
        there = replace(location, inputs=inputs)
        outputs = outputs_with_whole_graph(lambda: _outputs(self.surface, {**location.point, **leaves}, there))
        outputs = [output for output in outputs if output.requires_grad]
        if not outputs and self.surface.constants():  # these samples do not use the few parameters that are varied
            yield from [{name: torch.zeros_like(leaf) for name, leaf in leaves.items()}] * count
            return
        self.surface.progress.passed(FORWARD)
        for _ in range(count):
            cotangents = [
                torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.device)
                for output in outputs
            ]
            self.surface.counter.tried(len(inputs), backward=1)
            with accepting("The network cannot be differentiated", NO_GRADIENT):
                gradients = torch.autograd.grad(
                    outputs, list(leaves.values()), cotangents, retain_graph=True, materialize_grads=True
                )
            self.surface.progress.passed(BACKWARD)
            yield dict(zip(leaves, dense(gradients), strict=True))

    def unchanged(self, transform: Callable[[Point], Point], question: Hashable = None) -> bool:
        """Whether ``transform`` of the parameters changes no output at any location by more than rounding.

        Args:
            transform: of a point.
            question: all that decides ``transform``, so that what is known of a location is not computed again; None
                where the answer is not kept.
        """
        return all(self._unchanged_at(location, transform, question) for location in self.locations)

    def _unchanged_at(self, location: ProbeLocation, transform: Callable[[Point], Point], question: Hashable) -> bool:
        def compute() -> bool:
            before, after = self.before(location), self.outputs(transform(location.point), location)
            return all(
                bool((one - other).abs().max() <= _AGREEMENT * one.abs().max())
                for one, other in zip(before, after, strict=True)
            )

        return compute() if question is None else location.findings.answered(question, compute)

    def moments(
        self, location: ProbeLocation, transform: Callable[[Point], Point] = lambda point: point
    ) -> list[Moments]:
        """What each norm saw at ``location`` after ``transform`` of its parameters."""
        return norm_moments(self.surface, transform(location.point), location.inputs)

    def _works(self) -> bool:
        try:
            found = [self.before(location) for location in self.locations]
            return all(bool(torch.isfinite(output).all()) for outputs in found for output in outputs)
        except NotMeasurableError:
            return False


def _outputs(surface: LossSurface, point: Point, location: ProbeLocation) -> list[Tensor]:
    """The network's outputs, and the loss where it reads the network besides them."""
    if location.targets is None:
        return surface.outputs(point, location.inputs)
    outputs, loss = surface.outputs_and_loss(point, (location.inputs, location.targets))
    return [*outputs, loss]


def _users_location(surface: LossSurface, point: Point) -> ProbeLocation:
    """The first samples, or the whole first batch where the network or a loss of it does not take a part."""
    inputs, targets = surface.batches[0]
    few = ProbeLocation(point, surface.few_inputs())
    if not surface.loss_reads_network:
        return few
    if not surface.conduct.parts or len(inputs) != len(targets):
        return ProbeLocation(point, inputs, targets)
    few = replace(few, targets=targets[:FEW])
    try:
        with torch.no_grad():
            _outputs(surface, point, few)
    except (NotMeasurableError, UsageError):
        return ProbeLocation(point, inputs, targets)
    return few


def norm_moments(surface: LossSurface, point: Point, inputs: Tensor) -> list[Moments]:
    """The moments of the input of each norm call, in order."""
    seen: list[Moments] = []
    with torch.no_grad():
        surface.outputs(point, inputs, lambda _, call: seen.append(call.moments()))
    return seen


def _lifted(tensor: Tensor) -> Tensor:
    """``tensor`` with rows of almost no norm scaled to the median one.

    Beside such rows the probe's ε is not small, and whether a row is scale-invariant does not depend on its scale.
    """
    if tensor.ndim < 2 or not tensor.numel():
        return tensor
    norms = tensor.flatten(1).norm(dim=1)
    tiny = (norms > 0) & (norms < _TINY * norms.median())
    return tensor * broadcast_over_rows(
        torch.where(tiny, norms.median() / norms, torch.ones_like(norms)), 0, tensor.ndim
    )


def _generic(point: Point, generator: torch.Generator) -> Point:
    """Weights of the usual initial size; vectors above ½, so that no unit behind a norm is dead, and no γ zero."""
    noise = random_normal(point, generator, rough=True)
    return {
        name: noise[name] * math.sqrt(2 / max(1, tensor.shape[1:].numel()))
        if tensor.ndim > 1
        else (noise[name].abs() + 1) / 2
        for name, tensor in point.items()
    }


def _noise(inputs: Any, generator: torch.Generator) -> Any:
    """Noise shaped like ``inputs``, a tensor or a tree; whole numbers, which may be indices, stay as they are."""
    if isinstance(inputs, TensorTree):
        return inputs.mapped(lambda tensor: _noise(tensor, generator))
    if not inputs.is_floating_point():
        return inputs
    return torch.randn(inputs.shape, generator=generator, dtype=torch.float64).to(inputs)


class _IntegerCasts(TorchFunctionMode):
    """Notices floating tensors that are cast to whole numbers: they may be indices, which noise must not replace.

    Attributes:
        seen: whether there was such a cast.
    """

    seen = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function; record casts from floating to whole numbers."""
        del types
        returned = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in _CASTS and isinstance(returned, Tensor):
            whole = not returned.is_floating_point() and returned.dtype != torch.bool
            self.seen |= whole and bool(args[0].is_floating_point())
        return returned
