"""The supremum by independent means: brute force and another library, on an independent implementation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pymanopt
import pytest
import torch
from pymanopt.manifolds import Product, Sphere
from pymanopt.optimizers import ConjugateGradient
from torch import Tensor, nn

from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.bn_sharpness import bn_sharpness
from bnsharp_cli.measurement.measures.objective import objective_at
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.supremum import find_supremum
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import trained, vectors


def _exact(options: dict[str, object]) -> MeasureOptions:
    return MeasureOptions(**{"precision": "float64", **options})


class TinyNetwork:
    """An independent implementation of a small normalised network, for many directions at once, in float64."""

    def __init__(self, module: nn.Sequential, delta: float, power: float) -> None:
        ((self.inputs, self.targets),) = vectors()
        self.inputs = self.inputs.double()
        self.parameters = {name: parameter.detach().double() for name, parameter in module.named_parameters()}
        self.epsilon, self.activation = module[1].eps, module[2]
        self.delta, self.power = delta, power
        nodes, weights = np.polynomial.legendre.leggauss(12)
        self.steps, self.weights = nodes * delta, weights

    def loss(self, p: dict[str, Tensor]) -> Tensor:
        """Mean cross entropy for stacked parameters (K, …) → (K,)."""
        hidden = torch.einsum("nf,khf->knh", self.inputs, p["0.weight"])
        centred = hidden - hidden.mean(1, keepdim=True)
        hidden = centred / (centred.square().mean(1, keepdim=True) + self.epsilon).sqrt()
        hidden = self.activation(hidden * p["1.weight"][:, None] + p["1.bias"][:, None])
        logits = torch.einsum("knh,kch->knc", hidden, p["3.weight"]) + p["3.bias"][:, None]
        chosen = logits.gather(2, self.targets[None, :, None].expand(len(logits), -1, 1))[..., 0]
        return (logits.logsumexp(2) - chosen).mean(1)

    def directions(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        """Stacked raw directions put on φ(θ): rows of the first layer, and one sphere for the rest."""
        theta = self.parameters["0.weight"]
        rows = raw["0.weight"] / raw["0.weight"].norm(dim=2, keepdim=True) * theta.norm(dim=1)[None, :, None]
        rest = torch.cat([raw[name].flatten(1) for name in ("1.weight", "1.bias", "3.weight", "3.bias")], dim=1)
        size = rest.norm(dim=1)
        others = {
            name: raw[name] / size.reshape(-1, *[1] * (raw[name].ndim - 1))
            for name in ("1.weight", "1.bias", "3.weight", "3.bias")
        }
        return {"0.weight": rows, **others}

    def mean(self, v: dict[str, Tensor]) -> Tensor:
        """F(v)^{1/p}, (K,)."""
        base = self.loss({name: tensor[None] for name, tensor in self.parameters.items()})
        total = 0.0
        for step, weight in zip(self.steps, self.weights, strict=True):
            moved = {name: self.parameters[name] + step * v[name] for name in v}
            total = total + weight * ((self.loss(moved) - base) / self.delta).abs() ** self.power
        return total ** (1 / self.power)


LONG = pytest.mark.slow(
    reason="a hundred thousand directions",
    quick="tests/measurement/measures/test_bn_supremum.py::test_random_directions_never_do_better",
)


@pytest.mark.parametrize(
    ("delta", "thousands"), [(1e-3, 10), pytest.param(1e-3, 100, marks=LONG), pytest.param(0.1, 100, marks=LONG)]
)
def test_random_directions_never_do_better(tiny: nn.Sequential, delta: float, thousands: int) -> None:
    surface = LossSurface.of(tiny, vectors(), dtype=torch.float64)
    point = surface.point()
    blocks = find_blocks(surface, point)
    options = _exact(
        {"delta": delta} if delta < 0.01 else {"delta": delta, "restarts": 8, "iterations": 60, "search_nodes": 8}
    )
    value = bn_sharpness(surface, point, blocks, options).value
    oracle = TinyNetwork(tiny, delta, 2.0)
    generator = torch.Generator().manual_seed(6)
    best, starts = 0.0, []
    for _ in range(thousands // 10):
        raw = {
            name: torch.randn(10_000, *tensor.shape, generator=generator, dtype=torch.float64)
            for name, tensor in oracle.parameters.items()
        }
        v = oracle.directions(raw)
        means = oracle.mean(v)
        best = max(best, float(means.max()))
        leading = means.topk(10 * 100 // thousands).indices
        starts.append({name: tensor[leading] for name, tensor in v.items()})
    assert best <= value * (1 + 1e-6)
    assert best > value / 3
    together = {name: torch.cat([start[name] for start in starts]) for name in starts[0]}
    assert _climbed(oracle, together, 150 if thousands < 100 else 600) == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(("delta", "nodes", "judged"), [(1e-3, 2, 2), (0.1, 6, 24)])
def test_restarts_climb_by_as_many_nodes_as_the_radius_needs(
    tiny: nn.Sequential, delta: float, nodes: int, judged: int
) -> None:
    """Two are F at 1e-3; at 0.1 every start goes on with six, and the highest is that by many more."""
    surface = LossSurface.of(tiny, vectors(), dtype=torch.float64)
    point = surface.point()
    options = _exact({"delta": delta, "restarts": 3})
    objective = objective_at(surface, point, find_blocks(surface, point), options)
    found = find_supremum(objective, options)
    assert len(found.values) == 4
    assert list(found.values) == sorted(found.values, reverse=True)
    assert len(found.best.changes) == nodes
    by = {count: replace(objective, nodes=count).value(found.best.best).value for count in (2, nodes, judged)}
    assert found.best.best_value == pytest.approx(by[nodes], rel=1e-12)
    assert found.values[0] == pytest.approx(by[judged], rel=1e-12)
    assert (abs(by[2] / by[nodes] - 1) < 1e-3) is (nodes == 2)


def _climbed(oracle: TinyNetwork, start: dict[str, Tensor], steps: int = 600) -> float:
    """The best end of plain projected gradient ascents by autograd on the independent implementation, stacked."""
    v, step = start, torch.full((len(start["1.bias"]),), 0.3, dtype=torch.float64)
    best = oracle.mean(v)
    for _ in range(steps):
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in v.items()}
        gradients = torch.autograd.grad(oracle.mean(oracle.directions(leaves)).sum(), list(leaves.values()))
        size = torch.cat([gradient.flatten(1) for gradient in gradients], dim=1).norm(dim=1).clamp_min(1e-300)
        moved = {
            name: v[name] + (step / size).reshape(-1, *[1] * (gradient.ndim - 1)) * gradient
            for name, gradient in zip(v, gradients, strict=True)
        }
        trial = oracle.directions(moved)
        value = oracle.mean(trial)
        better = value > best
        v = {name: torch.where(better.reshape(-1, *[1] * (trial[name].ndim - 1)), trial[name], v[name]) for name in v}
        best, step = torch.where(better, value, best), torch.where(better, step * 1.3, step * 0.6)
    return float(best.max())


def test_pymanopt_finds_the_same_supremum() -> None:
    """Conjugate gradients of another library on the same product of spheres and the independent objective.

    On a smooth network: at the kinks of a ReLU network conjugate gradients stall below the supremum.
    """
    tiny = trained(nn.Tanh())
    surface = LossSurface.of(tiny, vectors(), dtype=torch.float64)
    point = surface.point()
    options = _exact({"delta": 1e-2, "iterations": 60, "restarts": 4, "search_nodes": 8, "rtol": 1e-6})
    value = bn_sharpness(surface, point, find_blocks(surface, point), options).value
    oracle = TinyNetwork(tiny, 1e-2, 2.0)
    shapes = {name: oracle.parameters[name].shape for name in ("1.weight", "1.bias", "3.weight", "3.bias")}
    manifold = Product([*(Sphere(4) for _ in range(3)), Sphere(sum(shape.numel() for shape in shapes.values()))])

    @pymanopt.function.pytorch(manifold)
    def cost(a: Tensor, b: Tensor, c: Tensor, rest: Tensor) -> Tensor:
        parts = torch.split(rest, [shape.numel() for shape in shapes.values()])
        raw = {"0.weight": torch.stack([a, b, c])[None]}
        raw |= {name: part.reshape(1, *shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return -oracle.mean(oracle.directions(raw))[0]

    solver = ConjugateGradient(verbosity=0, max_iterations=300)
    rng = np.random.default_rng(0)
    starts = [
        [x / np.linalg.norm(x) for x in (*rng.standard_normal((3, 4)), rng.standard_normal(18))] for _ in range(5)
    ]
    best = max(-solver.run(pymanopt.Problem(manifold, cost), initial_point=start).cost for start in starts)
    assert value == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize("nodes", [2, 4])
@pytest.mark.parametrize("delta", [0.3, 0.4])
def test_converged_is_said_where_the_gradient_of_the_value_itself_vanishes(delta: float, nodes: int) -> None:
    """Two nodes are not F at these radii: what they climb to its end is no local supremum of F. Four nodes are F."""
    tiny = trained(nn.Tanh())
    surface = LossSurface.of(tiny, vectors(), dtype=torch.float64)
    options = _exact({"delta": delta, "iterations": 200, "search_nodes": nodes})
    measured = bn_sharpness(surface, surface.point(), find_blocks(surface, surface.point()), options)
    assert measured.details["gap"] <= 1e-4  # by the nodes of the search
    vanishes = _gap(TinyNetwork(tiny, delta, 2.0), measured.direction) <= 1e-4
    assert vanishes is (nodes == 4)
    assert measured.status.value == ("converged" if vanishes else "within-tolerance")


def _gap(oracle: TinyNetwork, direction: dict[str, Tensor]) -> float:
    """1 − Σ⟨v_i, g_i⟩ / Σ‖v_i‖‖g_i‖ by autograd on the independent implementation, g_i = ∇_{v_i} F^{1/p}."""
    leaves = {name: tensor[None].clone().requires_grad_() for name, tensor in direction.items()}
    gradients = dict(zip(leaves, torch.autograd.grad(oracle.mean(leaves).sum(), [*leaves.values()]), strict=True))
    leaves = {name: leaf.detach() for name, leaf in leaves.items()}
    rows = [(leaves["0.weight"][0, row], gradients["0.weight"][0, row]) for row in range(3)]
    rest = [name for name in leaves if name != "0.weight"]
    rows.append(tuple(torch.cat([part[name].flatten() for name in rest]) for part in (leaves, gradients)))
    reached = sum(float((v * g).sum()) for v, g in rows)
    return 1 - reached / sum(float(v.norm() * g.norm()) for v, g in rows)
