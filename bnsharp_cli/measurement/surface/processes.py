"""Several processes that share the batches of one surface: who computes which, and how the parts become one.

Every process runs the same program and takes the same decisions, because every number that it decides by is the same
on all of them. Only the passes are shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import BnsharpError, LostProcessError, SharedError, UsageError, described, named
from bnsharp_cli.measurement.surface.foreign_errors import first_line

Item = TypeVar("Item")


@dataclass(frozen=True)
class Processes:
    """The processes that share a surface's batches. This class is a single process, which computes everything.

    Attributes:
        rank: the number of this process.
        count: of all processes.
    """

    rank: int = 0
    count: int = 1

    def require_work(self, batches: int) -> None:
        """Refuse processes that would have nothing to do.

        Raises:
            UsageError: fewer batches than processes.
        """
        if batches < self.count:
            raise UsageError(
                f"{self.count} processes need at least as many whole batches, found {batches}.",
                f"Start fewer processes, lower {named('batch_size')} or raise {named('samples')}.",
                argument="samples",
                expected=f"at least {self.count} whole batches",
                found=batches,
            )

    def own(self, items: Sequence[Item]) -> Sequence[Item]:
        """What this process computes: item i belongs to process i mod ``count``."""
        return items[self.rank :: self.count]

    def in_order(self, own: Tensor, count: int) -> Tensor:
        """The figures of all ``count`` items, (…, count), from those of each process's own ones, (…, own)."""
        self.agree()
        figures = torch.zeros(*own.shape[:-1], count, dtype=own.dtype)
        figures[..., self.rank :: self.count] = own
        self._add_up(figures)
        return figures

    def total(self, parts: Point) -> Point:
        """The sum over processes, bit for bit the same on each."""
        return parts

    def first(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The tensors of the first process, on each."""
        return tensors

    def agree(self, error: Exception | None = None) -> None:
        """Go on if no process has an error; every process calls this, or :meth:`in_order`, equally often.

        Raises:
            Exception: the error of the first process that has one.
        """
        if error is not None:
            raise error

    def _add_up(self, figures: Tensor) -> None:
        """Sum ``figures`` over processes in place; where each is written by one process, the sum is exact."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """What fails inside on one process fails on all, with the same error."""
        try:
            yield
        except (SharedError, LostProcessError):
            raise
        except Exception as error:
            self.agree(error)
        else:
            self.agree()


ALONE = Processes()


class ProcessGroup(Processes):
    """The processes of the default group of ``torch.distributed``, which has been initialised.

    Every exchange begins with one flag, so that a process that failed can say so instead of leaving the others waiting.
    A process that is gone is noticed by the closed connection, or after the group's time limit.
    """

    def __init__(self) -> None:
        super().__init__(dist.get_rank(), dist.get_world_size())

    def total(self, parts: Point) -> Point:
        """See :meth:`Processes.total`. One process sums, and all take its sum."""
        flat = torch.cat([tensor.reshape(-1) for tensor in parts.values()])
        self._exchange(lambda: dist.reduce(flat, 0))
        self._exchange(lambda: dist.broadcast(flat, 0))
        pieces = torch.split(flat, [tensor.numel() for tensor in parts.values()])
        return {name: piece.reshape(parts[name].shape) for name, piece in zip(parts, pieces, strict=True)}

    def first(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See :meth:`Processes.first`."""
        self.agree()
        copies = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
        for copy in copies.values():
            self._exchange(partial(dist.broadcast, copy, 0))
        return copies

    def agree(self, error: Exception | None = None) -> None:
        """See :meth:`Processes.agree`.

        Raises:
            SharedError: what the first process that failed has to say.
            LostProcessError: a process is gone.
        """
        failed = torch.tensor(int(error is not None))
        self._exchange(lambda: dist.all_reduce(failed))
        if not failed:
            return
        own = None if error is None else _fields(described(error))
        reports: list[dict[str, Any] | None] = [None] * self.count
        self._exchange(lambda: dist.all_gather_object(reports, own))
        raise SharedError(**next(report for report in reports if report is not None)) from error

    def _add_up(self, figures: Tensor) -> None:
        self._exchange(lambda: dist.all_reduce(figures))

    def _exchange(self, operation: Callable[[], object]) -> None:
        try:
            operation()
        except RuntimeError as error:
            raise LostProcessError(
                f"Process {self.rank} of {self.count} lost the others: one of them ended or stopped answering.",
                "See what it said, or what ended it (memory?), and run again.",
                found=first_line(error),
            ) from error


def join(seconds: float) -> ProcessGroup:
    """Meet the other processes, as ``torchrun``'s environment variables say; gloo on CPUs, nccl between GPUs.

    Args:
        seconds: how long any process waits for another, from here on.

    Raises:
        LostProcessError: the others did not come.
    """
    # This module of torch's keeps the group that exists when it is imported, and with it the group's threads, for ever.
    # A thread that drops a tensor while the interpreter ends aborts the process. So it is imported before the group.
    import_module("torch.distributed.nn.functional")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=timedelta(seconds=seconds))
    except (RuntimeError, ValueError) as error:
        raise LostProcessError(
            f"The processes did not find each other: {first_line(error)}",
            "Start them with torchrun.",
            found=first_line(error),
        ) from error
    return ProcessGroup()


def _fields(error: BnsharpError) -> dict[str, Any]:
    """What the other processes are told of an error; what was found as text, since it may be anything."""
    return {
        "reason": error.marked_reason,
        "remedy": error.marked_remedy,
        "exit_code": error.exit_code,
        **error.fields,
        "subject": error.subject,
        "found": str(error.found),
    }
