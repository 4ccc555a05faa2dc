"""Blocks: every row that is invariant, and none that only looks so."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.models import lenet_bn, vgg11_bn
from tests.cases import FunctionalNorm, PreActivation, SharedWeights, images, mlp_bn, vectors
from tests.measurement.networks import (
    HeadNorms,
    MaximumNorm,
    NormedEmbedding,
    blocks_of,
    grouped,
    invariant_rows,
    one_dull_colour,
    seeded,
    sentences,
    sequences,
)


def test_lenet_every_hidden_row_is_a_block_and_the_norm_is_named() -> None:
    blocks = blocks_of(seeded(lenet_bn), images(size=32))
    assert invariant_rows(blocks) == {
        "conv1.weight": 6,
        "conv2.weight": 16,
        "linear1.weight": 120,
        "linear2.weight": 84,
    }
    assert blocks.invariant == 226
    reasons = {tensor.name: tensor.reason for tensor in blocks.tensors}
    assert reasons["linear1.weight"] == "normalised by norm3"
    assert reasons["output.weight"] == "not scale-invariant"


LARGE = pytest.mark.slow(
    reason="the same of networks with many layers",
    quick="tests/measurement/blocks/test_find_blocks.py::test_every_convolution_row_and_nothing_else",
)


@pytest.mark.parametrize(
    ("build", "samples", "size", "rows"),
    [
        (vgg11_bn, 4, 32, 2752),
        (torchvision.models.resnet18, 6, 32, 4800),
        pytest.param(torchvision.models.densenet121, 6, 32, 10240, marks=LARGE),
        pytest.param(torchvision.models.mobilenet_v2, 4, 64, 17056, marks=LARGE),
    ],
    ids=["vgg11-bn", "resnet18", "densenet121", "mobilenet_v2"],
)
def test_every_convolution_row_and_nothing_else(build: object, samples: int, size: int, rows: int) -> None:
    module = seeded(build)
    blocks = blocks_of(module, images(samples, size))
    convolutions = {name: len(p) for name, p in module.named_parameters() if p.ndim == 4}
    assert sum(convolutions.values()) == rows
    assert invariant_rows(blocks) == convolutions


def test_footnote_1_the_branch_that_joins_the_stream_is_rejected() -> None:
    rows = invariant_rows(blocks_of(seeded(PreActivation), images()))
    assert rows == {"conv1.weight": 6}


def test_a_network_without_norms_has_no_block() -> None:
    module = seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)))
    blocks = blocks_of(module, vectors(), "extended")
    assert blocks.invariant == 0
    assert blocks.free_parameters(LossSurface.of(module, vectors()).point()) == 4 * 6 + 6 + 6 * 3 + 3


def test_shared_weights_are_one_block_a_row() -> None:
    assert invariant_rows(blocks_of(seeded(SharedWeights), images())) == {"conv.weight": 3}


def test_weights_shared_with_an_unnormalised_use_are_free() -> None:
    class Mixed(SharedWeights):
        def forward(self, inputs: Tensor) -> Tensor:
            hidden = torch.relu(self.norm1(self.conv(inputs)))
            return self.output(self.conv(hidden).mean((2, 3)))

    assert invariant_rows(blocks_of(seeded(Mixed), images())) == {}


def test_transposed_convolution_rows_run_along_axis_one() -> None:
    module = seeded(
        lambda: nn.Sequential(
            nn.ConvTranspose2d(3, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(500, 4)
        )
    )
    blocks = blocks_of(module, images())
    assert invariant_rows(blocks) == {"0.weight": 5}
    assert blocks.rows["0.weight"].axis == 1


def test_functional_batch_norm_without_a_module() -> None:
    blocks = blocks_of(seeded(FunctionalNorm), vectors())
    assert invariant_rows(blocks) == {"first": 5}
    assert {tensor.name: tensor.reason for tensor in blocks.tensors}["first"] == "normalised by a batch norm"


def test_group_norm_scales_groups_jointly_with_their_biases() -> None:
    module = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4))
    )
    blocks = blocks_of(module, images())
    assert invariant_rows(blocks) == {"0.weight": 6, "0.bias": 6}
    assert blocks.invariant == 2
    assert blocks.rows["0.weight"].block.tolist() == blocks.rows["0.bias"].block.tolist()
    assert len(set(blocks.rows["0.weight"].block[:3].tolist())) == 1


def test_layer_norm_is_one_block_and_instance_norm_a_block_a_row() -> None:
    layer = seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 3)))
    assert blocks_of(layer, vectors()).invariant == 1
    instance = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.InstanceNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4))
    )
    assert invariant_rows(blocks_of(instance, images())) == {"0.weight": 6}


def test_a_bias_before_batch_norm_is_free_and_without_effect() -> None:
    blocks = blocks_of(seeded(mlp_bn, bias=True), vectors())
    found = {tensor.name: tensor for tensor in blocks.tensors}
    assert found["0.weight"].invariant == 6
    assert found["0.bias"].invariant == 0
    assert found["0.bias"].reason == "no effect on the output"


def test_dead_units_are_settled_elsewhere() -> None:
    module = seeded(mlp_bn)
    with torch.no_grad():
        module[1].weight[0], module[1].bias[0] = 0.1, -50.0  # a unit that never fires
        module[4].weight[1] = 0.0  # a norm that passes nothing of its row on
        module[0].weight[2] = 0.0  # a row of zeros
    blocks = blocks_of(module, vectors())
    assert invariant_rows(blocks) == {"0.weight": 6, "3.weight": 6}
    point = LossSurface.of(module, vectors()).point()
    assert int((blocks.spheres(point).radii[:-1] == 0).sum()) == 1


def test_rows_of_almost_no_norm_keep_their_invariance() -> None:
    for factor in (1e-7, 1e-15, 1e-30):
        module = seeded(mlp_bn)
        with torch.no_grad():
            module[3].weight[2] *= factor
        assert invariant_rows(blocks_of(module, vectors())) == {"0.weight": 6, "3.weight": 6}, factor


@pytest.mark.parametrize("bias", [False, True])
def test_a_channel_that_is_constant_on_every_sample_is_settled_by_noise(bias: bool) -> None:
    rows = invariant_rows(blocks_of(seeded(grouped, bias), one_dull_colour()))
    assert rows == {"0.weight": 6, "3.weight": 5}


@pytest.mark.parametrize("mean", [1e3, 1e5, 1e7])
def test_no_row_is_lost_to_inputs_far_from_zero(mean: float) -> None:
    ((inputs, targets),) = vectors()
    assert invariant_rows(blocks_of(seeded(mlp_bn, bias=True), ((inputs + mean, targets),))) == {
        "0.weight": 6,
        "3.weight": 6,
    }


def test_heads_are_normalised_each_by_itself() -> None:
    blocks = blocks_of(seeded(HeadNorms), sequences())
    assert invariant_rows(blocks) == {"query.weight": 8, "key.weight": 8}
    assert blocks.rows["query.weight"].block.tolist() == [0] * 4 + [1] * 4


def test_words_beyond_the_first_samples_are_found() -> None:
    blocks = blocks_of(seeded(NormedEmbedding), sentences())
    assert invariant_rows(blocks) == {"words.weight": 40}
    assert blocks.invariant == 40


def test_words_that_no_sample_has_are_free_and_counted() -> None:
    blocks = blocks_of(seeded(NormedEmbedding, 43), sentences(40))
    (words,) = (tensor for tensor in blocks.tensors if tensor.name == "words.weight")
    assert words.invariant == 40
    assert words.reason == "normalised by norm; 3 of 43 rows have no effect on the output"


def test_indices_that_come_as_floating_numbers_are_not_replaced_by_noise() -> None:
    class Table(NormedEmbedding):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs.long() % 40)  # whatever comes, there is a word for it

    ((words, labels),) = sentences()
    assert invariant_rows(blocks_of(seeded(Table), ((words.float(), labels),))) == {"words.weight": 40}


def test_rows_that_scaling_refutes_are_released_alone_and_named() -> None:
    """Rows of length ½ to 9, cut to a limit: only where the limit is far below does a scaling change nothing."""
    module = seeded(MaximumNorm, [1e-3] * 4 + [1.0] + [1e-3] * 8)
    blocks = blocks_of(module, vectors())
    found = {tensor.name: tensor for tensor in blocks.tensors}
    assert found["weight"].invariant == 12
    assert blocks.rows["weight"].block.tolist().index(blocks.invariant) == 4
    assert found["weight"].reason == (
        "scale-invariant; 1 of 13 rows seemed so, but scaling them by ½ or 2 changed an output"
    )


def test_a_tensor_of_which_most_rows_are_refuted_is_released() -> None:
    module = seeded(MaximumNorm, [1.0] * 40)
    with torch.no_grad():
        module.weight.mul_(1.5 / module.weight.norm(dim=1, keepdim=True))
    (tensor,) = (entry for entry in blocks_of(module, vectors()).tensors if entry.name == "weight")
    assert tensor.invariant == 0
    assert "but scaling them by ½ or 2 changed an output" in tensor.reason


def test_weight_norm_leaves_directions_invariant_and_lengths_where_a_norm_follows() -> None:
    normed, bare = (nn.utils.parametrizations.weight_norm(nn.Linear(*size)) for size in ((4, 6), (6, 3)))
    blocks = blocks_of(seeded(lambda: nn.Sequential(normed, nn.BatchNorm1d(6), nn.ReLU(), bare)), vectors())
    assert invariant_rows(blocks) == {
        "0.parametrizations.weight.original0": 6,
        "0.parametrizations.weight.original1": 6,
        "3.parametrizations.weight.original1": 3,
    }
    assert blocks.invariant == 15


def test_weights_of_a_single_number_are_invariant_though_their_gradient_is_zero() -> None:
    ((inputs, targets),) = vectors(features=1)
    module = seeded(mlp_bn, inputs=1)
    assert invariant_rows(blocks_of(module, ((inputs, targets),))) == {"0.weight": 6, "3.weight": 6}
    unused = seeded(lambda: nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 3)))
    assert blocks_of(unused, ((inputs, targets),)).invariant == 0


def test_parameters_without_numbers_are_no_rows() -> None:
    class Hollow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nothing, self.empty = nn.Parameter(torch.zeros(0)), nn.Parameter(torch.zeros(0, 4))
            self.narrow, self.body = nn.Parameter(torch.zeros(5, 0)), mlp_bn()

        def forward(self, inputs: Tensor) -> Tensor:
            return self.body(inputs) + self.nothing.sum() + self.empty.sum()

    blocks = blocks_of(seeded(Hollow), vectors(), "extended")
    assert invariant_rows(blocks)["body.0.weight"] == 6
    assert {tensor.name: tensor.rows for tensor in blocks.tensors}["empty"] == 0


def test_a_dead_unit_behind_no_norm_is_free() -> None:
    module = seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)))
    with torch.no_grad():
        module[0].bias[0] = -50.0
    assert blocks_of(module, vectors()).invariant == 0


def test_what_is_found_is_invariant_and_what_is_free_is_not() -> None:
    """The definition itself, by brute force on every block: L(T_a θ) = L(θ)."""
    module = seeded(PreActivation)
    with torch.no_grad():
        for norm in (module.norm1, module.norm2):
            norm.bias.copy_(torch.linspace(-0.5, 0.7, 6))  # with β = 0 scaling γ alone would change nothing
    surface = LossSurface.of(module, images(), dtype=torch.float64)
    bare = surface.with_norms(treatment=type(surface.treatment)(epsilon=1e-24))
    point = surface.point()
    loss = bare.value(point)
    blocks = find_blocks(surface, point)
    spheres = Spheres(blocks.rows, torch.ones(blocks.invariant + 1, dtype=torch.float64))
    for block in range(blocks.invariant):
        factors = torch.ones(blocks.invariant + 1, dtype=torch.float64)
        factors[block] = 3.7
        assert abs(bare.value(spheres.scale(point, factors)) - loss) < 1e-12
    for name in ("stem.weight", "conv2.weight", "output.weight", "norm1.weight", "norm2.bias"):
        changed = {**point, name: point[name] * 3.7 + (name == "norm2.bias")}
        assert abs(bare.value(changed) - loss) > 1e-6, name
