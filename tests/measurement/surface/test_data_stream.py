"""Batches that are read when they are asked for: the numbers of resident ones, read one ahead."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

from bnsharp_cli.io.data.batches import DrawnBatches
from bnsharp_cli.measurement.surface.data_stream import Stream
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


def gradients_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


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
        assert streamed.evaluated(point) == resident.evaluated(point)
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
