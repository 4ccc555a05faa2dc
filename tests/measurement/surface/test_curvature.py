"""Products with the Hessian against dense Hessians by torch, and networks that cannot be differentiated twice."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.core.point import inner, random_normal
from bnsharp_cli.errors import UnfitMeasureError
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.measurement.surface.curvature_checks import require_curvature
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.processes import Processes

Batches = Sequence[tuple[Tensor, Tensor]]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.inner(inputs.reshape(-1, 4, 3))
        return self.head(functional.scaled_dot_product_attention(tokens, tokens, tokens).mean(1))


def convolutional() -> nn.Sequential:
    """Its pooling is what a surface computes by a faster function, which promises one derivative only."""
    return nn.Sequential(
        nn.Unflatten(1, (3, 2, 2)),
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "convolution": convolutional,
    "relu": lambda: nn.Sequential(nn.Linear(12, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)),
    "layer norm": lambda: nn.Sequential(nn.Linear(12, 5), nn.LayerNorm(5), nn.GELU(), nn.Linear(5, 3)),
    "group norm": lambda: nn.Sequential(nn.Linear(12, 6), nn.GroupNorm(2, 6), nn.SiLU(), nn.Linear(6, 3)),
    "attention": Attention,
}


def network(name: str) -> nn.Module:
    torch.manual_seed(3)
    module = NETWORKS[name]().double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.add_(0.3 * torch.rand_like(buffer))
    return module


def batches(sizes: Sequence[int] = (8, 8)) -> Batches:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 12, generator=generator).double(), torch.randint(3, (size,), generator=generator))
        for size in sizes
    ]


def dense_hessian(module: nn.Module, data: Batches, training: bool) -> tuple[Tensor, list[str]]:
    """By torch.autograd.functional, of the network as it is, the mean over examples."""
    own = copy.deepcopy(module).train(training)
    named = {name: parameter.detach() for name, parameter in own.named_parameters()}
    sizes = [tensor.numel() for tensor in named.values()]

    def loss(flat: Tensor) -> Tensor:
        parts = zip(named, torch.split(flat, sizes), strict=True)
        state = {name: part.reshape(named[name].shape) for name, part in parts}
        state |= {name: buffer.clone() for name, buffer in own.named_buffers()}
        examples = sum(len(targets) for _, targets in data)
        losses = [functional.cross_entropy(functional_call(own, state, x), y) * len(y) for x, y in data]
        return sum(losses) / examples

    flat = torch.cat([tensor.reshape(-1) for tensor in named.values()])
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return torch.autograd.functional.hessian(loss, flat), [*named]


def flat(vector: Any) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in vector.values()])


def drawn(surface: LossSurface, count: int) -> list[Any]:
    return [random_normal(surface.point(), torch.Generator().manual_seed(seed)) for seed in range(count)]


@pytest.mark.parametrize("batch_statistics", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_products_are_those_of_the_dense_hessian(name: str, batch_statistics: bool) -> None:
    module, data = network(name), batches()
    surface = LossSurface.of(module, data, dtype=torch.float64, batch_statistics=batch_statistics)
    require_curvature(surface)
    dense, names = dense_hessian(module, data, batch_statistics)
    vectors = drawn(surface, 3)
    for vector, found in zip(vectors, surface.curvature_products(surface.point(), vectors), strict=True):
        assert [*found.product] == names
        assert torch.allclose(flat(found.product), dense @ flat(vector), rtol=1e-10, atol=1e-12)
        for form, batch in zip(found.forms, data, strict=True):
            own, _ = dense_hessian(module, [batch], batch_statistics)
            assert form == pytest.approx(float(flat(vector) @ own @ flat(vector)), rel=1e-9, abs=1e-12)


def test_the_surface_is_differentiated_where_it_is_asked_for() -> None:
    module, data = network("convolution"), batches()
    surface = LossSurface.of(module, data, dtype=torch.float64)
    (vector,) = drawn(surface, 1)
    moved = {name: tensor + 0.1 for name, tensor in surface.point().items()}
    (there,) = surface.curvature_products(moved, [vector])
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1)
    dense, _ = dense_hessian(module, data, True)
    assert torch.allclose(flat(there.product), dense @ flat(vector), rtol=1e-10, atol=1e-12)


def test_batches_count_by_their_sizes() -> None:
    module, data = network("relu"), batches((9, 4, 2))
    surface = LossSurface.of(module, data, dtype=torch.float64, sizes=BatchSizes((9, 4, 2)))
    dense, _ = dense_hessian(module, data, True)
    (vector,) = drawn(surface, 1)
    (found,) = surface.curvature_products(surface.point(), [vector])
    assert torch.allclose(flat(found.product), dense @ flat(vector), rtol=1e-10, atol=1e-12)
    assert sum(found.forms) / 3 == pytest.approx(float(flat(vector) @ dense @ flat(vector)), rel=1e-10)


def test_products_in_float32_are_symmetric_but_for_rounding() -> None:
    surface = LossSurface.of(network("convolution"), batches())
    one, other = drawn(surface, 2)
    first, second = surface.curvature_products(surface.point(), [one, other])
    assert inner(first.product, other) == pytest.approx(inner(second.product, one), rel=1e-4)
    assert inner(first.product, one) == pytest.approx(sum(first.forms) / 2, rel=1e-6)
    assert all(tensor.dtype == torch.float64 for tensor in first.product.values())


def test_some_parameters_have_their_own_part_of_the_hessian() -> None:
    module, data = network("relu"), batches()
    chosen = ["3.weight", "3.bias"]
    found = bnsharp_cli.measure(module, data, name="hessian", parameters=chosen, precision="float64", iterations=40)
    dense, names = dense_hessian(module, data, True)
    sizes = [module.get_parameter(name).numel() for name in names]
    kept = torch.cat([torch.full((size,), name in chosen) for name, size in zip(names, sizes, strict=True)])
    largest = float(torch.linalg.eigvalsh(dense[kept][:, kept])[-1])
    assert found.details["unscaled"]["value"] == pytest.approx(largest, rel=1e-8)


def test_several_vectors_share_a_forward_pass_and_a_gradient() -> None:
    surface = LossSurface.of(network("relu"), batches(), dtype=torch.float64)
    for count in (1, 3):
        before = surface.counter.cost
        surface.curvature_products(surface.point(), drawn(surface, count))
        assert surface.counter.cost - before == Cost(1, 1 + count)
    half = surface.part(0, 1)
    before = surface.counter.cost
    half.curvature_products(surface.point(), drawn(surface, 1))
    assert surface.counter.cost - before == Cost(0.5, 1)


class Share(Processes):
    """One of two processes that the test lets run one after the other: the other's figures are added by hand."""

    def __init__(self, rank: int) -> None:
        super().__init__(rank, 2)


def test_processes_share_the_batches() -> None:
    module, data = network("relu"), batches((8, 8, 8))
    whole = LossSurface.of(module, data, dtype=torch.float64)
    (vector,) = drawn(whole, 1)
    (wanted,) = whole.curvature_products(whole.point(), [vector])
    shares = [LossSurface.of(module, data, dtype=torch.float64, processes=Share(rank)) for rank in range(2)]
    parts = [share.curvature_products(share.point(), [vector])[0] for share in shares]
    assert torch.allclose(sum(flat(part.product) for part in parts), flat(wanted.product), rtol=1e-12, atol=1e-15)
    assert [one + other for one, other in zip(*(part.forms for part in parts), strict=True)] == pytest.approx(
        [*wanted.forms]
    )


class Sine(torch.autograd.Function):
    """Its backward keeps no graph to the input: differentiated again, the cosine is a constant."""

    @staticmethod
    def forward(context: Any, inputs: Tensor) -> Tensor:
        context.save_for_backward(inputs)
        return inputs.sin()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient * context.saved_tensors[0].detach().cos()


class KeptCosine(torch.autograd.Function):
    """What it keeps is no input and no output, so that torch does not know where it comes from."""

    @staticmethod
    def forward(context: Any, inputs: Tensor) -> Tensor:
        context.cosine = inputs.cos()
        return inputs.sin()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient * context.cosine


class OnceOnly(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, inputs: Tensor) -> Tensor:
        context.save_for_backward(inputs)
        return inputs.sin()

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient * context.saved_tensors[0].cos()


class RightSine(Sine):
    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient * context.saved_tensors[0].cos()


class Applied(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(inputs)


def with_function(function: Any) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 4), Applied(function), nn.Linear(4, 3))


@pytest.mark.parametrize("function", [Sine, KeptCosine, OnceOnly])
def test_other_second_derivatives_than_the_losss_are_refused(function: Any) -> None:
    with pytest.raises(UnfitMeasureError) as refused:
        bnsharp_cli.measure(with_function(function.apply), batches(), name="hessian")
    assert "\n" not in str(refused.value)
    assert refused.value.argument == "model"
    found = bnsharp_cli.measure(with_function(function.apply), batches(), measure="all", ball_samples=2)
    assert "second derivatives" in found.skipped["hessian"] or "differentiated twice" in found.skipped["hessian"]


def test_what_torch_differentiates_only_once_is_refused_with_its_reason() -> None:
    says = "cannot be differentiated twice: derivative for aten::multi_margin_loss_backward is not implemented"
    with pytest.raises(UnfitMeasureError, match=says) as refused:
        bnsharp_cli.measure(network("relu"), batches(), functional.multi_margin_loss, "hessian")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(5))
def test_no_rightful_network_is_refused(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(12, 12), Applied(RightSine.apply), NETWORKS[name]())
    require_curvature(LossSurface.of(module, batches((64, 64))))


def test_a_linear_loss_has_no_curvature() -> None:
    surface = LossSurface.of(nn.Linear(12, 3), batches(), lambda outputs, _: outputs.mean(), dtype=torch.float64)
    require_curvature(surface)
    (found,) = surface.curvature_products(surface.point(), drawn(surface, 1))
    assert not flat(found.product).any()
    assert found.forms == (0.0, 0.0)
