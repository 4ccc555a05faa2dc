"""Networks that compute parts in half precision: they are computed in full, and it is said; or the floor is true."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.narrowing import narrowest_type
from tests.border.oracle import bn_limit

ROWS = ("layers.0.weight", "layers.3.weight")


class Net(nn.Module):
    """A batch-normalised network of three layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(
            nn.Linear(10, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Linear(32, 32), nn.BatchNorm1d(32), nn.Tanh(),
            nn.Linear(32, 4),
        )  # fmt: skip
        self.mask = torch.ones(32, dtype=torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Autocast(Net):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.layers(x)


class AutocastAndCast(Net):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.layers(x).float()


class Decorated(Net):
    @torch.autocast("cpu", torch.bfloat16)
    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class CastInTheMiddle(Net):
    def forward(self, x: Tensor) -> Tensor:
        hidden = self.layers[0](x)
        return self.layers[1:](hidden.to(torch.bfloat16).to(hidden.dtype))


class HalfByName(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.layers[1:](self.layers[0](x).type("torch.HalfTensor").type(torch.FloatTensor))


class HalfMethod(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.layers[1:](self.layers[0](x).half().float())


class HalfResult(Net):
    def forward(self, x: Tensor) -> Tensor:
        hidden = self.layers[:6](x)
        return self.layers[6](torch.mul(hidden.bfloat16(), self.mask).to(x.dtype))


class LikeAnother(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.layers[1:](self.layers[0](x).type_as(self.mask).float())


class HalfSoftmax(Net):
    def forward(self, x: Tensor) -> Tensor:
        return torch.log_softmax(self.layers(x), 1, dtype=torch.bfloat16).float()


class Float8(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.layers[1:](self.layers[0](x).to(torch.float8_e4m3fn).to(torch.float32))


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(32, 10, generator=generator), torch.randint(4, (32,), generator=generator)) for _ in range(4)]


def loss(module: nn.Module) -> Tensor:
    return sum(functional.cross_entropy(module(x.double()), y) for x, y in batches()) / 4


@pytest.mark.parametrize(
    "network",
    [
        Autocast, AutocastAndCast, Decorated, CastInTheMiddle, HalfByName, HalfMethod, HalfResult, LikeAnother,
        HalfSoftmax, Float8,
    ],
)  # fmt: skip
def test_the_network_is_measured_in_full_precision_and_that_is_said(network: Callable[[], nn.Module]) -> None:
    wanted = bn_limit(Net(), loss, ROWS)
    for precision in ("auto", "float32", "float64"):
        found = bnsharp_cli.measure(network(), batches(), precision=precision, delta=1e-4)
        assert found.details["limit"] == pytest.approx(wanted, rel=1e-5)
        assert found.value == pytest.approx(wanted, rel=2e-3)
        assert found.uncertainty.rounding < 1e-2 * found.value
        if precision != "float64" or "utocast" not in repr(network):
            assert "float16" in repr(found.notes) or "float8" in repr(found.notes)


def test_a_network_without_such_casts_has_no_note() -> None:
    found = bnsharp_cli.measure(Net(), batches())
    assert found.notes == ()
    assert "notes" not in found.to_dict()


def test_autocast_around_the_call_is_neither_used_nor_noted() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = bnsharp_cli.measure(Net(), batches())
        assert torch.is_autocast_enabled("cpu")
    assert found.value == bnsharp_cli.measure(Net(), batches()).value
    assert found.notes == ()


@pytest.mark.parametrize("precision", ["medium", "high"])
def test_the_precision_of_matrix_products_around_the_call_is_not_used(precision: str) -> None:
    wanted = bnsharp_cli.measure(Net(), batches())
    switches = torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv, torch.backends.mkldnn.rnn
    before = [switch.fp32_precision for switch in switches]
    torch.set_float32_matmul_precision(precision)
    try:
        set_by_user = [switch.fp32_precision for switch in switches]
        assert bnsharp_cli.measure(Net(), batches()).value == wanted.value
        assert [switch.fp32_precision for switch in switches] == set_by_user
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision("highest")
        for switch, kept in zip(switches, before, strict=True):
            switch.fp32_precision = kept


class InPlace(Net):
    """Writes into a tensor of its own, whose type no promotion can change."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.layers[0](x)
        kept = _buffer_like(hidden).copy_(hidden)
        return self.layers[1:](kept.to(hidden.dtype))


@torch.jit.ignore
def _made(shape: list[int]) -> Tensor:
    return torch.frombuffer(bytearray(2 * math.prod(shape)), dtype=torch.bfloat16).reshape(shape)


def _buffer_like(x: Tensor) -> Tensor:
    with torch._C.DisableTorchFunction():
        return _made(list(x.shape))


def test_the_floor_of_what_cannot_be_promoted_is_that_of_the_narrow_type() -> None:
    """The stated rounding covers the distance to the value of the same network without rounding, over many networks."""
    covered = 0
    for seed in range(20):
        module = InPlace()
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = bnsharp_cli.measure(module, batches(), precision="float32")
        plain = Net()
        plain.load_state_dict(module.state_dict())
        wanted = bnsharp_cli.measure(plain, batches(), precision="float64").value
        covered += abs(found.value - wanted) <= found.uncertainty.rounding
    assert covered >= 19


def test_the_narrowest_type_is_found() -> None:
    surface = LossSurface.of(InPlace(), batches())
    assert surface.roundoff == torch.finfo(torch.bfloat16).eps
    assert LossSurface.of(Net(), batches()).roundoff == torch.finfo(torch.float32).eps


def test_a_narrower_constant_is_no_narrowing() -> None:
    def run(point: dict[str, Tensor], inputs: Tensor) -> Tensor:
        return inputs * point["w"].double() * torch.ones(3, dtype=torch.float32)

    assert narrowest_type(run, {"w": torch.ones(3)}, [torch.ones(2, 3, dtype=torch.float64)], torch.float64) is None


@pytest.mark.parametrize("factor", [1e-12, 1e15, 1e20])
def test_numbers_beyond_the_range_of_float32_are_refused_and_the_remedy_works(factor: float) -> None:
    """Variances overflow in float32 where the inputs are large, so that the norm answers zeros."""
    data = [(x * factor, y) for x, y in batches()]

    def scaled(module: nn.Module) -> Tensor:
        return sum(functional.cross_entropy(module(x.double()), y) for x, y in data) / 4

    wanted = bn_limit(Net(), scaled, ROWS)
    if factor == 1e20:
        with pytest.raises(NotMeasurableError, match="not those in float64") as refused:
            bnsharp_cli.measure(Net(), data, delta=1e-4)
        assert "precision float64" in refused.value.remedy
    else:
        assert bnsharp_cli.measure(Net(), data, delta=1e-4).details["limit"] == pytest.approx(wanted, rel=1e-3)
    found = bnsharp_cli.measure(Net(), data, precision="float64", delta=1e-4)
    assert found.details["limit"] == pytest.approx(wanted, rel=1e-4)
