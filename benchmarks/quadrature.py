"""Does the stated error of the integral hold? Segments of trained networks against a dense sum, for five powers.

    python -m benchmarks.quadrature [--segments 12]
    python -m benchmarks.quadrature --network resnet18 --segments 3 --losses 121   # a quarter of an hour

Every network has ReLU and max pooling, so ΔL has kinks. Segments run along random and along searched directions, at
four radii, in float64. The truth is the sum of a spline through 401 losses on 100,000 points.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from statistics import fmean, median

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from benchmarks.search import NETWORKS, objective
from bnsharp_cli.core.point import Point, add_scaled, inner
from bnsharp_cli.core.quadrature import segment_mean
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

POWERS = (1.0, 1.5, 2.0, 3.0, 4.0)
RADII = (1e-3, 1e-2, 3e-2, 1e-1)
TRUTH = 2e-6
"""Relative error of the dense sum."""


class Segment:
    """ΔL along a direction, each loss evaluated once."""

    def __init__(self, surface: LossSurface, point: Point, loss: float, direction: Point) -> None:
        self._surface, self._point, self._loss, self._direction = surface, point, loss, direction
        self._known: dict[float, float] = {}

    def __call__(self, steps: Sequence[float]) -> list[float]:
        """ΔL at every t."""
        missing = [t for t in steps if t not in self._known]
        values = self._surface.values([add_scaled(self._point, self._direction, t) for t in missing])
        self._known.update((t, value - self._loss) for t, value in zip(missing, values, strict=True))
        return [self._known[t] for t in steps]

    def dense(self, delta: float, losses: int) -> np.ndarray:
        """|ΔL|/δ on 100,000 points."""
        nodes = np.linspace(-1, 1, losses)
        spline = CubicSpline(nodes, self([delta * float(s) for s in nodes]))
        curve: np.ndarray = np.abs(spline((np.arange(100_000) + 0.5) / 50_000 - 1)) / delta
        return curve


Case = tuple[float, int, float]
"""The error over the stated one, the number of losses, and the stated error over the value."""


def segments(name: str, count: int) -> Iterator[tuple[Segment, float, float]]:
    """``count`` segments at each radius: ΔL along it, its radius, and the slope of L there."""
    surface, point, blocks = NETWORKS[name]("")
    precise = surface.in_precision(torch.float64)
    loss, gradient = precise.value_and_gradient(point)
    spheres = blocks.spheres(point)
    generator = torch.Generator().manual_seed(1)
    for delta in RADII:
        climbed = objective((surface, point, blocks), delta, 2)
        for index in range(count):
            u = spheres.random(point, generator)
            for _ in range(index % 2 * (index // 2 % 3 + 1)):
                u = spheres.normalise(climbed.value_and_gradient(u).gradient, u, 1e-13)
            direction = spheres.to_direction(u)
            yield Segment(precise, point, loss, direction), delta, inner(gradient, direction)


def case(segment: Segment, curve: np.ndarray, delta: float, power: float, slope: float) -> Case:
    """One segment against the truth, for one power."""
    largest = float(curve.max())
    truth = largest * float(2 * np.mean((curve / largest) ** power)) ** (1 / power)
    mean = segment_mean(segment, delta, power, slope=slope)
    error = max(0.0, abs(mean.value - truth) - TRUTH * truth)
    return error / mean.error, len(mean.nodes) - 1, mean.error / truth


def row(name: str, power: float, cases: Sequence[Case]) -> str:
    """A row of the table."""
    ratios, losses, stated = zip(*cases, strict=True)
    cells = [name, f"{power:g}", str(len(cases)), f"{sum(ratio <= 1 for ratio in ratios) / len(cases):.1%}"]
    cells += [f"{fmean(losses):.1f}", f"{max(ratios):.2f}", f"{median(stated):.1e}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--segments", type=int, default=12, help="of each network and radius")
    parser.add_argument("--losses", type=int, default=401, help="for the truth of a segment")
    parser.add_argument("--network", action="append", choices=list(NETWORKS), help="mlp-bn and lenet 2e-3 by default")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | p | segments | truth inside | losses, mean | largest error / stated | stated / value, median |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in arguments.network or ["mlp-bn", "lenet 2e-3"]:
        found: dict[float, list[Case]] = {power: [] for power in POWERS}
        for segment, delta, slope in segments(name, arguments.segments):
            curve = segment.dense(delta, arguments.losses)
            for power in POWERS:
                found[power].append(case(segment, curve, delta, power, slope))
        for power, cases in found.items():
            print(row(name, power, cases), flush=True)


if __name__ == "__main__":
    main()
