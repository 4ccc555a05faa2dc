"""L by a plain loop over the batches in float64: nothing of the loss surface's own passes takes part in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from bnsharp_cli.core.point import Point, on_segment
from bnsharp_cli.measurement.audit.finding import CannotSayError
from bnsharp_cli.measurement.surface.cost import FORWARD
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.measurement.surface.foreign_errors import OUT_OF_MEMORY, kind_and_first_line
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.module_pool import PooledCopy, private_pair
from bnsharp_cli.measurement.surface.real_pairs import as_complex, widened

_SWITCHES = ("training", "use_input_stats")
_RUNNING = ("running_mean", "running_var")
_FUNCTIONAL, _NATIVE = ("input", *_RUNNING, "weight", "bias"), ("input", "weight", "bias", *_RUNNING)
_ARGUMENTS: dict[Any, tuple[str, ...]] = {
    functional.batch_norm: (*_FUNCTIONAL, "training", "momentum", "eps"),
    functional.instance_norm: (*_FUNCTIONAL, "use_input_stats", "momentum", "eps"),
    torch.batch_norm: (*_NATIVE, "training", "momentum", "eps", "cudnn_enabled"),
    torch.instance_norm: (*_NATIVE, "use_input_stats", "momentum", "eps", "cudnn_enabled"),
}
"""The functions that take statistics of the batch or running ones, and what their arguments are called."""


class _Statistics(TorchFunctionMode):
    """While it is active, norms take the statistics of the batch, or running ones where they have any."""

    def __init__(self, of_batch: bool) -> None:
        super().__init__()
        self._of_batch = of_batch

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call ``func``, a norm with the statistics that are wanted."""
        del types
        if func not in _ARGUMENTS:
            return func(*args, **(kwargs or {}))
        names = _ARGUMENTS[func]
        given = {**dict(zip(names, args, strict=False)), **(kwargs or {})}
        of_batch = self._of_batch or given.get("running_mean") is None
        given |= {name: of_batch for name in _SWITCHES if name in names}
        return func(**{**given, **(dict.fromkeys(_RUNNING) if of_batch else {})})


@dataclass(frozen=True)
class PlainLoss:
    """L as anyone would write it: eval mode, a loop over the batches, everything in float64.

    There is no stacking, no memory layout of its own and no thread beside torch's. Batch and instance norm are told
    which statistics to take, and that is all that is done to the network.

    Attributes:
        surface: the network, the criterion and the batches.
    """

    surface: LossSurface
    _pair: PooledCopy = field(init=False)

    def __post_init__(self) -> None:
        """Make the copy that runs.

        Raises:
            CannotSayError: a plain loop would compute another loss.
        """
        surface, treatment = self.surface, self.surface.treatment
        if surface.conduct.draws:
            raise CannotSayError("the network draws random numbers, of which a plain loop has others")
        if treatment.input_scales:
            raise CannotSayError("the file has an ε for each channel, which torch's own norms cannot take")
        module, criterion = private_pair(surface.module, surface.criterion, surface.device)
        module = module.double()
        for name in surface.conduct.own_norms:
            module.get_submodule(name).training = treatment.batch_statistics
        object.__setattr__(self, "_pair", PooledCopy(module, criterion))

    def __call__(self, point: Mapping[str, Tensor]) -> float:
        """The mean over the examples of all batches.

        Raises:
            CannotSayError: the network or the criterion does not run so.
        """
        surface = self.surface
        names = {name for name, parameter in surface.module.named_parameters() if parameter.is_complex()}
        state = as_complex({**self._constants(), **{name: point[name].double() for name in point}}, names)
        losses, weights = [], []
        for batch in surface.batches:
            losses.append(self._of_batch(state, batch))
            weights.append(len(batch[1]) if surface.averages else 1)
            surface.progress.passed(surface.share / surface.count * FORWARD)
        surface.counter.cost += surface.share * FORWARD
        total = math.fsum(weight * loss for weight, loss in zip(weights, losses, strict=True))
        return total / math.fsum(weights)

    def changes(self, point: Point, direction: Point) -> Callable[[float], float]:
        """ΔL as a function of t along ``point`` + t · ``direction``."""
        loss = self(point)
        return lambda t: self(on_segment(point, direction, t)) - loss

    def _constants(self) -> dict[str, Tensor]:
        return {name: widened(tensor, torch.float64) for name, tensor in self.surface.constants().items()}

    def _of_batch(self, state: Mapping[str, Tensor], batch: Batch) -> float:
        surface, own = self.surface, self.surface.treatment.batch_statistics
        buffers = {name: widened(tensor, torch.float64, copy=True) for name, tensor in surface.buffers.items()}
        inputs, targets = (widened(part, torch.float64, copy=True) for part in batch)
        try:
            with torch.set_grad_enabled(surface.pool.habits.differentiates), _Statistics(own):
                return float(
                    self._pair.with_tensors(
                        {**state, **buffers}, lambda module: self._pair.criterion(_double(module(inputs)), targets)
                    )
                )
        except OUT_OF_MEMORY:
            raise
        except Exception as error:  # the network and the criterion are the user's, and raise whatever they like
            raise CannotSayError(f"the network does not run in a plain loop: {kind_and_first_line(error)}") from error


def _double(outputs: Tensor) -> Tensor:
    return widened(outputs, torch.float64) if isinstance(outputs, Tensor) else outputs
