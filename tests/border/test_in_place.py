"""Networks and criteria that write into their arguments: the value is that of the twin that does not, nothing changes.

The twin computes the same numbers out of place, so values agree bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.stacking import PointsAtOnce
from bnsharp_cli.measurement.surface.tensor_trees import tensors_in

PRECISIONS = ["auto", "float32", "float64"]
MEASURES = ["bn", "delta-lp", "delta-linf", "keskar"]


class Normalising(nn.Module):
    """Normalises its inputs first, in place or not."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.norm, self.in_place = nn.Linear(4, 8), nn.BatchNorm1d(8), in_place

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.in_place:
            x = x.sub_(0.5).div_(0.2)
            x = x if mask is None else x.mul_(mask.logical_not_())
        else:
            x = (x - 0.5) / 0.2
            x = x if mask is None else x * mask.logical_not()
        return self.norm(self.linear(x))


def shifting_in_place(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets.sub_(1))


def shifting(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets - 1)


def scaling_in_place(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.mul_(0.5) - targets.mul_(0.25)).square().mean()


def scaling(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs * 0.5 - targets * 0.25).square().mean()


def numbers(dtype: torch.dtype = torch.float32, sizes: tuple[int, ...] = (24, 16)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(size, 4, generator=generator).to(dtype) for size in sizes]


def classes(x: Tensor) -> Tensor:
    return (x.sum(1) * 10).long() % 7 + 1


def masked(x: Tensor) -> Tensor:
    return x > 0.3


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda x: (x, classes(x)),
    "tuple": lambda x: ((x, masked(x)), classes(x)),
    "mapping": lambda x: ({"x": x, "mask": masked(x)}, classes(x)),
    "labelled mapping": lambda x: {"x": x, "labels": classes(x)},
}


def copied(batches: Any) -> list[Tensor]:
    return [tensor.clone() for tensor in tensors_in(batches)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("form", FORMS)
def test_a_network_that_writes_into_its_inputs(form: str, precision: Any, dtype: torch.dtype) -> None:
    batches = [FORMS[form](x) for x in numbers(dtype)]
    before = copied(batches)
    found = bnsharp_cli.measure(Normalising(True), batches, precision=precision)
    assert all(map(torch.equal, copied(batches), before))
    assert found.value == bnsharp_cli.measure(Normalising(False), batches, precision=precision).value


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_of_such_a_network(name: str) -> None:
    batches = [FORMS["tensor"](x) for x in numbers(torch.float64)]
    before = copied(batches)
    found, twin = (
        bnsharp_cli.measure(Normalising(in_place), batches, name=name, precision="float64", uncertainty="full")
        for in_place in (True, False)
    )
    assert (found.value, found.uncertainty) == (twin.value, twin.uncertainty)
    assert all(map(torch.equal, copied(batches), before))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("writing", "twin"), [(shifting_in_place, shifting), (scaling_in_place, scaling)])
def test_a_criterion_that_writes_into_its_targets_and_outputs(writing: Any, twin: Any, precision: Any) -> None:
    wanted = [torch.rand(24, 8, dtype=torch.float64), torch.rand(16, 8)] if twin is scaling else []
    batches = [*zip(numbers(), wanted, strict=True)] if wanted else [(x, classes(x)) for x in numbers()]
    before = copied(batches)
    found = bnsharp_cli.measure(Normalising(True), batches, writing, precision=precision)
    assert all(map(torch.equal, copied(batches), before))
    assert found.value == bnsharp_cli.measure(Normalising(False), batches, twin, precision=precision).value


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("setting", ["loop", 3])
def test_points_that_are_stacked(setting: Any, dtype: torch.dtype) -> None:
    surfaces = []
    for in_place in (True, False):
        batches = [(x, classes(x)) for x in numbers(torch.float64)]
        criterion = shifting_in_place if in_place else shifting
        how = {"dtype": dtype, "points_at_once": PointsAtOnce(setting)}
        surfaces.append(LossSurface.of(Normalising(in_place), batches, criterion, **how))
    point = surfaces[1].point()
    points = [{name: tensor * scale for name, tensor in point.items()} for scale in (1.0, 1.01, 0.98, 1.02)]
    found, twin = ([surface.values(points) for _ in range(2)] for surface in surfaces)
    assert found == twin
    assert found[0] == found[1]
    gradients, others = ([*surface.values_and_gradients(points)] for surface in surfaces)
    for (value, gradient), (other, expected) in zip(gradients, others, strict=True):
        assert value == other
        assert all(torch.equal(gradient[name], expected[name]) for name in expected)


def test_blocks_and_the_invariance_test_leave_batches_alone() -> None:
    batches = [FORMS["mapping"](x) for x in numbers(torch.float64)]
    before = copied(batches)
    found, twin = (bnsharp_cli.find_blocks(Normalising(in_place), batches) for in_place in (True, False))
    assert found.invariant == twin.invariant == 8
    reports = [bnsharp_cli.rescale_test(Normalising(in_place), batches) for in_place in (True, False)]
    assert [copy.measures["bn"].value for copy in reports[0].copies] == [
        copy.measures["bn"].value for copy in reports[1].copies
    ]
    assert all(map(torch.equal, copied(batches), before))


class Handed(nn.Module):
    """Keeps the addresses of what it is given, and writes into it from the n-th call in one mode on."""

    def __init__(self, first: float) -> None:
        super().__init__()
        self.linear, self.first, self.seen = nn.Linear(4, 8), first, []

    def __deepcopy__(self, memo: Any) -> Handed:
        twin = Handed(self.first)
        twin.linear, twin.seen = self.linear, self.seen
        return twin

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.data_ptr())
        return self.linear(x.mul_(2) if len(self.seen) > self.first else x)


def test_a_network_that_does_not_write_is_given_the_batch_itself() -> None:
    (x,) = numbers(torch.float64, (16,))
    network = Handed(torch.inf)
    surface = LossSurface.of(network, [(x, classes(x))], dtype=torch.float64)
    for _ in range(3):
        surface.value(surface.point())
    own = network.seen[-3:]
    assert own[0] != x.data_ptr()
    assert own[1:] == [x.data_ptr()] * 2


def test_a_network_that_begins_to_write_late_is_refused() -> None:
    (x,) = numbers(torch.float64, (16,))
    network = Handed(torch.inf)
    surface = LossSurface.of(network, [(x, classes(x))], dtype=torch.float64, points_at_once=PointsAtOnce("loop"))
    surface.value(surface.point())
    for copy in surface.pool._idle:
        copy.module.first = 0
    with pytest.raises(NotMeasurableError, match="changed its arguments in place, which it did not do"):
        surface.value(surface.point())
