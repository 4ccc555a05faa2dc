r"""How the eigenvalues of a symmetric matrix are distributed, from Lanczos runs (Papyan, JMLR 2020).

The Ritz values λ_k of a run from a random vector x, with the squares w_k of the first coefficients of their vectors as
weights, have the moments of the eigenvalues weighted by ⟨x, q_i⟩², whose expectation is the same for every i. So

.. math:: ρ(λ) = E_x Σ_k w_k N(λ; λ_k, σ²)

is the density of the eigenvalues, broadened by σ. Each run alone sees an eigenvalue far from all others with a weight
whose standard deviation is √2 times its mean; several runs tell the error of their mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

from bnsharp_cli.core.lanczos import LanczosRun

_KAPPA, _MARGIN = 3.0, 0.05
"""Of curvlinops: how wide a bump is for the steps of a run, and the room beside the outermost ones."""

_LEAST_POINTS, _POINTS_OF_A_STEP = 101, 5


@dataclass(frozen=True)
class SpectralDensity:
    """The density of eigenvalues; it integrates to 1.

    Attributes:
        eigenvalues: where, ascending.
        density: the mean over the runs.
        error: its standard error there, over the runs; None for a single run.
        broadening: σ, the standard deviation by which every eigenvalue is broadened; the largest of all runs.
        runs: how many there were.
    """

    eigenvalues: list[float]
    density: list[float]
    error: list[float] | None
    broadening: float
    runs: int

    def to_dict(self) -> dict[str, Any]:
        """The figures in plain containers, for JSON."""
        return dict(vars(self))


def spectral_density(runs: Sequence[LanczosRun]) -> SpectralDensity | None:
    """The density by curvlinops, from runs on one matrix from different random vectors.

    Args:
        runs: at least one.

    Returns:
        None where all eigenvalues are one, and of runs of a single step.
    """
    ends = min(float(run.values[0]) for run in runs), max(run.largest for run in runs)
    if ends[0] == ends[1] or any(len(run.values) < 2 for run in runs):
        return None
    smoothed = import_module("curvlinops.papyan2020traces.spectrum").lanczos_approximate_spectrum_from_iter
    steps = max(len(run.values) for run in runs)
    points = max(_LEAST_POINTS, _POINTS_OF_A_STEP * steps + 1)
    each = []
    for run in runs:
        pair = run.values, run.coefficients
        grid, density = smoothed(pair, ends, num_points=points, kappa=_KAPPA, margin=_MARGIN)
        each.append(density)
    stacked = torch.stack(each)
    error = None if len(runs) == 1 else (stacked.std(0) / math.sqrt(len(runs))).tolist()
    widest = max(_broadening(len(run.values), ends) for run in runs)
    return SpectralDensity(grid.tolist(), stacked.mean(0).tolist(), error, widest, len(runs))


def _broadening(steps: int, ends: tuple[float, float]) -> float:
    """σ as curvlinops has it: of bumps that fall to 1/κ half way between as many even nodes on [−1, 1]."""
    half = (1 + 2 * _MARGIN) * (ends[1] - ends[0]) / 2
    return half * 2 / ((steps - 1) * math.sqrt(8 * math.log(_KAPPA)))
