"""Rescalings that balance: found in networks that have them, and in no others."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.blocks.find_blocks import find_partitions
from bnsharp_cli.measurement.blocks.probe import Probe
from bnsharp_cli.measurement.invariance.balanced import balanced_sets
from bnsharp_cli.measurement.invariance.function_copies import CopyMaker, FunctionCopies
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.models import lenet_bn
from tests.measurement.networks import residual

_TINY = 1e-24
"""The ε of norms: as it is usually, no plain network has copies T_a."""


def mlp(activation: type[nn.Module]) -> nn.Sequential:
    layers = (nn.Linear(192, 9), activation(), nn.Linear(9, 8), activation(), nn.Linear(8, 7), activation())
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(7, 4))


def normed_mlp() -> nn.Sequential:
    first = (nn.Linear(192, 9), nn.BatchNorm1d(9), nn.ReLU())
    second = (nn.Linear(9, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU())
    return nn.Sequential(nn.Flatten(), *first, *second, nn.Linear(8, 4))


def convolutions() -> nn.Sequential:
    first = (nn.Conv2d(3, 5, 3), nn.LeakyReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*first, nn.Conv2d(5, 6, 2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(24, 4))


class Skip(nn.Module):
    """The layer between the two reads what goes round it, too."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.inner, self.output = nn.Linear(192, 6), nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        hidden = functional.relu(self.input(images.flatten(1)))
        return self.output(torch.tanh(hidden + functional.relu(self.inner(hidden))))


class Twice(nn.Module):
    """One layer is used in two places, of which a rescaling could serve one."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.inner, self.output = nn.Linear(192, 6), nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        hidden = functional.relu(self.inner(functional.relu(self.inner(torch.tanh(self.input(images.flatten(1)))))))
        return self.output(hidden + 1)


class Clamped(nn.Module):
    """Positively homogeneous as far as a probe sees, but not for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.output = nn.Linear(192, 6), nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.output(self.input(images.flatten(1)).clamp(0, 100))


class Staircase(nn.Module):
    """One of two branches is homogeneous between powers of two alone, where its slope jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(192, 6), nn.Linear(192, 5)
        self.of_first, self.of_second = nn.Linear(6, 4), nn.Linear(5, 4)

    def forward(self, images: Tensor) -> Tensor:
        first, second = (functional.relu(layer(images.flatten(1))) for layer in (self.first, self.second))
        steps = 1 + torch.floor(torch.log2(first + 1e-300)).remainder(2)
        return self.of_first(first * steps) + self.of_second(second)


def penalised(outputs: Tensor, targets: Tensor, weights: list[Tensor]) -> Tensor:
    return functional.cross_entropy(outputs, targets) + sum(weight.square().sum() for weight in weights)


def batches(size: int = 8, count: int = 16) -> tuple[tuple[Tensor, Tensor], ...]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 3, size, size, generator=generator)
    return ((images, torch.randint(4, (count,), generator=generator)),)


def network_of(build: Callable[[], nn.Module]) -> nn.Module:
    """With random γ, β and running statistics, and no ε."""
    torch.manual_seed(0)
    network = build().double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for part in network.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.eps = _TINY
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
    return network


def copies_of(network: nn.Module, size: int = 8, *, statistics: bool = True) -> FunctionCopies:
    surface = LossSurface.of(network, batches(size), batch_statistics=statistics, dtype=torch.float64)
    point = surface.point()
    return CopyMaker(surface, point, *find_partitions(surface, point)).copies()


class Oddities(nn.Module):
    """A number and an empty tensor among the parameters, and no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.factor, self.nothing = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.zeros(0, 3))
        self.input, self.output = nn.Linear(192, 6, bias=False), nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.output(functional.relu(self.input(images.flatten(1)))) * self.factor


NETWORKS = {
    "oddities": (Oddities, 8, {"layer", "neuron"}),
    "ReLU MLP": (lambda: mlp(nn.ReLU), 8, {"layer", "neuron"}),
    "convolutions": (convolutions, 8, {"layer", "neuron"}),
    "BN MLP": (normed_mlp, 8, {"T_a", "norm", "head", "neuron"}),
    "LeNet-BN": (lambda: lenet_bn(3, 4, 8), 8, {"T_a", "norm", "head", "neuron"}),
    "residual": (residual, 8, {"T_a", "norm", "head", "neuron"}),
}


LARGE = pytest.mark.slow(
    reason="copies of 11 million weights; the small network is of the same blocks of torchvision's",
    quick="tests/measurement/invariance/test_balanced.py::test_every_copy_is_the_same_function_at_another_point",
)


def resnet18() -> nn.Module:
    return torchvision.models.resnet18(num_classes=4)


@pytest.mark.parametrize("statistics", [True, False], ids=["batch", "running"])
@pytest.mark.parametrize(
    ("build", "size", "kinds"),
    [
        *(pytest.param(*network, id=name) for name, network in NETWORKS.items()),
        pytest.param(resnet18, 32, {"T_a", "norm", "head", "neuron"}, id="resnet18", marks=LARGE),
    ],
)
def test_every_copy_is_the_same_function_at_another_point(
    build: Callable[[], nn.Module], size: int, kinds: set[str], statistics: bool
) -> None:
    """The oracle is torch's own forward pass of the plain network with the copy's weights and statistics."""
    network = network_of(build)
    made = copies_of(network, size, statistics=statistics)
    assert {one.kind for one in made.copies} == kinds
    assert {*made.missing} == {"T_a", "norm", "head", "layer", "neuron"} - kinds
    ((images, _),) = batches(size)
    before = _outputs(network, images, statistics)
    for one in made.copies:
        other = copy.deepcopy(network)
        stored = {name: tensor for name, tensor in one.rescaled.stored.buffers.items() if tensor.is_floating_point()}
        other.load_state_dict({**other.state_dict(), **stored, **one.rescaled.point})
        after = _outputs(other, images, statistics)
        assert torch.allclose(before, after, rtol=1e-9, atol=1e-9 * float(before.abs().max())), one.name
        for name in one.tensors:
            assert not torch.allclose(other.get_parameter(name), network.get_parameter(name), rtol=0.05), one.name


@torch.no_grad()
def _outputs(network: nn.Module, images: Tensor, statistics: bool) -> Tensor:
    return copy.deepcopy(network).train(statistics)(images.double())


class Attention(nn.Module):
    """A layer norm before attention, another before the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.output = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 4)
        self.before, self.after = nn.LayerNorm(8, eps=_TINY), nn.LayerNorm(8, eps=_TINY)

    def forward(self, images: Tensor) -> Tensor:
        tokens = images.flatten(1, 2)
        normed = self.before(tokens)
        return self.output(self.after(tokens + self.mix(normed, normed, normed)[0]).mean(1))


def test_gamma_and_beta_grow_whichever_of_the_pair_comes_first() -> None:
    made = copies_of(network_of(Attention))
    kinds = {one.kind: one for one in made.copies}
    assert {*kinds} == {"head", "neuron", "attention"}
    names = {"before.weight", "before.bias", "mix.in_proj_weight", "after.weight", "after.bias", "output.weight"}
    assert {*kinds["head"].tensors} == names
    before, point = network_of(Attention).state_dict(), kinds["head"].rescaled.point
    assert torch.allclose(point["before.weight"], 100 * before["before.weight"])
    assert torch.allclose(point["mix.in_proj_weight"], before["mix.in_proj_weight"] / 100)


@pytest.mark.parametrize(
    ("build", "size", "last"), [(residual, 8, "layer2"), pytest.param(resnet18, 32, "layer4", marks=LARGE)]
)
def test_the_classifier_of_a_residual_network_is_balanced_by_all_that_writes_into_its_stream(
    build: Callable[[], nn.Module], size: int, last: str
) -> None:
    made = copies_of(network_of(build), size)
    (tensors,) = {one.tensors for one in made.copies if one.kind == "head"}
    writers = (f"{last}.0.bn2", f"{last}.0.downsample.1", f"{last}.1.bn2")
    assert {*tensors} == {f"{name}.{kind}" for name in writers for kind in ("weight", "bias")} | {"fc.weight"}


def test_neurons_are_the_rows_of_one_layer_and_the_columns_of_the_next() -> None:
    made = copies_of(network_of(NETWORKS["LeNet-BN"][0]))
    point = next(one for one in made.copies if one.kind == "neuron").rescaled.point
    before = network_of(NETWORKS["LeNet-BN"][0]).state_dict()
    grown = point["norm2.weight"] / before["norm2.weight"]  # one factor for each channel …
    shrunk = (point["linear1.weight"] / before["linear1.weight"]).reshape(120, 16, -1)  # … and for its columns
    assert float(grown.max() / grown.min()) > 2
    assert torch.allclose(shrunk, 1 / grown[:, None].expand_as(shrunk))


@pytest.mark.parametrize("build", [lambda: mlp(nn.GELU), lambda: mlp(nn.Tanh), Skip, Twice])
def test_where_nothing_balances_nothing_is_found(build: Callable[[], nn.Module]) -> None:
    network = network_of(build)
    surface = LossSurface.of(network, batches(), dtype=torch.float64)
    assert balanced_sets(Probe.of(surface, surface.point())) == ()
    with pytest.raises(NotMeasurableError, match="No rescaling was found that leaves unchanged"):
        copies_of(network)


def test_a_loss_that_reads_the_weights_balances_nothing() -> None:
    network = mlp(nn.ReLU)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return penalised(outputs, targets, [*network.parameters()])

    surface = LossSurface.of(network, batches(), loss, dtype=torch.float64)
    assert balanced_sets(Probe.of(surface, surface.point())) == ()


def test_a_factor_that_leaves_the_homogeneous_range_makes_no_copy() -> None:
    made = copies_of(network_of(Clamped))
    assert [one.name for one in made.copies if one.kind == "layer"] == ["layer 0.01"]


def test_what_only_looks_balanced_does_not_spoil_what_is() -> None:
    """Euler's products of both branches cancel; ½ and 2 tell them apart."""
    made = copies_of(network_of(Staircase))
    assert {one.kind for one in made.copies} == {"layer", "neuron"}
    for one in made.copies:
        assert {*one.tensors} == {"second.weight", "second.bias", "of_second.weight"}


def test_a_copy_that_rescales_in_part_only_is_of_the_chosen_parameters() -> None:
    """A layer whose partner is a constant cannot be balanced."""
    network = network_of(lambda: mlp(nn.ReLU))
    table = bnsharp_cli.invariance_table(network, batches(), measure="bn", parameters=["1.*", "3.*"])
    assert {name for one in table.copies for name in one.tensors} == {"1.weight", "1.bias", "3.weight"}
    with pytest.raises(NotMeasurableError, match="No rescaling was found"):
        bnsharp_cli.invariance_table(network, batches(), measure="bn", parameters=["1.*"])
