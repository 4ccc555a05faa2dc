"""Fast max pooling against torch's own, bit by bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from bnsharp_cli.measurement.surface.norms import NormInterception, NormTreatment
from bnsharp_cli.measurement.surface.pooling import halving_max_pool


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(5, 3, 8, 6), (1, 1, 2, 2), (4, 16, 10, 10)])
def test_values_and_gradients_are_torchs_bit_by_bit(
    generator: torch.Generator, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    x = torch.randn(shape, generator=generator, dtype=dtype).mul(2).round().requires_grad_()
    expected, found = functional.max_pool2d(x, 2), halving_max_pool(functional.max_pool2d, (x, 2), {})
    assert torch.equal(expected, found)
    with torch.no_grad():
        assert torch.equal(expected, halving_max_pool(torch.max_pool2d, (x, (2, 2)), {"stride": [2]}))
    cotangent = torch.randn(expected.shape, generator=generator, dtype=dtype)
    first, second = (torch.autograd.grad(y, x, cotangent)[0] for y in (expected, found))
    assert torch.equal(first, second), "rounded entries tie often: the same one of them must be taken"


def test_infinities_and_nan_are_torchs() -> None:
    x = torch.tensor([[[[1.0, float("nan")], [2.0, 3.0]]], [[[-torch.inf, -torch.inf], [-torch.inf, -torch.inf]]]])
    found = halving_max_pool(functional.max_pool2d, (x, 2), {})
    torch.testing.assert_close(found, functional.max_pool2d(x, 2), equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((2, 3, 8, 8), {"kernel_size": 3}),
        ((2, 3, 8, 8), {"kernel_size": 2, "stride": 1}),
        ((2, 3, 8, 8), {"kernel_size": 2, "padding": 1}),
        ((2, 3, 8, 8), {"kernel_size": 2, "dilation": 2}),
        ((2, 3, 8, 8), {"kernel_size": 2, "return_indices": True}),
        ((2, 3, 7, 8), {"kernel_size": 2}),
        ((3, 8, 8), {"kernel_size": 2}),
    ],
)
def test_everything_else_is_left_to_torch(shape: tuple[int, ...], arguments: dict[str, object]) -> None:
    assert halving_max_pool(functional.max_pool2d, (torch.zeros(shape),), arguments) is None
    assert halving_max_pool(functional.avg_pool2d, (torch.zeros(2, 3, 8, 8), 2), {}) is None
    channels_last = torch.zeros(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    assert halving_max_pool(functional.max_pool2d, (channels_last, 2), {}) is None


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), lambda x: functional.max_pool2d(x, 2), nn.MaxPool2d((2, 2), 2)])
def test_the_interception_sees_every_spelling(monkeypatch: pytest.MonkeyPatch, pool: nn.Module) -> None:
    x, taken = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)), []

    def watched(*call: object) -> torch.Tensor | None:
        taken.append(halving_max_pool(*call))
        return taken[-1]

    monkeypatch.setattr("bnsharp_cli.measurement.surface.norms.halving_max_pool", watched)
    with NormInterception(NormTreatment(), fast_pooling=True):
        pool(x)
    assert any(result is not None for result in taken)
    taken.clear()
    with NormInterception(NormTreatment()):
        pool(x)
    assert not taken
