"""Batches side by side: what the numbers depend on, and what a failure does."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from torch import Tensor, nn

from bnsharp_cli.io.data.batches import DrawnBatches
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.threads import map_in_threads
from bnsharp_cli.models import lenet_bn

FLOAT32_FLOOR = 5e-7
"""What 1 against 2 threads have been seen to differ by, relative to the loss."""


def gradients_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_two_runs_are_bit_identical(sample_network: nn.Module, digit_batches: DrawnBatches, threads) -> None:
    for count in (1, 2):
        threads(count)
        runs = []
        for _ in range(2):
            surface = LossSurface.of(sample_network, digit_batches.batches)
            runs.append((surface.values([surface.point()] * 2), *surface.value_and_gradient(surface.point())))
        assert runs[0][:2] == runs[1][:2]
        assert gradients_equal(runs[0][2], runs[1][2])


def test_batches_side_by_side_compute_what_one_thread_computes(
    sample_network: nn.Module, digit_batches: DrawnBatches, threads
) -> None:
    results = []
    for count in (1, 2):
        threads(count)
        surface = LossSurface.of(sample_network, digit_batches.batches)
        assert surface.plan().batches_at_once(surface.device, 2) == count
        results.append((surface.value(surface.point()), surface.value_and_gradient(surface.point())))
    assert results[0][0] == results[1][0] == results[0][1][0]
    assert gradients_equal(results[0][1][1], results[1][1][1])


def test_one_batch_on_two_threads_agrees_within_the_rounding(digit_batches: DrawnBatches, threads) -> None:
    torch.manual_seed(4)
    network, losses = lenet_bn(1, 10, 8), []
    for count in (1, 2):
        threads(count)
        surface = LossSurface.of(network, digit_batches.batches[:1])
        losses.append(surface.value(surface.point()))
    assert losses[0] == pytest.approx(losses[1], rel=FLOAT32_FLOOR)


def test_the_users_threads_are_left_as_they_were(
    sample_network: nn.Module, digit_batches: DrawnBatches, threads
) -> None:
    threads(2)
    surface = LossSurface.of(sample_network, digit_batches.batches)
    surface.value_and_gradient(surface.point())
    seen = [torch.get_num_threads()]
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [2, 2]


def test_results_come_in_order_and_jobs_are_taken_as_needed(threads) -> None:
    threads(2)
    taken, running, most = [], set(), []

    def jobs() -> object:
        for job in range(9):
            taken.append(job)
            yield job

    def work(job: int) -> int:
        running.add(job)
        most.append(len(running))
        time.sleep(0.02 if job == 0 else 0.005)
        running.discard(job)
        return job * job

    answers = map_in_threads(work, jobs(), 2)
    assert next(answers) == 0
    assert len(taken) <= 4
    assert list(answers) == [job * job for job in range(1, 9)]
    assert max(most) == 2


def test_a_failure_in_one_batch_is_the_callers(threads) -> None:
    threads(2)

    def work(job: int) -> int:
        if job == 2:
            raise ValueError("the third")
        return job

    with pytest.raises(ValueError, match="the third"):
        list(map_in_threads(work, range(9), 2))
    assert torch.get_num_threads() == 2
