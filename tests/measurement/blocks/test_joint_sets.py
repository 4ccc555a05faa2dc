"""The extended partition: sets of parameters that only scale together."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks, find_partitions
from bnsharp_cli.measurement.blocks.probe import Probe
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.models import lenet_bn
from tests.cases import images, vectors
from tests.measurement.networks import (
    blocks_of,
    invariant_rows,
    seeded,
)


def test_lenet_extended_adds_each_norm_that_another_follows() -> None:
    blocks = blocks_of(seeded(lenet_bn), images(size=32), "extended")
    assert sorted(blocks.joint.values()) == [(f"norm{i}.weight", f"norm{i}.bias") for i in (1, 2, 3)]
    assert blocks.invariant == 229


def test_both_partitions_come_from_one_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """And all blocks of a partition are scaled together: by 2 and ½, at the user's point and at the generic one."""
    surface = LossSurface.of(seeded(lenet_bn), images(size=32))
    point = surface.point()
    apart = tuple(find_blocks(surface, point, partition) for partition in ("paper", "extended"))
    asked: list[str] = []
    for name in ("of", "unchanged"):
        monkeypatch.setattr(Probe, name, counted(getattr(Probe, name), name, asked))
    together = find_partitions(surface, point)
    assert [asked.count(name) for name in ("of", "unchanged")] == [1, 4]
    for one, other in zip(apart, together, strict=True):
        assert (one.tensors, one.joint, one.invariant) == (other.tensors, other.joint, other.invariant)
        assert all(torch.equal(one.rows[name].block, other.rows[name].block) for name in one.rows)


def counted(function: Callable[..., object], name: str, asked: list[str]) -> Callable[..., object]:
    def called(*arguments: object, **options: object) -> object:
        asked.append(name)
        return function(*arguments, **options)

    return called


def test_resnet_extended_finds_the_residual_streams() -> None:
    blocks = blocks_of(seeded(torchvision.models.resnet18, num_classes=4), images(size=32), "extended")
    streams = {names for names in blocks.joint.values() if len(names) > 2}
    assert (
        "bn1.weight",
        "bn1.bias",
        "layer1.0.bn2.weight",
        "layer1.0.bn2.bias",
        "layer1.1.bn2.weight",
        "layer1.1.bn2.bias",
    ) in streams
    assert len(streams) == 3
    assert not any("layer4.1.bn2.weight" in names for names in blocks.joint.values())


def test_joint_sets_never_overlap() -> None:
    """norm(a(x) + Σ g_k b_k(x)): (a, g) and (a, b) are both invariant, and only one of them may be a block."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b0, self.b1 = (nn.Linear(4, 5, bias=False) for _ in range(3))
            self.g0, self.g1 = nn.Parameter(torch.tensor([0.7])), nn.Parameter(torch.tensor([-0.4]))
            self.norm, self.output = nn.BatchNorm1d(5), nn.Linear(5, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            hidden = self.a(inputs) + self.g0 * self.b0(inputs) + self.g1 * self.b1(inputs)
            return self.output(torch.relu(self.norm(hidden)))

    module = seeded(Gated)
    surface = LossSurface.of(module, vectors(), dtype=torch.float64)
    bare = surface.with_norms(treatment=type(surface.treatment)(epsilon=1e-24))
    point = surface.point()
    blocks = find_blocks(surface, point, "extended")
    spheres = Spheres(blocks.rows, torch.ones(blocks.invariant + 1, dtype=torch.float64))
    for block in range(blocks.invariant):
        factors = torch.ones(blocks.invariant + 1, dtype=torch.float64)
        factors[block] = 3.7
        assert abs(bare.value(spheres.scale(point, factors)) - bare.value(point)) < 1e-12


def test_a_joint_set_that_scaling_refutes_is_none() -> None:
    """A vector brought to length 3 while it is shorter: Euler's theorem holds there, and fails at twice its length."""

    class Stretched(nn.Module):
        def __init__(self, least: float) -> None:
            super().__init__()
            self.hidden, self.output = nn.Linear(4, 5), nn.Linear(5, 3)
            self.gain, self.least = nn.Parameter(torch.rand(5) + 0.5), least

        def forward(self, inputs: Tensor) -> Tensor:
            length = self.gain.norm()
            return self.output(torch.tanh(self.hidden(inputs)) * self.gain / length * length.clamp_min(self.least))

    assert blocks_of(seeded(Stretched, 1e3), vectors(), "extended").joint == {0: ("gain",)}
    assert blocks_of(seeded(Stretched, 3.0), vectors(), "extended").joint == {}


def test_a_partly_normalised_transposed_convolution_does_not_crash_the_extended_partition() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.norm = nn.ConvTranspose2d(3, 6, 3, bias=False), nn.BatchNorm2d(4)
            self.output = nn.Linear(600, 4)

        def forward(self, inputs: Tensor) -> Tensor:
            hidden = self.up(inputs)
            return self.output(torch.cat([self.norm(hidden[:, :4]), hidden[:, 4:]], dim=1).flatten(1))

    assert invariant_rows(blocks_of(seeded(Partly), images(), "extended"))["up.weight"] == 4
