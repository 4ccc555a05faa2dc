"""The curvature between the blocks' radii, against dense Hessians, closed forms and curvlinops' own Hessian."""

from __future__ import annotations

import copy
import math
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError, UnfitMeasureError
from bnsharp_cli.measurement.blocks.blocks import PARTITIONS, Blocks
from bnsharp_cli.measurement.measures.measurement import Measurement, Status
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import Quadratic, blocks_by_hand, sample_surface
from tests.measurement.measures.test_partitions import RESCALINGS, Attention, batches, network_of, normed_network
from tests.measurement.surface.test_curvature import dense_hessian

THETA = {"w": torch.tensor([[3.0, 4.0], [0.6, 0.8]]), "b": torch.tensor([5.0, -7.0])}
DEPRECATED = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
"""By what curvlinops imports; the package of ours is silent."""
ROWS = blocks_by_hand({"w": (0, 1), "b": (2, 2)}, invariant=2)
RADII = torch.tensor([5.0, 5.0, *[float(THETA["w"][1].double().norm())] * 2, 1.0, 1.0], dtype=torch.float64)


def curved(seed: int = 0) -> Tensor:
    half = torch.randn(6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return half + half.T


def measured(surface: LossSurface, blocks: Blocks = ROWS, **options: Any) -> Measurement:
    return MEASURES["hessian"](surface, surface.point(), blocks, MeasureOptions.from_flat(**options))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("probes", [3, 8])
def test_a_quadratic_loss(seed: int, probes: int) -> None:
    """Its Hessian is known; with no fewer random vectors than parameters the trace is exact."""
    hessian = curved(seed)
    scaled = torch.diag(RADII) @ hessian @ torch.diag(RADII)
    found = measured(Quadratic(THETA, torch.ones(6).double(), hessian).surface(), hessian_probes=probes)
    for matrix, value, record in (
        (scaled, found.value, found.details),
        (hessian, found.details["unscaled"]["value"], found.details["unscaled"]),
    ):
        exact = torch.linalg.eigvalsh(matrix)
        assert value == pytest.approx(float(exact[-1]), rel=1e-10)
        assert record["smallest"] == pytest.approx(float(exact[0]), rel=1e-10)
        assert record["residual"] <= 1e-10 * abs(value)
    assert found.uncertainty.bracket == found.details["residual"]
    for matrix, record in ((scaled, found.details), (hessian, found.details["unscaled"])):
        exact = torch.linalg.eigvalsh(matrix)
        if probes == 8:
            assert record["trace"] == pytest.approx(float(exact.sum()), rel=1e-10)
            assert record["trace_error"] == 0.0
        else:
            assert abs(record["trace"] - float(exact.sum())) <= 8 * record["trace_error"]
    assert found.status is Status.CONVERGED
    assert found.uncertainty.rounding < 1e-9 * abs(found.value)
    assert found.uncertainty.sampling is None  # of one batch


@pytest.mark.parametrize("partition", PARTITIONS)
def test_the_dense_hessian_of_a_network(partition: str) -> None:
    network, data = network_of(normed_network), batches(False)
    dense, names = dense_hessian(network, data, True)
    blocks = bnsharp_cli.find_blocks(network, data, partition=partition)
    point = {name: parameter.detach() for name, parameter in network.named_parameters()}
    radii = {}
    for name, tensor in point.items():
        if partition == "element":
            radii[name] = tensor.abs()
        elif partition == "layer":
            radii[name] = tensor.norm().expand_as(tensor)
        elif partition == "filter":
            rows = tensor.norm(dim=1, keepdim=True) if tensor.ndim > 1 else tensor.norm()
            radii[name] = rows.expand_as(tensor)
        else:  # the two probed partitions: rows of what feeds a norm; the test of blocks knows which
            factors = blocks.spheres(point)
            radii[name] = factors.to_direction({one: torch.ones_like(each) for one, each in point.items()})[name]
    flat = torch.cat([radii[name].reshape(-1) for name in names])
    exact = torch.linalg.eigvalsh(torch.diag(flat) @ dense @ torch.diag(flat))
    found = bnsharp_cli.measure(
        network, data, name="hessian", partition=partition, precision="float64", iterations=60, rtol=1e-9
    )
    assert found.value == pytest.approx(float(exact[-1]), rel=1e-8)
    plain = torch.linalg.eigvalsh(dense)
    assert found.details["unscaled"]["value"] == pytest.approx(float(plain[-1]), rel=1e-8)
    for record, values in ((found.details, exact), (found.details["unscaled"], plain)):
        assert abs(record["trace"] - float(values.sum())) <= 6 * record["trace_error"]


LONG = pytest.mark.slow(
    reason="one more partition of the same rescaling",
    quick="tests/measurement/measures/test_hessian.py::test_equal_functions_have_equal_values_where_the_blocks_follow",
)


@pytest.mark.parametrize(
    ("name", "partition"),
    [
        *((name, own[0]) for name, (*_, own) in RESCALINGS.items()),
        *(pytest.param(name, one, marks=LONG) for name, (*_, own) in RESCALINGS.items() for one in own[1:]),
        ("rows before a norm", "paper"),
        ("a layer before a norm", "paper"),
        ("filters of a transposed convolution", "extended"),
    ],
)
def test_equal_functions_have_equal_values_where_the_blocks_follow(name: str, partition: str) -> None:
    make, rescale, _ = RESCALINGS[name]
    network = network_of(make)
    other = copy.deepcopy(network)
    with torch.no_grad():
        rescale(other)
    data = batches(isinstance(network, Attention))
    options: dict[str, Any] = {"partition": partition, "precision": "float64", "iterations": 12}
    found = [bnsharp_cli.measure(one, data, name="hessian", **options) for one in (network, other)]
    for key in ("trace", "smallest"):
        assert found[1].details[key] == pytest.approx(found[0].details[key], rel=1e-8)
    assert found[1].value == pytest.approx(found[0].value, rel=1e-9)
    plain = [one.details["unscaled"]["value"] for one in found]
    assert max(plain) / min(plain) > 1.1


@DEPRECATED
def test_curvlinops_own_hessian_agrees_where_it_sees_the_same_network() -> None:
    """In eval mode, without norms that take the batch's statistics, by scipy's solver."""
    from curvlinops import HessianLinearOperator
    from scipy.sparse.linalg import eigsh

    network = network_of(lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)))
    data = batches(False)
    operator = HessianLinearOperator(network, nn.CrossEntropyLoss(), [*network.parameters()], data)
    start = np.random.default_rng(0).standard_normal(operator.shape[0])
    ((wanted,),) = eigsh(operator.to_scipy(), k=1, which="LA", v0=start, return_eigenvectors=False).reshape(1, 1)
    found = bnsharp_cli.measure(network, data, name="hessian", precision="float64", iterations=60, rtol=1e-9)
    assert found.details["unscaled"]["value"] == pytest.approx(float(wanted), rel=1e-8)


@DEPRECATED
def test_curvlinops_own_hessian_is_of_another_loss_where_norms_take_the_batchs_statistics() -> None:
    """Why it is not used: in train mode it fails, and in eval mode it takes running statistics."""
    from curvlinops import HessianLinearOperator

    network, data = network_of(normed_network), batches(False)
    dense, _ = dense_hessian(network, data, True)
    trains = HessianLinearOperator(
        network.train(), nn.CrossEntropyLoss(), [*network.parameters()], data, check_deterministic=False
    )
    vector = torch.ones(dense.shape[0], dtype=torch.float64)
    with pytest.raises(RuntimeError, match="in-place operation"):
        trains @ vector
    evaluates = HessianLinearOperator(network.eval(), nn.CrossEntropyLoss(), [*network.parameters()], data)
    assert float((evaluates @ vector - dense @ vector).norm()) > 0.1 * float((dense @ vector).norm())


def test_the_trace_errs_by_its_standard_error() -> None:
    hessian = torch.zeros(40, 40, dtype=torch.float64)
    hessian[:] = torch.randn(40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    hessian = hessian + hessian.T + torch.eye(40).double()
    theta = {"b": torch.ones(40)}
    surface = Quadratic(theta, torch.zeros(40).double(), hessian).surface()
    blocks = blocks_by_hand({"b": (0,) * 40}, invariant=0)
    apart = []
    for seed in range(40):
        record = measured(surface, blocks, seed=seed, iterations=1).details
        apart.append((record["trace"] - float(hessian.trace())) / record["trace_error"])
    assert sum(abs(one) <= 2.4 for one in apart) >= 34  # 95 % by Student's t for 8 random vectors: 38 of 40
    assert abs(sum(apart)) / math.sqrt(40) < 3


def test_the_density_integrates_to_one_and_has_the_mean_of_the_eigenvalues() -> None:
    found = bnsharp_cli.measure(network_of(normed_network), batches(False), name="hessian", precision="float64")
    for record in (found.details, found.details["unscaled"]):
        grid, density = (np.array(record["density"][name]) for name in ("eigenvalues", "density"))
        assert np.trapezoid(density, grid) == pytest.approx(1, abs=0.05)
        assert grid[0] < record["smallest"] < grid[-1]
        assert density.min() >= 0


def test_the_error_by_batches_is_that_of_the_quadratic_form() -> None:
    """Two batches with Hessians A and B: at the eigenvector x of their mean, |x·Ax − x·Bx| / 2."""
    one, other = (torch.diag(torch.tensor(numbers, dtype=torch.float64)) for numbers in ([4.0, 1.0], [2.0, 3.0]))
    module = nn.Linear(2, 1, bias=False).double()

    data = [(torch.diag(each.diagonal().sqrt()) * math.sqrt(2), torch.zeros(2, 1).double()) for each in (one, other)]

    def halved_squares(outputs: Tensor, _: Tensor) -> Tensor:
        return outputs.square().mean() / 2

    surface = LossSurface.of(module, data, halved_squares, dtype=torch.float64)
    blocks = blocks_by_hand({"weight": (0,)}, invariant=0)
    found = measured(surface, blocks)
    assert found.value == pytest.approx(3)
    assert found.uncertainty.sampling == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["digits-small-batch", "digits-large-batch"])
def test_float32_is_within_its_stated_rounding(name: str) -> None:
    surface = sample_surface(name, 64, 32)
    blocks = blocks_by_hand({key: (0,) * tensor.shape[0] for key, tensor in surface.point().items()}, invariant=0)
    rough, exact = (measured(each, blocks, iterations=12) for each in (surface, surface.in_precision(torch.float64)))
    assert abs(rough.value - exact.value) <= rough.uncertainty.rounding
    assert rough.uncertainty.rounding < 0.01 * rough.value
    assert measured(surface, blocks, iterations=12) == rough


def test_what_it_costs_is_counted_and_what_stops_early_says_so() -> None:
    surface = sample_surface("digits-small-batch", 128, 32)
    blocks = blocks_by_hand({key: (0,) * tensor.shape[0] for key, tensor in surface.point().items()}, invariant=0)
    found = measured(surface, blocks, iterations=2, hessian_probes=6)
    products = found.details["products"] + found.details["unscaled"]["products"]
    assert products == 2 * (2 + 6)
    assert (found.cost.forward, found.cost.backward) == (2 * (2 + 2) + 2, products + 2 * (2 + 2) + 2 * 2)
    assert (found.uncertainty_cost.forward, found.uncertainty_cost.backward) == (2, 4)
    assert found.status is Status.ITERATION_LIMIT
    more = measured(surface, blocks, iterations=40)
    assert more.status in {Status.WITHIN_TOLERANCE, Status.CONVERGED}
    assert found.value < more.value
    assert more.details["residual"] <= 1e-3 * more.value


def test_a_loss_without_curvature_is_below_resolution() -> None:
    found = measured(Quadratic(THETA, torch.ones(6).double(), torch.zeros(6, 6).double()).surface())
    assert (found.value, found.details["trace"], found.details["density"]) == (0.0, 0.0, None)
    assert found.status is Status.BELOW_RESOLUTION


def test_without_curvlinops_it_is_refused_with_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "curvlinops", None)
    network, data = network_of(normed_network), batches(False)
    with pytest.raises(UnfitMeasureError) as refused:
        bnsharp_cli.measure(network, data, name="hessian")
    assert str(refused.value) == "curvlinops is not installed. Install it: pip install 'bnsharp[hessian]'."
    found = bnsharp_cli.measure(network, data, measure="all", ball_samples=2)
    assert found.skipped["hessian"] == "curvlinops is not installed."


def test_second_derivatives_that_are_not_finite_are_refused() -> None:
    def criterion(outputs: Tensor, _: Tensor) -> Tensor:
        return outputs.abs().pow(1.5).sum()  # whose second derivative at 0 is infinite

    theta = {"w": torch.tensor([[3.0, 4.0], [0.0, 0.8]]), "b": torch.tensor([5.0, -7.0])}
    surface = Quadratic(theta, torch.ones(6).double(), curved()).surface()
    steep = LossSurface.of(surface.module, surface.batches, criterion, dtype=torch.float64)
    with pytest.raises(NotMeasurableError, match="second derivatives of the loss are not finite"):
        measured(steep)


def test_the_random_state_of_torch_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    measured(Quadratic(THETA, torch.ones(6).double(), curved()).surface(), hessian_probes=2)
    assert torch.equal(torch.random.get_rng_state(), before)
