"""Sharpness along a training run: one callable for any loop, which changes nothing of the run and never ends it."""

from __future__ import annotations

import logging
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from torch.nn.parameter import is_lazy

from bnsharp_cli.api import surface_settings
from bnsharp_cli.errors import UsageError
from bnsharp_cli.integrations.moment import Measuring, reason_and_remedy
from bnsharp_cli.integrations.monitored_batches import monitored_batches
from bnsharp_cli.integrations.pace import Pace
from bnsharp_cli.integrations.record_keeping import RecordKeeping
from bnsharp_cli.measurement.measures.keywords import MeasureKeywords
from bnsharp_cli.measurement.measures.options import BatchNormPolicy, MeasureOptions
from bnsharp_cli.measurement.measures.selection import EVERY_MEASURE, Selection, require_measure
from bnsharp_cli.measurement.surface.adapters import OutputKey, require_criterion
from bnsharp_cli.option_records import OptionRecord, option

_LOG = logging.getLogger(__name__)
_GOES_ON = "Training goes on; later failures of this kind are not reported."


@dataclass(frozen=True)
class MonitorOptions(OptionRecord):
    """What a monitor measures on and when, besides the options of the measures.

    Attributes:
        every: calls from one measurement to the next; None to decide by the time.
        share: the most that measuring may take of the time of training, where the time decides.
        limit_batches: how many batches are read; None for all of a list and the first eight of a loader.
        bn: whether batch norm uses the statistics of the batch or running ones.
        name: of the run in the tracker.
    """

    every: int | None = option(None, "Calls from one measurement to the next.", minimum=1, example="For example 10.")
    share: float = option(
        0.02,
        "Share of the time of training.",
        expected="a share above 0, at most 1",
        accept=lambda share: 0 < share <= 1,
    )
    limit_batches: int | None = option(None, "Batches that are read.", minimum=1, example="For example 8.")
    bn: BatchNormPolicy = option("batch", "Statistics that batch norm uses.")
    name: str = option("sharpness", "Name of the run.", expected="a name", accept=bool)


class SharpnessMonitor:
    """Measures the sharpness of a network while it is trained, on the same batches every time.

    Call it where the training loop can wait: before the first step, after each epoch or after each step. By default
    it measures in the first call, and then as often as costs at most 2 % of the time of training. Weights, buffers,
    gradients, ``requires_grad``, modes, devices and random states stay what they are, so the run ends with the same
    bits with and without it.

    What is wrong with the arguments is an error when the monitor is made. After that nothing that fails ends the run,
    but for an interruption: what could not be measured or sent is warned of once, and the record has the reason.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> layers = torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
    >>> model = torch.nn.Sequential(*layers)
    >>> batches = [(torch.randn(32, 4), torch.randint(3, (32,))) for _ in range(2)]
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> monitor = SharpnessMonitor(batches, every=5, measures=["bn", "loss"])
    >>> for epoch in range(10):
    ...     for inputs, targets in batches:
    ...         optimizer.zero_grad()
    ...         torch.nn.functional.cross_entropy(model(inputs), targets).backward()
    ...         optimizer.step()
    ...     _ = monitor(model, epoch=epoch)
    >>> [record["epoch"] for record in monitor.records]
    [0, 5]
    >>> monitor.records[-1]["loss"] < monitor.records[0]["loss"], monitor.records[-1]["bn_status"]
    (True, 'converged')

    In several processes the first one measures, and the others answer None.

    Args:
        batches: a list of batches, or a loader, which is read at once.
        criterion: as for :func:`bnsharp_cli.measure`.
        every: calls from one measurement to the next; the first one measures. None measures as ``share`` allows.
        measures: names of measures, or ``all`` for those that exist for the network and its loss.
        delta: the radius δ, or several.
        share: the most that measuring may take of the time of training if ``every`` is None, in (0, 1]. The first
            measurement is paid afterwards, so a run that is shorter than 50 measurements pays more.
        limit_batches: how many batches are read, at least 1; None for all of a list and the first eight of a loader.
        bn: ``batch`` or ``running``, as for :func:`bnsharp_cli.measure`.
        output: which of several outputs the loss takes, as for :func:`bnsharp_cli.measure`.
        file: to append each record to, as a line of JSON.
        track: ``tensorboard:DIR``, ``mlflow:URI`` or ``wandb:PROJECT``, as for ``bnsharp train``; the names of its
            figures begin with ``sharpness/``.
        name: of the run in the tracker.
        **options: of :class:`~bnsharp_cli.measurement.measures.options.MeasureOptions`: restarts, partition, seed, …

    Attributes:
        records: what was measured, one plain dictionary a measurement; see :meth:`__call__`.

    Raises:
        UsageError: an argument that is unknown or out of range, no batches, a loader that fails, a file that cannot
            be written to, or an unknown tracker.
    """

    def __init__(  # noqa: PLR0913  one argument for each choice
        self,
        batches: Iterable[Any],
        criterion: Callable[[Any, Any], Any] = functional.cross_entropy,
        *,
        every: int | None = None,
        measures: str | Sequence[str] = "bn",
        delta: float | Sequence[float] = MeasureOptions.delta,
        share: float = MonitorOptions.share,
        limit_batches: int | None = None,
        bn: BatchNormPolicy = "batch",
        output: OutputKey | None = None,
        file: str | os.PathLike[str] | None = None,
        track: str | None = None,
        name: str = MonitorOptions.name,
        **options: Unpack[MeasureKeywords],
    ) -> None:
        require_criterion(criterion)
        own = MonitorOptions(every, share, limit_batches, bn, name)
        resolved = MeasureOptions.from_flat(**options)
        selection = _selected(measures, delta)
        selection.runs(resolved)
        settings = surface_settings(resolved, bn, output)
        given = {**vars(own), "measures": ",".join(selection.names), "delta": ",".join(map(str, selection.delta))}
        self._keeping = RecordKeeping(None if file is None else Path(file), track, name, given, self.warn)
        fixed = monitored_batches(batches, limit_batches, resolved.seed)
        self._measure = Measuring(fixed, criterion, selection, resolved, settings)
        self._pace = Pace(every, share)
        self._warned: set[str] = set()
        self.records: list[dict[str, Any]] = []

    def __call__(
        self, model: nn.Module, *, step: float | None = None, epoch: float | None = None
    ) -> dict[str, Any] | None:
        """Measure ``model`` if a measurement is due.

        Args:
            model: the network; it may be another one than before.
            step: of the run, for the record.
            epoch: of the run, for the record.

        Returns:
            The record, or None where nothing was due: ``call``, ``step`` and ``epoch``; ``samples``, and ``loss`` on
            them; for each measure, by its name, the value, NAME_error and NAME_status (at several radii NAME/δ,
            NAME_error/δ and NAME_status/δ); ``reasons`` for what is missing; ``notes``; passes (``forwards``,
            ``backwards``), ``seconds``, ``training_seconds`` since the measurement before, ``share`` of the former in
            the latter, and ``overall_share`` in the whole run so far.
        """
        try:
            return self._called(model, {"step": _plain(step), "epoch": _plain(epoch)})
        except Exception as error:  # such as a network whose parameters cannot be listed
            self.warn("Sharpness was not measured", error)
            return None

    def warn(self, what: str, error: Exception) -> None:
        """Say once that something failed, and why, even where warnings are errors."""
        self._warn_once(what, reason_and_remedy(error))

    def _called(self, model: nn.Module, position: Mapping[str, float | None]) -> dict[str, Any] | None:
        if _is_not_first_process() or _is_unfinished(model) or not self._pace.is_due():
            return None
        cuda: Any = torch.cuda  # of whose functions some have no types
        if cuda.is_initialized():  # steps that the loop has only asked for so far are training
            cuda.synchronize()
        self._pace.begin()
        moment = self._measure(model)
        self._pace.end()
        record = {"call": self._pace.calls - 1, **position, **moment.record, **self._pace.costs}
        self.records.append(record)
        for measure, reason in moment.reasons.items():
            subject = "Sharpness" if measure == EVERY_MEASURE else measure
            self._warn_once(f"{subject} was not measured", reason)
        reached = [one for one in position.values() if one is not None]
        self._keeping.keep(record, int(reached[0]) if reached else record["call"])
        return record

    def close(self) -> None:
        """End the tracker's run; a ``with`` statement does the same."""
        self._keeping.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _warn_once(self, what: str, reason: str) -> None:
        """Say once that something failed, and why, even where warnings are errors."""
        if what in self._warned:
            return
        self._warned.add(what)
        message = f"{what}: {reason} {_GOES_ON}"
        try:
            warnings.warn(message, stacklevel=_depth_of_caller())
        except Warning:
            _LOG.warning(message)


def _depth_of_caller() -> int:
    """How many calls the user's own code is away from whoever calls this."""
    frame, depth = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("bnsharp_cli."):
        frame, depth = frame.f_back, depth + 1
    return depth


def _selected(measures: Any, delta: Any) -> Selection:
    """The measures and radii.

    Raises:
        UsageError: an unknown measure, none, or what is no radius.
    """
    names = (measures,) if isinstance(measures, str) else measures
    if not isinstance(names, list | tuple) or not names:
        raise UsageError.of("measures", "a list of names", measures, 'For example ["bn"].')
    for name in names:
        require_measure(name, "measures", EVERY_MEASURE)
    return Selection(tuple(names), tuple(delta) if isinstance(delta, list | tuple) else (delta,))


def _is_not_first_process() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_rank() > 0


def _is_unfinished(model: Any) -> bool:
    """Whether the network has no weights yet: those of lazy modules come with the first pass."""
    return isinstance(model, nn.Module) and any(is_lazy(parameter) for parameter in model.parameters())


def _plain(number: Any) -> float | int | None:
    """A number of Python's, from one of numpy or torch too; None for anything else."""
    value = number.item() if hasattr(number, "item") and getattr(number, "ndim", 0) == 0 else number
    return value if isinstance(value, int | float) and math.isfinite(value) else None
