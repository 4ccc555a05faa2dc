"""T_a on parameters, running statistics and ε: the same loss in both modes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from bnsharp_cli.core.rescale import random_factors, smallest_factor, uniform_factors
from bnsharp_cli.errors import CheckpointRefusedError, NotMeasurableError
from bnsharp_cli.io.data.batches import DrawnBatches
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.invariance.copies import Copier, RescaledCopy, restored_scales
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.norms import NormTreatment
from tests.cases import SharedWeights, images, mlp_bn, vectors
from tests.measurement.networks import (
    HeadNorms,
    NormedEmbedding,
    OneNormTwice,
    OwnNorm,
    grouped,
    one_dull_colour,
    residual,
    sentences,
    sequences,
)


def trained_statistics(module: nn.Module, batches: object) -> nn.Module:
    """Running statistics as training leaves them, instead of 0 and 1."""
    module.train()
    with torch.no_grad():
        for inputs, _ in batches:
            for _ in range(3):
                module(inputs)
    return module


def grouped_channels() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4))


def normed_layer() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 3))


def densenet() -> nn.Module:
    return torchvision.models.DenseNet(8, (2, 2), 16, num_classes=4)


NETWORKS = {
    "bias before the norm": lambda: (mlp_bn(bias=True), vectors()),
    "shared": lambda: (SharedWeights(), images()),
    "group norm": lambda: (grouped_channels(), images()),
    "layer norm": lambda: (normed_layer(), vectors()),
    "residual": lambda: (residual(), images()),
    "norms of heads": lambda: (HeadNorms(), sequences()),
    "norm of an embedding": lambda: (NormedEmbedding(), sentences()),
    "one norm twice": lambda: (OneNormTwice(bias=False), images()),
    "one norm twice, once after a bias": lambda: (OneNormTwice(bias=True), images()),
    "densenet": lambda: (densenet(), images(size=32)),
}
LARGE = pytest.mark.slow(
    reason="copies of 11 million weights; the small network is of the same blocks of torchvision's",
    quick="tests/measurement/invariance/test_copies.py::test_copies_have_the_same_loss",
)


def resnet18() -> tuple[nn.Module, object]:
    return torchvision.models.resnet18(num_classes=4), images(size=32)


@pytest.mark.parametrize(
    "network",
    [
        *(pytest.param(network, id=name) for name, network in NETWORKS.items()),
        pytest.param(resnet18, id="resnet18", marks=LARGE),
    ],
)
@pytest.mark.parametrize("statistics", [True, False], ids=["batch", "running"])
def test_copies_have_the_same_loss(network: Callable[[], tuple[nn.Module, object]], statistics: bool) -> None:
    torch.manual_seed(0)
    module, batches = network()
    trained_statistics(module, batches)
    surface = LossSurface.of(module, batches, batch_statistics=statistics, dtype=torch.float64)
    point = surface.point()
    loss = surface.value(point)
    blocks = find_blocks(surface, point)
    copier = Copier(surface, point, blocks)
    a0 = smallest_factor(1e-3, blocks.spheres(point).radii[: blocks.invariant])
    generator = torch.Generator().manual_seed(0)
    factors = [uniform_factors(blocks.invariant, a) for a in (1e-3, 10.0, a0)]
    factors.append(random_factors(blocks.invariant, 3.0, generator))
    for vector in factors:
        copy = copier.copy("copy", vector)
        assert abs(copy.exact.value(copy.point) - loss) < 1e-11 * max(1.0, loss)
        assert copy.exact.in_precision(torch.float32).value(copy.point) == pytest.approx(loss, rel=2e-3)


def copy_of(module: nn.Module, batches: object, decades: float = 2.0, **mode: object) -> RescaledCopy:
    """T_a with another a for each row."""
    surface = LossSurface.of(module, batches, dtype=torch.float64, **mode)
    blocks = find_blocks(surface, surface.point())
    factors = random_factors(blocks.invariant, decades, torch.Generator().manual_seed(0))
    return Copier(surface, surface.point(), blocks).copy("copy", factors)


def lengths(module: nn.Module, copy: RescaledCopy, name: str) -> torch.Tensor:
    """What each row of a tensor was scaled by."""
    before, after = module.get_parameter(name).double(), copy.point[name]
    return (after.flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)).detach()


def test_heads_are_scaled_each_by_its_own_factor() -> None:
    module = HeadNorms()
    copy = copy_of(module, sequences())
    assert copy.tied == ()
    assert copy.is_exact
    assert [tuple(entry.shape) for entry in copy.norm_epsilon] == [(1, 1, 2), (1, 1, 2)]
    scale = lengths(module, copy, "key.weight")
    torch.testing.assert_close(copy.norm_epsilon[1].flatten(), 1e-5 * scale[[0, 4]].square())


def test_a_channel_that_is_constant_where_the_probe_looks_is_scaled_with_the_others() -> None:
    """Its scale is read off at the generic place; on the samples that follow it matters."""
    torch.manual_seed(0)
    module = grouped(bias=True)
    (dull, labels), (vivid, _) = one_dull_colour()[0], images()[0]
    surface = LossSurface.of(
        module, [(torch.cat([dull[:8], vivid]), torch.cat([labels[:8], labels]))], dtype=torch.float64
    )
    point = surface.point()
    blocks = find_blocks(surface, point)
    copy = Copier(surface, point, blocks).copy("copy", uniform_factors(blocks.invariant, 1e-3))
    assert abs(copy.exact.value(copy.point) - surface.value(point)) < 1e-12


def test_words_share_a_factor_since_a_norm_of_many_words_has_one_epsilon() -> None:
    module = NormedEmbedding()
    copy = copy_of(module, sentences())
    assert copy.tied == ("words.weight",)
    scale = lengths(module, copy, "words.weight")
    assert float(scale.max() / scale.min() - 1) < 1e-12
    assert float(scale.max()) < 0.1


def test_one_norm_with_running_statistics_ties_what_it_normalises() -> None:
    module = trained_statistics(OneNormTwice(bias=False), images())
    assert copy_of(module, images()).tied == ()
    copy = copy_of(module.eval(), images(), batch_statistics=False)
    assert copy.tied == ("first.weight", "second.weight")
    scale = torch.cat([lengths(module, copy, name) for name in copy.tied])
    assert float(scale.max() / scale.min() - 1) < 1e-12
    assert float(scale.max()) < 0.1


def test_what_no_running_statistics_undo_keeps_its_scale() -> None:
    """m → s m for one convolution and s (m − b) + b for the other."""
    module = trained_statistics(OneNormTwice(bias=True), images())
    copy = copy_of(module.eval(), images(), batch_statistics=False)
    assert copy.tied == ("first.weight", "second.weight")
    assert all(torch.equal(copy.point[name], module.get_parameter(name).double()) for name in copy.tied)


def test_a_copy_that_is_not_exact_says_so() -> None:
    torch.manual_seed(0)
    surface = LossSurface.of(OwnNorm(1e-13), vectors(), dtype=torch.float64)
    point = surface.point()
    blocks = find_blocks(surface, point)
    assert blocks.invariant == 6
    copier = Copier(surface, point, blocks)
    exact = {a: copier.copy("copy", uniform_factors(6, a)).is_exact for a in (1e-3, 1.0, 1e3)}
    assert exact == {1e-3: False, 1.0: True, 1e3: True}


def test_a_network_that_draws_numbers_cannot_be_copied() -> None:
    module = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 3))
    surface = LossSurface.of(module, vectors(), dtype=torch.float64)
    blocks = find_blocks(surface, surface.point())
    module[0].register_forward_hook(lambda _, __, output: functional.dropout(output, 0.5))
    noisy = LossSurface.of(module, vectors(), dtype=torch.float64)
    with pytest.raises(NotMeasurableError, match="does not compute the same twice"):
        Copier(noisy, noisy.point(), blocks).copy("copy", uniform_factors(blocks.invariant, 0.1))


def test_weights_alone_are_not_invariant_in_eval_mode(sample_network: nn.Module, digit_batches: DrawnBatches) -> None:
    surface = LossSurface.of(sample_network, digit_batches.batches, batch_statistics=False, dtype=torch.float64)
    point = surface.point()
    blocks = find_blocks(surface, point)
    scaled = Copier(surface, point, blocks).scaled(uniform_factors(blocks.invariant, 0.1))
    assert abs(surface.value(scaled) - surface.value(point)) > 0.1


def test_stored_epsilon_shows_from_small_scales_on(sample_network: nn.Module, digit_batches: DrawnBatches) -> None:
    surface = LossSurface.of(sample_network, digit_batches.batches, dtype=torch.float64)
    point = surface.point()
    blocks = find_blocks(surface, point)
    copy = Copier(surface, point, blocks).copy("copy", uniform_factors(blocks.invariant, 1e-3))
    loss = surface.value(point)
    assert abs(copy.stored.value(copy.point) - loss) > 0.1
    assert abs(copy.exact.value(copy.point) - loss) < 1e-15


def test_copies_of_copies_compose(sample_network: nn.Module, digit_batches: DrawnBatches) -> None:
    surface = LossSurface.of(sample_network, digit_batches.batches, batch_statistics=False, dtype=torch.float64)
    point = surface.point()
    blocks = find_blocks(surface, point)
    first = Copier(surface, point, blocks).copy("first", uniform_factors(blocks.invariant, 0.03))
    second = Copier(first.exact, first.point, blocks).copy("second", uniform_factors(blocks.invariant, 0.03))
    assert abs(second.exact.value(second.point) - surface.value(point)) < 1e-14


def test_a_copy_survives_being_saved_with_its_epsilon(sample_network: nn.Module, digit_batches: DrawnBatches) -> None:
    surface = LossSurface.of(sample_network, digit_batches.batches, dtype=torch.float64)
    point = surface.point()
    blocks = find_blocks(surface, point)
    generator = torch.Generator().manual_seed(0)
    copy = Copier(surface, point, blocks).copy("copy", random_factors(blocks.invariant, 3.0, generator))
    epsilon = copy.norm_epsilon
    assert [entry.shape for entry in epsilon] == [(6,), (16,), (120,), (84,)]
    plain = surface.with_norms(buffers=copy.stored.buffers)
    scales = restored_scales(plain, copy.point, epsilon)
    again = plain.with_norms(treatment=NormTreatment(input_scales=scales))
    assert abs(again.value(copy.point) - surface.value(point)) < 1e-15


def test_epsilon_of_heads_survives_being_saved() -> None:
    torch.manual_seed(0)
    module = HeadNorms()
    surface = LossSurface.of(module, sequences(), dtype=torch.float64)
    copy = copy_of(module, sequences(), decades=5.0)
    scales = restored_scales(surface, copy.point, copy.norm_epsilon)
    again = surface.with_norms(treatment=NormTreatment(input_scales=scales))
    assert abs(surface.value(copy.point) - surface.value(surface.point())) > 1e-6
    assert abs(again.value(copy.point) - surface.value(surface.point())) < 1e-15


@pytest.mark.parametrize(
    "epsilon",
    [(torch.ones(1, 1, 2),), (torch.ones(1, 1, 3),) * 2, (torch.ones(2),) * 2, (torch.zeros(1, 1, 2),) * 2],
    ids=["too few", "three heads", "no positions", "zero"],
)
def test_epsilon_that_does_not_fit_the_norms_is_refused(epsilon: tuple[torch.Tensor, ...]) -> None:
    surface = LossSurface.of(HeadNorms(), sequences())
    with pytest.raises(CheckpointRefusedError, match="do not fit the network's 2 norms"):
        restored_scales(surface, surface.point(), epsilon)


def test_epsilon_per_channel_is_what_the_formula_says(generator: torch.Generator) -> None:
    """(x − μ)/√(σ² + s²ε) by hand, against the interception."""
    module = nn.Sequential(nn.BatchNorm1d(3, eps=0.1, affine=False)).double()
    inputs = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    scale = torch.tensor([0.01, 1.0, 30.0], dtype=torch.float64)
    surface = LossSurface.of(module, [(inputs, inputs)], dtype=torch.float64)
    treated = surface.with_norms(treatment=NormTreatment(input_scales=(scale,)))
    expected = (inputs - inputs.mean(0)) / (inputs.var(0, correction=0) + scale**2 * 0.1).sqrt()
    torch.testing.assert_close(treated.outputs({}, inputs)[0], expected)
