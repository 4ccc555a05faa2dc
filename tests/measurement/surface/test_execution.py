"""How batches run: side by side, in which layout, from a stream; the numbers do not depend on it."""

from __future__ import annotations

import threading
import time
import weakref

import pytest
import torch
from torch import Tensor, nn

from bnsharp_cli.io.data.batches import DrawnBatches
from bnsharp_cli.measurement.surface import execution
from bnsharp_cli.measurement.surface.execution import Plan, Stream, in_order
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.models import lenet_bn
from tests.cases import images, vectors

FLOAT32_FLOOR = 5e-7
"""What 1 against 2 threads, and one layout against another, have been seen to differ by, relative to the loss."""


@pytest.fixture
def threads() -> object:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


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


def test_the_trial_of_a_plan_leaves_no_activation_behind() -> None:
    """ReLU saves its own output for the backward pass: whoever hooks that must not tie it to itself."""
    outputs: list[weakref.ref[Tensor]] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 8)

        def forward(self, inputs: Tensor) -> Tensor:
            answer = torch.relu(self.layer(inputs))
            outputs.append(weakref.ref(answer))
            return answer

    surface = LossSurface.of(Watched(), vectors())
    held = surface.plan().held
    assert outputs
    assert all(seen() is None for seen in outputs)
    weights, samples = 4 * (4 * 8 + 8), len(surface.batches[0][0])
    assert held == weights + 4 * 8 * samples  # the weights' gradient, and the output of relu; the inputs are known


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

    answers = in_order(work, jobs(), 2)
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
        list(in_order(work, range(9), 2))
    assert torch.get_num_threads() == 2


def test_large_batches_run_one_after_the_other(monkeypatch: pytest.MonkeyPatch, threads) -> None:
    threads(8)
    cpu = torch.device("cpu")
    assert Plan(held=2**20, tried=True).batches_at_once(cpu, 100) == 8
    assert Plan(held=2**20, tried=True).batches_at_once(cpu, 3) == 3
    assert Plan(held=execution.IN_FLIGHT // 2, tried=True).batches_at_once(cpu, 100) == 3
    assert Plan(held=execution.IN_FLIGHT + 1, tried=True).batches_at_once(cpu, 100) == 1
    assert Plan(held=0, tried=False).batches_at_once(cpu, 100) == 1
    assert Plan(held=0, tried=True).batches_at_once(torch.device("cuda"), 100) == 1


def convolutions(channels: int, flatten: nn.Module) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.MaxPool2d(2),
        flatten,
        nn.Linear(9 * channels, 4),
    )


class View(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.view(len(inputs), -1)


@pytest.mark.parametrize(
    ("module", "channels_last"),
    [
        (convolutions(16, nn.Flatten()), True),
        (convolutions(6, nn.Flatten()), False),
        (convolutions(16, View()), False),
    ],
)
def test_channels_last_where_channels_fill_vectors_and_the_network_takes_it(
    module: nn.Module, channels_last: bool
) -> None:
    surface = LossSurface.of(module, images())
    assert surface.plan().tried
    assert surface.plan().channels_last == channels_last
    assert not surface.in_precision(torch.float64).plan().channels_last
    precise = surface.in_precision(torch.float64).value_and_gradient(surface.point())
    value, gradient = surface.value_and_gradient(surface.point())
    assert value == pytest.approx(precise[0], rel=FLOAT32_FLOOR)
    for name, tensor in gradient.items():
        torch.testing.assert_close(tensor, precise[1][name], rtol=1e-4, atol=1e-6)


def test_the_bytes_of_a_batch_are_those_autograd_keeps() -> None:
    batch = (torch.zeros(32, 10), torch.zeros(32, dtype=torch.int64))
    surface = LossSurface.of(nn.Sequential(nn.Linear(10, 50), nn.Tanh(), nn.Linear(50, 3)), [batch])
    parameters = 10 * 50 + 50 + 50 * 3 + 3
    assert surface.plan().held == 4 * (parameters + 32 * 50), "tanh keeps its output, which the last layer needs too"
    assert surface.in_precision(torch.float64).plan().held == 8 * (parameters + 32 * 50) + 8 * 32 * 10


def test_a_network_that_cannot_take_part_of_a_batch_still_runs() -> None:
    class Whole(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            if len(inputs) != 24:
                raise RuntimeError("24 samples, please")
            return super().forward(inputs)

    surface = LossSurface.of(Whole(4, 3), vectors())
    assert not surface.plan().tried
    assert surface.value(surface.point()) > 0


def test_a_stream_gives_the_numbers_of_resident_batches(
    sample_network: nn.Module, digit_batches: DrawnBatches, threads
) -> None:
    read = []

    def reader(index: int) -> tuple[Tensor, Tensor]:
        read.append(index)
        return digit_batches.batches[index]

    for count in (1, 2):
        threads(count)
        resident = LossSurface.of(sample_network, digit_batches.batches)
        streamed = LossSurface.of(sample_network, Stream(reader, 2))
        point = resident.point()
        streamed.plan()
        read.clear()
        assert streamed.loss_and_accuracy(point) == resident.loss_and_accuracy(point)
        assert read == [0, 1]
        (value, gradient), (expected, wanted) = (one.value_and_gradient(point) for one in (streamed, resident))
        assert value == expected
        assert gradients_equal(gradient, wanted)


def test_a_stream_reads_one_batch_ahead_and_slices() -> None:
    read = []

    def reader(index: int) -> tuple[Tensor, Tensor]:
        read.append(index)
        return torch.full((1,), float(index)), torch.zeros(1)

    stream = Stream(reader, 5)
    batches = iter(stream)
    next(batches)
    time.sleep(0.05)
    assert read == [0, 1]
    batches.close()
    assert [float(inputs) for inputs, _ in stream[1:4]] == [1, 2, 3]
    assert float(stream[-1][0]) == 4
    with pytest.raises(IndexError):
        stream[5]
