"""The Lanczos method against full eigenvalue decompositions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bnsharp_cli.core.lanczos import lanczos


def matrix(values: Tensor, seed: int = 0) -> Tensor:
    """A dense symmetric matrix with these eigenvalues."""
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator, dtype=torch.float64))
    return basis @ torch.diag(values) @ basis.T


def start(size: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


SPECTRA = {
    "outliers": torch.cat([torch.linspace(-1, 1, 95), torch.tensor([5.0, 7.0, 8.0, 20.0, 40.0])]).double(),
    "below zero": torch.linspace(-3, -1, 60).double(),
    "a flat end": torch.linspace(0, 1, 80).double().sqrt(),
    "several at the top": torch.tensor([4.0] * 5 + [0.0] * 45).double(),
}


@pytest.mark.parametrize("steps", [3, 12, 40])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_the_residual_is_true_and_reaches_an_eigenvalue(spectrum: str, steps: int) -> None:
    dense = matrix(SPECTRA[spectrum])
    run = lanczos(lambda vector: dense @ vector, start(len(dense)), steps, 1e-12)
    exact = np.linalg.eigvalsh(dense.numpy())
    apart = dense @ run.vector - run.largest * run.vector
    assert float(apart.norm()) == pytest.approx(run.residual, rel=1e-6, abs=1e-12)
    assert np.abs(exact - run.largest).min() <= run.residual + 1e-12
    assert run.largest <= exact[-1] + 1e-12
    assert float(run.values[0]) >= exact[0] - 1e-12
    assert float(run.vector.norm()) == pytest.approx(1)


def test_all_eigenvalues_of_a_small_matrix_and_their_weights() -> None:
    dense, first = matrix(torch.linspace(-1, 3, 9).double()), start(9)
    run = lanczos(lambda vector: dense @ vector, first, 50, 1e-15)
    exact, vectors = np.linalg.eigh(dense.numpy())
    assert run.values.numpy() == pytest.approx(exact, abs=1e-12)
    seen = (vectors.T @ (first / first.norm()).numpy()) ** 2
    assert run.coefficients[0].square().numpy() == pytest.approx(seen, abs=1e-12)


def test_no_eigenvalue_comes_twice_in_many_steps() -> None:
    """Without new orthogonality there are copies of the largest one after some twenty steps."""
    dense = matrix(torch.cat([torch.linspace(0, 1, 99), torch.tensor([3.0])]).double())
    run = lanczos(lambda vector: dense @ vector, start(100), 60, -1.0)
    assert int((run.values > 2).sum()) == 1
    assert len(run.values) == 60


def test_it_ends_where_nothing_is_left_to_find_and_where_it_is_told_to() -> None:
    zero = lanczos(torch.zeros_like, start(30), 20, 1e-3)
    assert (zero.largest, zero.residual, len(zero.values)) == (0.0, 0.0, 1)
    twice = lanczos(lambda vector: 2 * vector, start(30), 20, 1e-3)
    assert twice.largest == pytest.approx(2)
    assert len(twice.values) == 1
    dense = matrix(SPECTRA["outliers"])
    few = lanczos(lambda vector: dense @ vector, start(100), 60, 1e-2)
    assert 10 <= len(few.values) < 30
    assert few.residual <= 1e-2 * few.largest


def test_vectors_in_float32_cost_no_more_than_their_digits() -> None:
    dense = matrix(SPECTRA["outliers"])
    run = lanczos(lambda vector: dense @ vector, start(100), 40, 0.0, torch.float32)
    assert run.largest == pytest.approx(40, rel=1e-6)


def test_a_product_that_is_not_finite_is_not_hidden() -> None:
    run = lanczos(lambda vector: vector * float("nan"), start(5), 5, 1e-3)
    assert not np.isfinite(run.residual)
