"""What is compared: every measure as a function of a problem and a seed, with its passes counted by hooks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.module import register_module_forward_hook

import bnsharp_cli
from benchmarks.networks import Problem
from benchmarks.published import worst_case_sharpness

TRACE_PRODUCTS = 10
"""Hessian products of curvlinops' trace, which has no default."""

EIGENVALUE_TOLERANCE = 1e-3
"""PyHessian's default, given to both."""


FURTHER = ("noise", "critical-radius", "pac-bayes-sigma", "adaptive", "hessian", "relative-flatness", "gradient-norm")
"""Of our measures, beside BN-Sharpness."""


@dataclass
class Passes:
    """Passes over all samples; a batch counts for its part."""

    forward: float = 0.0
    backward: float = 0.0


@contextmanager
def counted(module: nn.Module, samples: int) -> Iterator[Passes]:
    """Count the passes through ``module`` and through every copy of it that is made meanwhile.

    The hook is one of torch's for all modules, since a private copy may leave the module's own hooks out; a copy is of
    the same class and has as many parts.
    """
    passes, parts = Passes(), len([*module.modules()])

    def on_forward(seen: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not isinstance(seen, type(module)) or len([*seen.modules()]) != parts:
            return
        share = len(inputs[0]) / samples
        passes.forward += share

        def on_backward(_: Tensor) -> None:
            passes.backward += share

        if output.requires_grad:
            output.register_hook(on_backward)

    handle = register_module_forward_hook(on_forward)
    try:
        yield passes
    finally:
        handle.remove()


def bn_sharpness(problem: Problem, seed: int) -> float:
    """Ours, default options, through the Python interface."""
    return bnsharp_cli.measure(problem.module, problem.batches, seed=seed).value


def further(problem: Problem, seed: int, *, name: str) -> float:
    """Another of our measures, default options."""
    return bnsharp_cli.measure(problem.module, problem.batches, name=name, seed=seed).value


def worst_case(problem: Problem, seed: int, *, norm: str, adaptive: bool) -> float:
    """Worst-case sharpness, see :mod:`benchmarks.published`."""
    return worst_case_sharpness(problem.module, problem.batches, norm=norm, adaptive=adaptive, seed=seed)


def curvlinops_eigenvalue(problem: Problem, seed: int) -> float:
    """The largest eigenvalue of curvlinops' Hessian by scipy's Lanczos method, as its documentation shows."""
    from scipy.sparse.linalg import eigsh

    operator = _hessian(problem)
    start = np.random.default_rng(seed).standard_normal(operator.shape[0]).astype(np.float32)
    tolerance = EIGENVALUE_TOLERANCE
    found = eigsh(operator.to_scipy(), k=1, which="LA", tol=tolerance, v0=start, return_eigenvectors=False)
    return float(found[0])


def curvlinops_trace(problem: Problem, seed: int) -> float:
    """The trace of curvlinops' Hessian by its Hutchinson estimator, one vector at a time to bound the memory."""
    from curvlinops import hutchinson_trace

    operator = _hessian(problem)
    torch.manual_seed(seed)
    return float(np.mean([float(hutchinson_trace(operator, num_matvecs=1)) for _ in range(TRACE_PRODUCTS)]))


def pyhessian_eigenvalue(problem: Problem, seed: int) -> float:
    """PyHessian's largest eigenvalue (in magnitude) by power iteration, default options."""
    torch.manual_seed(seed)
    return float(_pyhessian(problem).eigenvalues()[0][0])


def pyhessian_trace(problem: Problem, seed: int) -> float:
    """PyHessian's trace, default options."""
    torch.manual_seed(seed)
    return float(np.mean(_pyhessian(problem).trace()))


METHODS: dict[str, Callable[[Problem, int], float]] = {
    "BN-Sharpness (ours)": bn_sharpness,
    **{f"{name} (ours)": partial(further, name=name) for name in FURTHER},
    "worst case, adaptive L∞": partial(worst_case, norm="linf", adaptive=True),
    "worst case, adaptive L2": partial(worst_case, norm="l2", adaptive=True),
    "worst case, plain L∞": partial(worst_case, norm="linf", adaptive=False),
    "worst case, plain L2": partial(worst_case, norm="l2", adaptive=False),
    "λ_max, curvlinops": curvlinops_eigenvalue,
    "λ_max, PyHessian": pyhessian_eigenvalue,
    "trace, curvlinops": curvlinops_trace,
    "trace, PyHessian": pyhessian_trace,
}


def run(method: str, problem: Problem, seed: int) -> tuple[float, Passes]:
    """One value of one method, and what it cost.

    A Hessian product counts one forward and two backwards. PyHessian's second backward passes the network's output
    again and is seen by the hook; curvlinops' goes through function transforms, where no hook is called.
    """
    with counted(problem.module, problem.samples) as passes, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyHessian's backward(create_graph=True) warns at every product
        value = METHODS[method](problem, seed)
    if "curvlinops" in method:
        passes.backward = 2 * passes.forward
    return value, passes


def _hessian(problem: Problem) -> Any:
    from curvlinops import HessianLinearOperator

    return HessianLinearOperator(
        problem.module,
        nn.CrossEntropyLoss(),
        list(problem.module.parameters()),
        list(problem.batches),
        check_deterministic=False,
        num_data=problem.samples,
    )


def _pyhessian(problem: Problem) -> Any:
    from pyhessian import hessian

    on_cuda = next(problem.module.parameters()).is_cuda
    return hessian(problem.module, functional.cross_entropy, dataloader=list(problem.batches), cuda=on_cuda)
