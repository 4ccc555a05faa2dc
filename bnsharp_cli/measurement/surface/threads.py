"""Batches side by side: a map over threads whose results do not depend on how many there are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

Job = TypeVar("Job")
JobResult = TypeVar("JobResult")


def map_in_threads(function: Callable[[Job], JobResult], jobs: Iterable[Job], at_once: int) -> Iterator[JobResult]:
    """``map(function, jobs)`` with up to ``at_once`` jobs running at the same time; results come in the jobs' order.

    Jobs are taken as they are needed, so that only a few more have been read than answered.

    torch's threads are shared out between the jobs: with as many jobs as threads, each job's operators run on one
    thread, and its result does not depend on how many there are.
    """
    if at_once == 1:
        yield from map(function, jobs)
        return
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(at_once, initializer=_use_threads, initargs=(threads // at_once,)) as pool:
        pending: deque[Future[Any]] = deque()
        try:
            for job in jobs:
                pending.append(pool.submit(function, job))
                if len(pending) > at_once:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
            torch.set_num_threads(threads)  # a worker's own setting is what threads yet to come would start with


def _use_threads(count: int) -> None:
    torch.get_num_threads()  # torch settles a new thread's number at its first use; from then on it can be changed
    torch.set_num_threads(count)
