"""Which channels may be permuted together, and matching them: known groups, all permutations, random ones undone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.core.point import inner
from bnsharp_cli.io.networks.network_identity import build_architecture
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.blocks.probe import Probe
from bnsharp_cli.measurement.landscape.between import matched, straight_line
from bnsharp_cli.measurement.landscape.channel_groups import (
    ChannelAxis,
    ChannelGroup,
    FoundGroups,
    find_channel_groups,
    permuted,
)
from bnsharp_cli.measurement.landscape.channel_matching import match_channels
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import PreActivation, blocks_by_hand
from tests.measurement.landscape.test_between import network, rescaled


class Gated(nn.Module):
    """A depthwise convolution, and channels that are multiplied by what a small network makes of their means."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.squeeze, self.excite = nn.Linear(6, 2), nn.Linear(2, 6)
        self.output = nn.Linear(6, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = functional.gelu(self.norm(self.depthwise(self.stem(inputs))))
        gates = torch.sigmoid(self.excite(torch.tanh(self.squeeze(hidden.mean((2, 3))))))
        return self.output((hidden * gates[:, :, None, None]).mean((2, 3)))


class Weighted(nn.Module):
    """Each hidden channel has a factor that is no parameter and cannot move with it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)
        self.register_buffer("factors", torch.linspace(0.5, 2, 6))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(inputs)) * self.factors)


class Normed(nn.Module):
    """The mean over channels of a layer norm ties every channel to every other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(torch.relu(self.norm(self.first(inputs))))


def surface_of(module: nn.Module, *shape: int) -> LossSurface:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(12, *shape, generator=generator)
    return LossSurface.of(module, [(inputs, torch.arange(12) % 3)], dtype=torch.float64)


def groups_of(surface: LossSurface) -> FoundGroups:
    return find_channel_groups(Probe.of(surface, surface.point()))


def axes_of(group: ChannelGroup) -> set[tuple[str, int, int]]:
    return {(one.name, one.axis, one.width) for one in group.axes}


def at_random(groups: tuple[ChannelGroup, ...], seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(group.size, generator=generator) for group in groups]


def test_the_layers_of_a_plain_network_whatever_its_activation() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 3))
    found = groups_of(surface_of(module, 4))
    assert [axes_of(group) for group in found.groups] == [
        {("0.weight", 0, 1), ("0.bias", 0, 1), ("2.weight", 1, 1)},
        {("2.weight", 0, 1), ("2.bias", 0, 1), ("4.weight", 1, 1)},
    ]
    assert (found.refuted, found.untouched) == (0, ())


def test_a_flattened_picture_has_several_entries_a_channel() -> None:
    found = groups_of(surface_of(build_architecture("lenet-bn", {}), 3, 32, 32))
    assert [group.size for group in found.groups] == [6, 16, 120, 84]
    assert ("linear1.weight", 1, 25) in axes_of(found.groups[1])


def test_all_that_writes_into_a_residual_stream_belongs_together() -> None:
    torch.manual_seed(0)
    stream, branch = groups_of(surface_of(PreActivation(), 3, 8, 8)).groups
    writers = {("stem.weight", 0, 1), ("norm1.weight", 0, 1), ("norm1.bias", 0, 1), ("conv2.weight", 0, 1)}
    assert axes_of(stream) == writers | {("conv1.weight", 1, 1), ("output.weight", 1, 1)}
    inner_writers = {("conv1.weight", 0, 1), ("norm2.weight", 0, 1), ("norm2.bias", 0, 1)}
    assert axes_of(branch) == inner_writers | {("conv2.weight", 1, 1)}


def test_gates_and_depthwise_filters_go_with_their_channels() -> None:
    torch.manual_seed(0)
    channels, squeezed = groups_of(surface_of(Gated(), 3, 8, 8)).groups
    assert {"stem.weight", "depthwise.weight", "norm.weight", "excite.weight", "squeeze.weight", "output.weight"} <= {
        one.name for one in channels.axes
    }
    assert axes_of(squeezed) == {("squeeze.weight", 0, 1), ("squeeze.bias", 0, 1), ("excite.weight", 1, 1)}


def test_what_cannot_be_permuted_stays_and_is_said() -> None:
    torch.manual_seed(0)
    weighted, normed = groups_of(surface_of(Weighted(), 4)), groups_of(surface_of(Normed(), 4))
    assert (weighted.groups, weighted.refuted) == ((), 1)
    assert weighted.untouched == ("first.weight", "last.weight")
    assert normed.groups == ()
    assert normed.untouched == ("first.weight", "last.weight")


def small_resnet() -> nn.Module:
    return torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 2, 1, 1], num_classes=3)


LONG = pytest.mark.slow(
    reason="permutes a whole VGG",
    quick="tests/measurement/landscape/test_channels.py::test_channels_permuted_at_random_are_found_again",
)


@pytest.mark.parametrize(
    ("build", "shape", "groups"),
    [
        (lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)), (4,), 2),
        (lambda: build_architecture("lenet-bn", {}), (3, 32, 32), 4),
        pytest.param(lambda: build_architecture("vgg11-bn", {}), (3, 32, 32), 8, marks=LONG),
        (small_resnet, (3, 32, 32), 9),  # the streams of four stages, the inside of five blocks
        (Gated, (3, 8, 8), 2),
    ],
    ids=["mlp", "lenet-bn", "vgg11-bn", "resnet", "gated"],
)
def test_channels_permuted_at_random_are_found_again(
    build: Callable[[], nn.Module], shape: tuple[int, ...], groups: int
) -> None:
    torch.manual_seed(0)
    surface = surface_of(build(), *shape)
    point, found = surface.point(), groups_of(surface).groups
    assert len(found) == groups
    blocks = find_blocks(surface, point)
    moved = permuted(point, found, at_random(found, 1))
    before = surface.counter.cost
    again = match_channels(moved, point, blocks, found)
    assert surface.counter.cost == before
    assert any(not torch.equal(moved[name], point[name]) for name in point)
    assert surface.value(moved) == pytest.approx(surface.value(point), rel=1e-12)
    line = straight_line(surface, point, matched(again, point, blocks), 3)
    assert line.barrier <= 1e-12 * max(line.losses)
    assert line.losses[1] == pytest.approx(line.losses[0], rel=1e-12)
    unmatched = straight_line(surface, point, matched(moved, point, blocks), 3)
    assert abs(unmatched.losses[1] - unmatched.losses[0]) > 1e-4


def test_an_assignment_is_the_best_of_all_permutations() -> None:
    generator = torch.Generator().manual_seed(4)
    group = ChannelGroup(4, (ChannelAxis("w", 0), ChannelAxis("v", 1, 2)))
    points = [
        {
            "w": torch.randn(4, 3, generator=generator, dtype=torch.float64),
            "v": torch.randn(2, 8, generator=generator, dtype=torch.float64),
        }
        for _ in range(2)
    ]
    blocks = blocks_by_hand({"w": (0, 0, 0, 0), "v": (0, 0)}, 0)
    every = [inner(points[0], group.permuted(points[1], torch.tensor(one))) for one in itertools.permutations(range(4))]
    found = match_channels(points[1], points[0], blocks, [group])
    assert inner(points[0], found) == pytest.approx(max(every), rel=1e-12)
    assert len(every) == math.factorial(4)


def test_copies_of_either_network_are_permuted_alike() -> None:
    surface, other = network(0), network(1)
    first, second = surface.point(), other.point()
    blocks, groups = find_blocks(surface, first), groups_of(surface).groups
    expected = match_channels(second, first, blocks, groups)
    copy = match_channels(rescaled(second, blocks, 6), rescaled(first, blocks, 5), blocks, groups)
    for one, other_one in zip(unit_rows(expected, blocks), unit_rows(copy, blocks), strict=True):
        assert torch.allclose(one, other_one, rtol=1e-9)
    assert any(not torch.equal(expected[name], second[name]) for name in second)


def unit_rows(point: dict[str, Tensor], blocks: Blocks) -> list[Tensor]:
    spheres = blocks.spheres(point)
    return [*spheres.scale(point, 1 / spheres.radii).values()]
