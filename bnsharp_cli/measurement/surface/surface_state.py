"""What a loss surface is made of, and how its batches are computed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Self, TypeVar

import torch
from torch import Tensor, nn

from bnsharp_cli.core.point import LazyPoint, Point
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.conduct import UNREMARKABLE, Conduct
from bnsharp_cli.measurement.surface.cost import FORWARD, Cost, PassCounter
from bnsharp_cli.measurement.surface.data_stream import Batch, Stream
from bnsharp_cli.measurement.surface.execution_plan import ExecutionPlan, ExecutionPlans, choose_plan
from bnsharp_cli.measurement.surface.in_place import InPlaceGuard
from bnsharp_cli.measurement.surface.module_pool import ModulePool
from bnsharp_cli.measurement.surface.narrowing import narrowest_type
from bnsharp_cli.measurement.surface.norms import NormTreatment
from bnsharp_cli.measurement.surface.parameter_choice import ParameterChoice, is_continuous
from bnsharp_cli.measurement.surface.passes import BatchLoss, Passes
from bnsharp_cli.measurement.surface.point_memory import PointMemory
from bnsharp_cli.measurement.surface.processes import ALONE, Processes
from bnsharp_cli.measurement.surface.progress import SILENT_PROGRESS, Progress
from bnsharp_cli.measurement.surface.random_numbers import common_random_numbers, nothing_drawn
from bnsharp_cli.measurement.surface.real_pairs import as_real, widened
from bnsharp_cli.measurement.surface.settings import LayoutSetting
from bnsharp_cli.measurement.surface.stacking import PointsAtOnce
from bnsharp_cli.measurement.surface.threads import map_in_threads

OfBatch = TypeVar("OfBatch")

FEW = 8
"""How many examples of a batch are enough to try a network."""


@dataclass(frozen=True)
class SurfaceState:
    """A network, a criterion and batches, with everything that decides how they are computed.

    Attributes:
        module: a private copy in eval mode.
        criterion: the loss of one batch.
        batches: inputs and targets, on ``device``, or a stream that brings them there.
        buffers: running statistics and the like, as handed to every pass.
        treatment: how norms are computed.
        dtype: the precision in which the network computes.
        counter: counts the passes.
        pool: copies of the module to run on.
        plans: how batches are computed, by precision.
        points_at_once: how many points :meth:`values` stacks.
        guard: keeps the batches from being changed by passes.
        processes: the processes that share the batches; batch i belongs to number i mod their count.
        share: the part of all samples that the batches hold, as which a pass over them counts.
        sizes: the numbers of examples in the batches; None for batches of one size.
        averages: whether the criterion averages over examples, so that batches count by their sizes.
        first: the number of the first batch, among those of the whole surface.
        conduct: what the network does in eval mode.
        choice: the parameters that L is a function of, the others being constants; None for all.
        progress: told of every pass over a batch.
        memory: what is known of one point; see :meth:`remembering`. A surface that is made from this one has none.
    """

    module: nn.Module
    criterion: BatchLoss
    batches: Sequence[Batch]
    buffers: Mapping[str, Tensor]
    treatment: NormTreatment
    dtype: torch.dtype
    counter: PassCounter
    pool: ModulePool
    plans: ExecutionPlans
    points_at_once: PointsAtOnce
    guard: InPlaceGuard
    processes: Processes = ALONE
    share: float = 1.0
    sizes: BatchSizes | None = None
    averages: bool = True
    first: int = 0
    conduct: Conduct = UNREMARKABLE
    choice: ParameterChoice | None = None
    progress: Progress = SILENT_PROGRESS
    memory: PointMemory | None = field(init=False, default=None, repr=False, compare=False)

    def remembering(self, point: Point) -> Self:
        """The same surface, which computes the loss and the gradient at ``point`` once, however often it is asked."""
        same = replace(self)
        object.__setattr__(same, "memory", PointMemory(point))
        return same

    def point(self) -> Point:
        """The module's own parameters, as far as they are varied.

        Each is cast to float64 when it is asked for, so the module must not change.
        """
        constants, parameters = self.constants(), self._parameters()
        varied = {name: tensor for name, tensor in parameters.items() if name not in constants}
        return LazyPoint(varied, lambda name: varied[name].double())

    def with_constants(self, point: Point) -> Point:
        """``point`` with the parameters that are not varied, in the network's order; whole numbers are left out."""
        own, varied = _continuous(self._parameters()), {*point}
        return point if varied >= {*own} else LazyPoint(own, lambda n: point[n] if n in varied else own[n].double())

    @property
    def count(self) -> int:
        """The number of batches."""
        return len(self.batches)

    @property
    def device(self) -> torch.device:
        """The device on which the network computes."""
        return next((parameter.device for parameter in self.module.parameters()), torch.device("cpu"))

    @property
    def holds_all_data(self) -> bool:
        """Whether the batches hold all the data there is, so that there is no sampling error."""
        return self.sizes is not None and self.sizes.whole

    @property
    def weights(self) -> tuple[float, ...]:
        """What the loss of each batch is multiplied by."""
        return self.sizes.weights if self.sizes is not None and self.averages else (1.0,) * self.count

    def with_norms(
        self, *, buffers: Mapping[str, Tensor] | None = None, treatment: NormTreatment | None = None
    ) -> Self:
        """The same surface with other running statistics or another treatment of its norms."""
        return replace(self, buffers=buffers or self.buffers, treatment=treatment or self.treatment)

    def part(self, start: int, stop: int) -> Self:
        """L on the batches ``start`` to ``stop`` − 1 alone."""
        share = self.share * (stop - start) / self.count
        sizes, first = self.sizes and self.sizes.part(start, stop), self.first + start
        return replace(self, batches=self.batches[start:stop], share=share, sizes=sizes, first=first)

    def in_precision(self, dtype: torch.dtype) -> Self:
        """The same surface, the network computed in ``dtype``; in float64 alone where it draws random numbers."""
        return replace(self, dtype=torch.float64 if self.conduct.draws else dtype)

    def with_conduct(self, conduct: Conduct) -> Self:
        """The same surface of a network of which ``conduct`` is known."""
        return replace(self, conduct=conduct, dtype=torch.float64 if conduct.draws else self.dtype)

    def few_inputs(self) -> Tensor:
        """The inputs of a few examples of the first batch, or of the whole batch where a part means something else."""
        inputs = self.batches[0][0]
        return inputs[:FEW] if self.conduct.parts else inputs

    def plan(self) -> ExecutionPlan:
        """How this surface computes its batches in this precision; chosen once, on a few examples."""
        return self.plans.of(self.dtype, self._chosen_plan)

    def activations(self) -> int:
        """About how many numbers all batches keep for a backward pass; 0 where it does not run on a few examples."""
        parameters = sum(parameter.numel() for parameter in self.module.parameters())
        return self.count * max(0, self.plan().held // self.dtype.itemsize - parameters)

    @property
    def roundoff(self) -> float:
        """The unit in the last place of 1, in the narrowest type that the network's numbers pass through."""
        return torch.finfo(self.plan().narrowest or self.dtype).eps

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of how this surface is computed, beside ``conduct.notes``."""
        told = self.pool.habits.notes(str(self.dtype).removeprefix("torch."))
        if self.sizes is None or not self.sizes.whole:
            return told
        return (*told, self.sizes.note(self.treatment.batch_statistics))

    def stack_size(self) -> int:
        """The most points that are evaluated at once; 1 for a loop over points."""
        alone = self.conduct.draws or self.pool.habits.differentiates
        return 1 if alone else self.pool.fitting.most(self.points_at_once, self.plan(), self.device, self.dtype)

    @property
    def loss_reads_network(self) -> bool:
        """Whether the loss may depend on the parameters otherwise than by the network's outputs."""
        return self.criterion is self.pool.criterion and self.pool.criterion_follows

    def _chosen_plan(self, layout: LayoutSetting) -> ExecutionPlan:
        passes, inputs = self._passes(ExecutionPlan()), self.batches[0][0]
        point = self._cast(_continuous(self._parameters()))
        few = self.few_inputs()
        plan = choose_plan(
            lambda leaves, part: passes.run(leaves, part, fast=True),
            few,
            point,
            layout,
            batch=len(inputs),
            differentiated=partial(self.counter.tried, len(few), backward=1),
        )
        narrowest = narrowest_type(passes.run_without_gradient, point, (few, inputs), self.dtype)
        return replace(plan, narrowest=narrowest)

    def _over_batches(self, function: Callable[[Batch], OfBatch], cost: Cost = FORWARD) -> Iterator[OfBatch]:
        """``function`` of each of this process's batches, in their order; for all of them it takes ``cost``."""
        own = self.processes.own(self.batches)
        at_once = 1 if self.conduct.draws else self.plan().batches_at_once(self.device, len(own))
        numbers = itertools.count(self.first + self.processes.rank, self.processes.count)

        def with_numbers(number: int, batch: Batch) -> OfBatch:
            with self._numbers(number), self._no_draws():
                return function(batch)

        each = map_in_threads(lambda job: with_numbers(*job), zip(numbers, own, strict=False), at_once)
        return self.progress.over(each, self.share / max(1, len(own)) * cost)

    def _numbers(self, batch: int) -> AbstractContextManager[None]:
        """The random numbers of a batch, where the network draws any."""
        return common_random_numbers(batch) if self.conduct.draws else nullcontext()

    def _no_draws(self) -> AbstractContextManager[None]:
        """Refuse random numbers where none were drawn before; a stream draws some of its own while it is read."""
        return nullcontext() if self.conduct.draws or isinstance(self.batches, Stream) else nothing_drawn(self.device)

    def _cast(self, point: Point) -> Point:
        return {name: tensor.to(self.dtype) for name, tensor in point.items()}

    def _parameters(self) -> dict[str, Tensor]:
        return {name: as_real(parameter.detach()) for name, parameter in self.module.named_parameters()}

    def constants(self) -> dict[str, Tensor]:
        """The parameters that are not varied."""
        named = dict(self.module.named_parameters())
        varied = {*(_continuous(named) if self.choice is None else self.choice.names)}
        return {name: as_real(tensor.detach()) for name, tensor in named.items() if name not in varied}

    def _passes(self, plan: ExecutionPlan | None = None) -> Passes:
        complex_names = frozenset(name for name, tensor in self.module.named_parameters() if tensor.is_complex())
        weight_of = self.sizes.weight if self.sizes is not None and self.averages else None
        plan = plan or self.plan()
        network = (self.pool, self.criterion, self.buffers, self.treatment, self.dtype, plan)
        constants = {
            name: plan.lay_out(widened(tensor, self.dtype, copy=True)) for name, tensor in self.constants().items()
        }
        return Passes(*network, self.guard, weight_of, complex_names, self.conduct.own_norms, constants, self.counter)


def _continuous(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters that can be varied."""
    return {name: tensor for name, tensor in parameters.items() if is_continuous(tensor)}
