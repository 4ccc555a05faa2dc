"""How the eigenvalues of a Hessian are distributed, against dense Hessians in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.hessian_operator import HessianOperator
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import Quadratic, blocks_by_hand
from tests.measurement.measures.test_hessian import THETA, curved, measured
from tests.measurement.measures.test_partitions import batches, network_of, normed_network


def gaussians(places: np.ndarray, eigenvalues: np.ndarray, weights: np.ndarray, width: float) -> np.ndarray:
    """Σ_i w_i N(λ; λ_i, width²)."""
    bumps = np.exp(-0.5 * ((places[:, None] - eigenvalues) / width) ** 2) / (width * math.sqrt(2 * math.pi))
    return np.asarray(bumps @ weights)


def test_the_density_is_that_of_the_dense_hessian_as_its_random_vector_sees_it() -> None:
    """Every eigenvalue of D H D, in float64, counts with ⟨x, q⟩² for the unit vector x of the run."""
    network, data = network_of(normed_network), batches(False)
    surface = LossSurface.of(network, data, nn.CrossEntropyLoss(), batch_statistics=True, dtype=torch.float64)
    point = surface.point()
    blocks = find_blocks(surface, point, "paper")
    count = sum(tensor.numel() for tensor in point.values())
    measurement = MEASURES["hessian"](
        surface, point, blocks, MeasureOptions.from_flat(iterations=count, rtol=1e-300, hessian_probes=2)
    )
    operator = HessianOperator(surface, point, blocks.spheres(point))
    dense = operator @ torch.eye(count, dtype=torch.float64)
    eigenvalues, vectors = np.linalg.eigh((dense + dense.T).numpy() / 2)
    start = torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    weights = (vectors.T @ (start / np.linalg.norm(start))) ** 2
    record = measurement.details["density"]
    places, found = np.array(record["eigenvalues"]), np.array(record["density"])
    expected = gaussians(places, eigenvalues, weights, record["broadening"])
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6 * expected.max())
    assert (record["runs"], record["error"]) == (1, None)
    for one, exact in zip(measurement.details["largest"], eigenvalues[::-1], strict=False):
        assert one["value"] == pytest.approx(exact, rel=1e-6, abs=1e-9 * eigenvalues[-1])


def test_the_mean_over_random_vectors_is_the_density_of_all_eigenvalues() -> None:
    """Within a few of the standard errors that it comes with, at most places."""
    hessian = torch.diag(torch.tensor([-1.0, 0.5, 1.0, 2.0, 4.0, 9.0], dtype=torch.float64))
    found = measured(
        Quadratic({"b": torch.ones(6)}, torch.ones(6).double(), hessian).surface(),
        blocks_by_hand({"b": (0,) * 6}, invariant=0),
        hessian_starts=400,
        hessian_probes=6,
    )
    record = found.details["density"]
    places, errors = np.array(record["eigenvalues"]), np.array(record["error"])
    expected = gaussians(places, np.diag(hessian.numpy()), np.full(6, 1 / 6), record["broadening"])
    apart = np.abs(np.array(record["density"]) - expected) / errors
    assert np.quantile(apart, 0.9) < 3
    assert apart.max() < 5
    assert errors.max() < 0.2 * expected.max()
    assert record["runs"] == 400


def test_runs_of_one_step_have_no_density() -> None:
    surface = Quadratic(THETA, torch.ones(6).double(), curved()).surface()
    assert measured(surface, iterations=1, hessian_starts=3).details["density"] is None
