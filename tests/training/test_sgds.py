"""Algorithm 1: the gradient of Eq. (11), its approximations by Eq. (15), and what they do."""

from __future__ import annotations

import copy
import functools
import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.core.ascent import search
from bnsharp_cli.core.point import Point, norm
from bnsharp_cli.core.search_rules import PowerMethod
from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.measures.objective import objective_at
from bnsharp_cli.measurement.measures.options import MeasureOptions, Partition
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.training.displaced_parameters import DisplacedParameters
from bnsharp_cli.training.registry import SgdsOptions
from bnsharp_cli.training.rules import LossClosure, Sgd
from bnsharp_cli.training.sgds import Sgds, _Segment
from tests.cases import vectors

X, Y = (part.double() if part.is_floating_point() else part for part in vectors(48)[0])
UNCLIPPED = {"coefficient": 1.0, "growth": 1.0, "regulariser_clip": math.inf}


def smooth() -> nn.Sequential:
    """Tanh, so that the order of an approximation can be seen."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 6, bias=False), nn.BatchNorm1d(6),
        nn.Tanh(), nn.Linear(6, 3),
    )  # fmt: skip
    return network.double().train()


def loss_of(module: nn.Module, rows: slice = slice(None)) -> Tensor:
    return functional.cross_entropy(module(X[rows]), Y[rows])


def regulariser(partition: Partition = "paper", **options: object) -> Point:
    """What the rule adds to the gradient."""
    module = smooth()
    blocks = bnsharp_cli.find_blocks(module, [(X, Y)], partition=partition)
    plain = torch.autograd.grad(loss_of(module), [*module.parameters()])
    rule = Sgds(module, blocks, 1.0, options=SgdsOptions(**{**UNCLIPPED, **options}))
    rule.step(*[functools.partial(loss_of, module)] * rule.batches_per_step)
    return {name: p.grad - g for (name, p), g in zip(module.named_parameters(), plain, strict=True)}


class Written:
    """L, F and φ(θ) of the same network, written out with plain torch."""

    def __init__(self, delta: float, power: int = 2, partition: Partition = "paper") -> None:
        self.module, self.delta, self.power, self.partition = smooth(), delta, power, partition
        self.theta = {name: p.detach().clone() for name, p in self.module.named_parameters()}
        self.normed = {"0.weight", "3.weight"}

    def loss(self, point: Point) -> Tensor:
        return functional.cross_entropy(functional_call(copy.deepcopy(self.module), point, X), Y)

    def gradient(self, point: Point) -> Point:
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in point.items()}
        return dict(zip(leaves, torch.autograd.grad(self.loss(leaves), [*leaves.values()]), strict=True))

    def lengths(self, name: str, tensor: Tensor, rest: float) -> Tensor | float:
        """‖·‖ of each number's block, and ``rest`` for θ_*."""
        if self.partition == "element":
            return tensor.abs()
        if self.partition == "layer":
            return tensor.norm()
        return tensor.norm(dim=1, keepdim=True) if name in self.normed else rest

    def unit(self, vector: Point) -> Point:
        rest = math.sqrt(sum(float(t.square().sum()) for name, t in vector.items() if name not in self.normed))
        return {n: t / self.lengths(n, t, rest) for n, t in vector.items()}

    def direction(self, point: Point, unit: Point) -> Point:
        return {n: u * self.lengths(n, point[n], 1.0) for n, u in unit.items()}

    def integral(self, point: Point, direction: Point, nodes: int = 30) -> Tensor:
        """F(v), differentiable in ``point`` and, where it depends on it, in ``direction``."""
        total = torch.zeros((), dtype=torch.float64)
        here = self.loss(point)
        for x, w in zip(*np.polynomial.legendre.leggauss(nodes), strict=True):
            moved = {n: t + self.delta * float(x) * direction[n] for n, t in point.items()}
            total = total + float(w) * ((self.loss(moved) - here) / self.delta).abs() ** self.power
        return total


def distance(found: Point, expected: Point) -> float:
    return norm({name: found[name] - expected[name] for name in expected}) / norm(expected)


def exact_gradient(delta: float, power: int, partition: Partition = "paper", *, total: bool) -> Point:
    """By autograd through the integral, at v = Eq. (6)."""
    written = Written(delta, power, partition)
    unit = written.unit(written.gradient(written.theta))
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in written.theta.items()}
    direction = written.direction(leaves if total else written.theta, unit)
    value = written.integral(leaves, direction)
    return dict(zip(leaves, torch.autograd.grad(value, [*leaves.values()]), strict=True))


@pytest.mark.parametrize("partition", ["paper", "layer", "element"])
@pytest.mark.parametrize("power", [2, 4])
@pytest.mark.parametrize("form", ["exact", "exact-total"])
def test_the_exact_forms_are_the_gradient_of_the_integral(partition: Partition, power: int, form: str) -> None:
    expected = exact_gradient(1e-2, power, total=form == "exact-total", partition=partition)
    assert distance(regulariser(partition, delta=1e-2, power=power, regulariser_gradient=form), expected) < 1e-7


def test_exact_total_agrees_with_finite_differences_of_equation_11() -> None:
    written = Written(1e-2)
    unit = written.unit(written.gradient(written.theta))
    generator = torch.Generator().manual_seed(3)
    found = regulariser(delta=1e-2, regulariser_gradient="exact-total")
    for _ in range(3):
        towards = {n: torch.randn(t.shape, generator=generator, dtype=t.dtype) for n, t in written.theta.items()}
        ahead, behind = (
            written.integral(point, written.direction(point, unit))
            for step in (1e-5, -1e-5)
            for point in [{n: t + step * towards[n] for n, t in written.theta.items()}]
        )
        slope = sum(float((found[n] * t).sum()) for n, t in towards.items())
        assert slope == pytest.approx(float(ahead - behind) / 2e-5, rel=1e-6)


@pytest.mark.parametrize("power", [2, 4])
def test_equation_15_with_the_right_sign_is_of_second_order_and_as_printed_of_none(power: int) -> None:
    deltas = (1e-2, 5e-3)
    errors = {
        form: [
            distance(
                regulariser(delta=delta, power=power, regulariser_gradient=form),
                exact_gradient(delta, power, total=False),
            )
            for delta in deltas
        ]
        for form in ("corrected", "printed")
    }
    coarse, fine = errors["corrected"]
    assert math.log2(coarse / fine) >= 1.9, errors
    assert min(errors["printed"]) > 0.9, errors


def test_independent_batches_are_those_of_the_two_gradients() -> None:
    module = smooth()
    blocks = bnsharp_cli.find_blocks(module, [(X, Y)])
    slices = [slice(0, 16), slice(16, 32), slice(32, 48)]
    start, delta = [p.detach().clone() for p in module.parameters()], 1e-2
    for form, sign in (("corrected", -1.0), ("printed", 1.0)):
        with torch.no_grad():
            for parameter, value in zip(module.parameters(), start, strict=True):
                parameter.copy_(value)
        here = torch.autograd.grad(loss_of(module, slices[0]), [*module.parameters()])
        spheres = blocks.spheres(dict(zip(blocks.rows, start, strict=True)))
        v = spheres.direction_along(dict(zip(blocks.rows, here, strict=True)))
        gradients = []
        for rows, step in ((slices[1], 2 / 3 * delta), (slices[2], -2 / 3 * delta)):
            moved = {name: t + step * v[name] for name, t in zip(blocks.rows, start, strict=True)}
            leaves = [t.requires_grad_() for t in moved.values()]
            outputs = functional_call(copy.deepcopy(module), moved, X[rows])
            gradients.append(torch.autograd.grad(functional.cross_entropy(outputs, Y[rows]), leaves))
        slope = sum(float((v[name] * g).sum()) for name, g in zip(blocks.rows, here, strict=True))
        options = SgdsOptions(**UNCLIPPED, delta=delta, regulariser_gradient=form, regulariser_batches="independent")
        rule = Sgds(module, blocks, 1.0, options=options)
        rule.step(*(functools.partial(loss_of, module, rows) for rows in slices))
        for parameter, g, ahead, behind in zip(module.parameters(), here, *gradients, strict=True):
            added = slope / delta * (ahead + sign * behind - (2 * g if form == "printed" else 0))
            torch.testing.assert_close(parameter.grad, g + added, rtol=1e-9, atol=1e-12)


def test_further_batches_are_none_of_the_same_batchs_business() -> None:
    gradients = []
    for count in (1, 3):
        module = smooth()
        rule = Sgds(module, bnsharp_cli.find_blocks(module, [(X, Y)]), 1.0, options=SgdsOptions(**UNCLIPPED))
        rows = [slice(0, 16), slice(16, 32), slice(32, 48)][:count]
        rule.step(*(functools.partial(loss_of, module, part) for part in rows))
        gradients.append([parameter.grad for parameter in module.parameters()])
    assert all(map(torch.equal, *gradients))


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("power", [2, 4])
def test_the_search_is_the_meters(steps: int, power: int) -> None:
    module, delta = smooth(), 5e-2
    blocks = bnsharp_cli.find_blocks(module, [(X, Y)])
    surface = LossSurface.of(module, [(X, Y)], dtype=torch.float64)
    objective = objective_at(surface, surface.point(), blocks, MeasureOptions(delta=delta, power=power))
    start = objective.spheres.normalise(objective.gradient)
    (state,) = search(PowerMethod(), objective, [start], steps, gap_tolerance=0.0)
    assert list(state.values) == sorted(state.values), "the safeguard acted"
    expected = objective.spheres.to_direction(state.coordinates)

    closure: LossClosure = functools.partial(loss_of, module)
    loss = closure()
    loss.backward()
    with DisplacedParameters(Sgd(module, 0.1)) as displaced:
        gradient = displaced.take_gradient()
        options = SgdsOptions(delta=delta, power=power, search_steps=steps)
        segment = _Segment(displaced, blocks.spheres(displaced.origin), gradient, loss.item(), options)
        segment.search(closure)
        found = {name: v.clone() for name, v in segment._direction.items()}
    assert distance(found, expected) < 1e-9


def test_the_gradient_of_the_regulariser_is_clipped_with_its_coefficient() -> None:
    whole = regulariser(delta=1e-2)
    clipped = regulariser(delta=1e-2, regulariser_clip=norm(whole) / 3, coefficient=1.0)
    assert norm(clipped) == pytest.approx(norm(whole) / 3)
    assert distance({n: 3 * t for n, t in clipped.items()}, whole) < 1e-12
    small = regulariser(delta=1e-2, regulariser_clip=norm(whole) / 3, coefficient=0.25)
    assert distance({n: 4 * t for n, t in small.items()}, whole) < 1e-12


def test_lambda_grows_with_the_epochs() -> None:
    module = smooth()
    rule = Sgds(module, bnsharp_cli.find_blocks(module, [(X, Y)]), 0.1)
    for epoch in range(3):
        assert rule.coefficient == pytest.approx(1e-4 * 1.02**epoch)
        rule.end_epoch()


@pytest.mark.parametrize("form", ["corrected", "exact", "exact-total"])
def test_the_objective_of_equation_11_goes_down(form: str) -> None:
    """Full batch, λ so large that F matters; each step's direction is Eq. (6)."""
    written = Written(1e-2)
    module = smooth()
    blocks = bnsharp_cli.find_blocks(module, [(X, Y)])
    options = SgdsOptions(delta=1e-2, coefficient=0.3, growth=1.0, regulariser_clip=math.inf, regulariser_gradient=form)
    rule = Sgds(module, blocks, 0.02, options=options)

    def objective() -> tuple[float, float]:
        point = {name: p.detach().clone() for name, p in module.named_parameters()}
        v = written.direction(point, written.unit(written.gradient(point)))
        loss, sharp = float(written.loss(point)), float(written.integral(point, v, 6))
        return loss + 0.3 * sharp, sharp

    seen = [objective()]
    for _ in range(25):
        rule.step(functools.partial(loss_of, module))
        seen.append(objective())
    totals = [total for total, _ in seen]
    assert 0.3 * seen[0][1] > 0.05 * totals[0], "the regulariser does not matter here"
    assert all(after < before for before, after in itertools.pairwise(totals)), totals


def test_minima_of_the_loss_stay_minima_as_delta_vanishes() -> None:
    """Theorem 4.1 on L(x) = x⁴/4 − x²/2 + x/10: the minimiser of Eq. (11) moves by a multiple of δ²."""
    roots = np.roots([1, 0, -1, 0.1])
    minimum = float(max(roots.real))

    def minimiser(delta: float) -> float:
        module = nn.Linear(1, 1, bias=False).double()
        nn.init.constant_(module.weight, 1.2)

        def loss() -> Tensor:
            x = module.weight.squeeze()
            return x**4 / 4 - x**2 / 2 + x / 10

        ones = torch.ones(2, 1, dtype=torch.float64)
        blocks = bnsharp_cli.find_blocks(module, [(ones, ones)], functional.mse_loss)
        options = SgdsOptions(
            delta=delta, coefficient=0.5, growth=1.0, regulariser_clip=math.inf, regulariser_gradient="exact-total"
        )
        rule = Sgds(module, blocks, 0.3, options=options)
        for _ in range(60):
            rule.step(loss)
        return module.weight.item()

    away = [abs(minimiser(delta) - minimum) for delta in (0.2, 0.1, 0.05)]
    assert [math.log2(a / b) for a, b in itertools.pairwise(away)] == pytest.approx([2, 2], abs=0.15)


def test_values_out_of_range_are_refused() -> None:
    for wrong, says in (
        ({"power": 3}, "an even number"),
        ({"delta": 1.5}, r"in \(0, 1\)"),
        ({"regulariser_gradient": "right"}, "one of corrected, printed, exact, exact-total, found 'right'"),
        ({"regulariser_gradient": "exact", "regulariser_batches": "independent"}, "compares losses on one batch"),
        ({"regulariser_clip": 0.0}, "a positive number"),
    ):
        with pytest.raises(UsageError, match=says):
            SgdsOptions(**wrong)
    module = smooth()
    blocks = bnsharp_cli.find_blocks(module, [(X, Y)])
    with pytest.raises(UsageError, match="nothing is known of weight"):
        Sgds(nn.Linear(2, 2), blocks, 0.1)
