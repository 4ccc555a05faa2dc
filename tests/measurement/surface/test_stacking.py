"""Several points at once: vmap against a loop, and memory that runs out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet18

from bnsharp_cli.errors import NotMeasurableError, UsageError
from bnsharp_cli.io.data.batches import DrawnBatches
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.bn_sharpness import bn_sharpness
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.arithmetic import undisturbed
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.measurement.surface.execution_plan import ExecutionPlan
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.stacked_passes import stacked_gradients, stacked_losses
from bnsharp_cli.measurement.surface.stacking import (
    CPU_STACK,
    CPU_STACK_BYTES,
    CUDA_STACK,
    CUDA_STACK_BYTES,
    PointsAtOnce,
    smaller_on_out_of_memory,
)
from bnsharp_cli.models import lenet_bn
from tests.cases import mlp_bn, vectors

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
ROUNDING = {torch.float32: 5e-7, torch.float64: 1e-14}


@pytest.fixture
def untrained() -> nn.Module:
    """A network whose loss is of the size of its logits, so that rounding is relative to it."""
    torch.manual_seed(4)
    return lenet_bn(1, 10, 8)


@pytest.fixture
def without_tf32() -> Iterator[None]:
    with undisturbed(CUDA):
        yield


def around(point: dict[str, Tensor], count: int) -> list[dict[str, Tensor]]:
    return [{name: tensor * (1 + 1e-2 * i) for name, tensor in point.items()} for i in range(count)]


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("statistics", [True, False])
def test_vmap_agrees_with_the_loop_within_rounding(
    untrained: nn.Module, digit_batches: DrawnBatches, dtype: torch.dtype, statistics: bool
) -> None:
    def surface(setting: str | int) -> LossSurface:
        return LossSurface.of(
            untrained,
            digit_batches.batches,
            batch_statistics=statistics,
            dtype=dtype,
            points_at_once=PointsAtOnce(setting),
        )

    loop, stacked = surface("loop"), surface(2)
    points = around(loop.point(), 5)
    expected, found = loop.values(points), stacked.values(points)
    assert found == pytest.approx(expected, rel=ROUNDING[dtype])
    assert stacked.values(points) == found
    assert loop.counter.cost == Cost(forward=5)
    assert stacked.counter.cost == Cost(forward=10)


@pytest.mark.parametrize("dtype", ROUNDING)
def test_stacked_gradients_agree_with_the_loop_within_rounding(
    untrained: nn.Module, digit_batches: DrawnBatches, dtype: torch.dtype
) -> None:
    loop, stacked = (
        LossSurface.of(untrained, digit_batches.batches, dtype=dtype, points_at_once=PointsAtOnce(setting))
        for setting in ("loop", 2)
    )
    points = around(loop.point(), 5)
    told = zip(loop.values_and_gradients(points), stacked.values_and_gradients(points), strict=True)
    for (expected, wanted), (found, gradient) in told:
        assert found == pytest.approx(expected, rel=ROUNDING[dtype])
        largest = max(float(tensor.abs().max()) for tensor in wanted.values())
        for name, tensor in gradient.items():
            torch.testing.assert_close(tensor, wanted[name], rtol=0, atol=30 * ROUNDING[dtype] * largest)
    assert loop.counter.cost == stacked.counter.cost == Cost(forward=5, backward=5)


class Tokens(nn.Module):
    """Tokens through an embedding, a layer norm and an attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 8)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.norm(self.embedding(tokens))
        attention = (hidden @ hidden.transpose(1, 2)).softmax(-1)
        return self.head((attention @ hidden).mean(1))


@pytest.mark.parametrize("kind", ["vectors", "images", "residual", "tokens"])
@pytest.mark.parametrize("dtype", ROUNDING)
def test_losses_and_gradients_of_usual_networks_are_stacked(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    labels, images = torch.tensor([0, 1, 2, 1]), torch.randn(4, 3, 32, 32)
    network, inputs = {
        "vectors": lambda: (mlp_bn(), vectors()[0][0][:4]),
        "images": lambda: (lenet_bn(), images),
        "residual": lambda: (resnet18(num_classes=3), images),
        "tokens": lambda: (Tokens(), torch.randint(9, (4, 5))),
    }[kind]()
    surface = LossSurface.of(network, [(inputs, labels)], dtype=dtype, points_at_once=PointsAtOnce(2))
    points, plan = around(surface.point(), 2), surface._passes()
    assert stacked_losses(plan, points, 2, surface._over_batches) is not None
    assert stacked_gradients(plan, points, surface._over_batches) is not None


class FusedAttention(Tokens):
    """The same with torch's kernel of attention, which ``vmap`` has no rule for."""

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.norm(self.embedding(tokens))
        return self.head(functional.scaled_dot_product_attention(hidden, hidden, hidden).mean(1))


@pytest.mark.filterwarnings("always:There is a performance drop")
def test_a_kernel_that_vmap_would_loop_over_is_left_to_our_loop_without_a_warning() -> None:
    torch.manual_seed(0)
    batch = (torch.randint(9, (4, 5)), torch.tensor([0, 1, 2, 1]))
    network = FusedAttention()
    loop, stacked = (LossSurface.of(network, [batch], points_at_once=PointsAtOnce(setting)) for setting in ("loop", 2))
    points = around(loop.point(), 2)
    with warnings.catch_warnings(record=True) as told:
        assert stacked.values(points) == loop.values(points)
    assert not told


def test_restarts_side_by_side_find_what_they_find_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four starts of two nodes each are eight points of one vmap; they end where they end alone."""
    asked: list[int] = []
    together = LossSurface._stacked_gradients

    def watched(surface: LossSurface, points: list[dict[str, Tensor]]) -> object:
        asked.append(len(points))
        return together(surface, points)

    monkeypatch.setattr(LossSurface, "_stacked_gradients", watched)
    found, network = [], mlp_bn()
    for setting in ("loop", 8):
        surface = LossSurface.of(network, vectors(), dtype=torch.float64, points_at_once=PointsAtOnce(setting))
        point = surface.point()
        options = MeasureOptions(delta=1e-2, restarts=3, iterations=20, precision="float64")
        found.append(bn_sharpness(surface, point, find_blocks(surface, point), options))
    alone, at_once = found
    assert asked[0] == 8
    assert at_once.search.values == pytest.approx(alone.search.values, rel=1e-9)
    assert at_once.value == pytest.approx(alone.value, rel=1e-9)


def test_vmap_was_really_used(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def watched(function, chunk_size: int):
        sizes.append(chunk_size)
        return torch.func.vmap(function, chunk_size=chunk_size)

    monkeypatch.setattr("bnsharp_cli.measurement.surface.passes.vmap", watched)
    surface = LossSurface.of(mlp_bn(), vectors(), dtype=torch.float64, points_at_once=PointsAtOnce(3))
    surface.values(around(surface.point(), 7))
    surface.values(around(surface.point(), 2))
    surface.values(around(surface.point(), 1))
    assert sizes == [3, 2]


def test_a_network_that_vmap_cannot_follow_falls_back_to_the_loop() -> None:
    class Branching(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            outputs = super().forward(inputs)
            return outputs if float(outputs.detach().sum()) > 0 else -outputs

    surface = LossSurface.of(Branching(4, 3), vectors(), dtype=torch.float64, points_at_once=PointsAtOnce(4))
    points = around(surface.point(), 3)
    assert surface.values(points) == [surface.value(point) for point in points]
    assert surface.counter.cost == Cost(forward=6)


def test_the_usual_rule_is_one_of_device_precision_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnsharp_cli.measurement.surface.stacking.free_memory", lambda _: 80e9)
    auto = PointsAtOnce()
    small, large = (ExecutionPlan(held=CPU_STACK_BYTES + more, tried=True) for more in (0, 1))
    assert auto.most(small, CPU, torch.float32) == 1
    assert auto.most(small, CPU, torch.float64) == CPU_STACK
    assert auto.most(large, CPU, torch.float64) == 1
    assert auto.most(large, CUDA, torch.float32) == CUDA_STACK
    assert auto.most(ExecutionPlan(held=CUDA_STACK_BYTES, tried=True), CUDA, torch.float64) == CUDA_STACK
    assert auto.most(ExecutionPlan(held=CUDA_STACK_BYTES + 1, tried=True), CUDA, torch.float64) == 1
    assert auto.most(ExecutionPlan(), CUDA, torch.float32) == 1
    assert PointsAtOnce("loop").most(small, CUDA, torch.float64) == 1
    assert PointsAtOnce(5).most(large, CPU, torch.float32) == 5


def test_out_of_memory_is_tried_again_with_half_as_many() -> None:
    sizes = []

    def evaluate(size: int) -> str:
        sizes.append(size)
        if size > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return "done"

    assert smaller_on_out_of_memory(evaluate, 13, CPU) == ("done", 3)
    assert sizes == [13, 6, 3]


def test_out_of_memory_at_one_point_is_one_clear_error() -> None:
    def evaluate(_: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(NotMeasurableError, match="out of memory on a single batch"):
        smaller_on_out_of_memory(evaluate, 4, CPU)


def test_a_network_out_of_memory_gets_smaller_stacks_not_a_wrong_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def small_memory(function, chunk_size: int):
        def run(stacked: dict[str, Tensor]) -> Tensor:
            sizes.append(chunk_size)
            if chunk_size > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return torch.func.vmap(function, chunk_size=chunk_size)(stacked)

        return run

    monkeypatch.setattr("bnsharp_cli.measurement.surface.passes.vmap", small_memory)
    surface = LossSurface.of(mlp_bn(), vectors(), points_at_once=PointsAtOnce(8))
    points = around(surface.point(), 8)
    assert surface.values(points) == pytest.approx([surface.value(point) for point in points], rel=5e-7)
    assert sizes == [8, 4, 2]


@pytest.mark.parametrize("setting", ["fast", "calibrate", 0, -1])
def test_unknown_settings_are_refused(setting: object) -> None:
    with pytest.raises(UsageError, match=f"points_at_once: .* found {setting!r}"):
        PointsAtOnce(setting)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("setting", ["loop", 4])
@pytest.mark.filterwarnings("ignore:Attempting to run cuBLAS, but there was no current CUDA context")
def test_cuda_agrees_with_the_cpu_within_rounding(
    untrained: nn.Module,
    digit_batches: DrawnBatches,
    dtype: torch.dtype,
    setting: str | int,
    without_tf32: None,
) -> None:
    def surface(device: str) -> LossSurface:
        return LossSurface.of(
            untrained,
            digit_batches.batches,
            dtype=dtype,
            device=device,
            points_at_once=PointsAtOnce(setting),
        )

    on_cpu, on_gpu = surface("cpu"), surface("cuda")
    expected = on_cpu.values(around(on_cpu.point(), 5))
    assert on_gpu.values(around(on_gpu.point(), 5)) == pytest.approx(expected, rel=4 * ROUNDING[dtype])
    value, gradient = on_gpu.value_and_gradient(on_gpu.point())
    assert value == pytest.approx(expected[0], rel=4 * ROUNDING[dtype])
    _, wanted = on_cpu.value_and_gradient(on_cpu.point())
    scale = max(float(tensor.abs().max()) for tensor in wanted.values())
    for name, tensor in gradient.items():
        torch.testing.assert_close(tensor.cpu(), wanted[name], rtol=0, atol=100 * ROUNDING[dtype] * scale)
