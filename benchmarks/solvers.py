"""Our search rules and the Riemannian solvers of pymanopt and geoopt, from the same starts on the same objective."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.networks import problem
from benchmarks.objective import (
    RULES,
    BudgetSpentError,
    Layout,
    Objective,
    Point,
    Recorder,
    bn_objective,
    search,
    starting_point,
)
from benchmarks.timing import Record

DELTAS = (1e-3, 1e-2, 0.1)
STARTS = ("gradient", "random 1", "random 2")
RATES = {"RiemannianSGD": (0.1, 1.0, 10.0), "RiemannianAdam": (0.01, 0.1, 1.0)}
"""Learning rates of geoopt's first-order optimisers, for the objective relative to its value at the start."""

Solver = Callable[[Recorder, Point, int], object]


def compare(delta: float, start: str, samples: int, budget: int, threads: int) -> Record:
    """The best value after each evaluated point, for every solver and each of its settings, on LeNet-BN."""
    torch.set_num_threads(threads)
    objective = bn_objective(problem("lenet-bn", samples, samples), delta)
    point = starting_point(objective, start)
    runs = {
        solver: {setting: _run(run, objective, point, budget) for setting, run in settings.items()}
        for solver, settings in _solvers().items()
    }
    return {"solvers": runs}


def _run(solver: Solver, objective: Objective, start: Point, budget: int) -> list[float]:
    recorder = Recorder(objective, budget)
    with contextlib.suppress(BudgetSpentError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # line searches warn where they give up
        solver(recorder, start, budget)
    return recorder.best


def _solvers() -> dict[str, dict[str, Solver]]:
    solvers: dict[str, dict[str, Solver]] = {f"{rule} (ours)": {"": partial(_ours, rule)} for rule in RULES}
    for name in ("SteepestDescent", "ConjugateGradient"):
        solvers[f"{name}, pymanopt"] = {"": partial(_pymanopt, name)}
    for name, rates in RATES.items():
        solvers[f"{name}, geoopt"] = {f"{rate:g}": partial(_geoopt, name, {"lr": rate}) for rate in rates}
    for method in ("steepest", "fr"):
        settings = {"cg_method": method}
        solvers[f"RiemannianLineSearch {method}, geoopt"] = {"": partial(_geoopt, "RiemannianLineSearch", settings)}
    return solvers


def _ours(rule: str, recorder: Recorder, start: Point, budget: int) -> None:
    if rule == "gradient":  # the start is its answer
        recorder.value(start)
        return
    search(RULES[rule](), recorder, [start], budget)


def _pymanopt(name: str, recorder: Recorder, start: Point, budget: int) -> None:
    import pymanopt
    from pymanopt import optimizers
    from pymanopt.manifolds import Oblique, Product

    layout = Layout.of(start, recorder.spheres)
    columns = [matrix.T.numpy().copy() for matrix in layout.matrices(start)]
    manifold = Product([Oblique(*matrix.shape) for matrix in columns])
    scale = recorder.value(start).value

    def to_point(columns: Sequence[np.ndarray]) -> Point:
        return layout.point([torch.from_numpy(np.ascontiguousarray(matrix.T)) for matrix in columns])

    @pymanopt.function.numpy(manifold)
    def cost(*columns: np.ndarray) -> float:
        return -recorder.value(to_point(columns)).value / scale

    @pymanopt.function.numpy(manifold)
    def gradient(*columns: np.ndarray) -> list[np.ndarray]:
        uphill = layout.matrices(recorder.value_and_gradient(to_point(columns)).gradient)
        return [-matrix.T.numpy() / scale for matrix in uphill]

    solver = getattr(optimizers, name)(verbosity=0, max_iterations=budget)
    solver.run(pymanopt.Problem(manifold, cost, euclidean_gradient=gradient), initial_point=columns)


def _geoopt(name: str, settings: dict[str, Any], recorder: Recorder, start: Point, budget: int) -> None:
    import geoopt

    layout = Layout.of(start, recorder.spheres)
    sphere = geoopt.Sphere()
    rows = [geoopt.ManifoldParameter(matrix.clone(), manifold=sphere) for matrix in layout.matrices(start)]
    scale = recorder.value(start).value

    def closure() -> float:
        evaluation = recorder.value_and_gradient(layout.point([matrix.detach() for matrix in rows]))
        for parameter, matrix in zip(rows, layout.matrices(evaluation.gradient), strict=True):
            parameter.grad = -matrix / scale
        return -evaluation.value / scale

    optimizer = getattr(geoopt.optim, name)(rows, **settings)
    for _ in range(budget):
        optimizer.step(closure)
