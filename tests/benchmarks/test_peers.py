"""The bookkeeping of the comparison: passes, copies, solvers' points, the store and the tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.methods import METHODS, run
from benchmarks.networks import Problem, problem
from benchmarks.objective import BudgetSpentError, Layout, Recorder, bn_objective, starting_point
from benchmarks.peers import main
from benchmarks.tables import _cells, _points
from benchmarks.timing import Store
from bnsharp_cli.core.point import norm


@pytest.fixture(scope="module")
def lenet() -> Problem:
    return problem("lenet-bn", 64, 32)


def test_a_random_rescaling_leaves_the_plain_module_the_same_function(lenet: Problem) -> None:
    other = lenet.rescaled(0)
    ratios = [
        b.detach().flatten(1).norm(dim=1) / a.detach().flatten(1).norm(dim=1)
        for a, b in zip(lenet.module.parameters(), other.module.parameters(), strict=True)
        if a.ndim > 1
    ]
    assert min(float(r.min()) for r in ratios) < 0.2
    assert max(float(r.max()) for r in ratios) > 5
    assert other.loss() == pytest.approx(lenet.loss(), rel=1e-5)


def test_ours_counts_its_passes_as_its_own_cost_says(lenet: Problem) -> None:
    import bnsharp_cli

    cost = bnsharp_cli.measure(lenet.module, lenet.batches).cost
    _, passes = run(next(iter(METHODS)), lenet, 0)
    # blocks, the plan's trial (twice), the watch for narrow types, outputs in two precisions and three losses on a line
    slices = 23 / 8  # look at 8 of the 64 images each
    examining = 7 / 2  # six passes over one of the two batches show what the network does, one over the other
    probing = slices + examining + 0.1
    assert cost.forward < passes.forward < cost.forward + probing
    assert cost.backward < passes.backward < cost.backward + probing


def test_pyhessian_agrees_with_a_quadratic_and_counts_two_backwards_a_product() -> None:
    pytest.importorskip("pyhessian", reason="part of the benchmark extra")
    value, passes = run("trace, PyHessian", _least_squares(), 0)
    assert passes.backward == 2 * passes.forward > 0
    assert value == pytest.approx(_exact_trace(_least_squares()), rel=0.5)


def test_curvlinops_finds_the_largest_eigenvalue() -> None:
    pytest.importorskip("curvlinops", reason="part of the benchmark extra")
    subject = _least_squares()
    value, _ = run("λ_max, curvlinops", subject, 0)
    assert value == pytest.approx(float(torch.linalg.eigvalsh(_exact_hessian(subject))[-1]), rel=1e-3)


def _least_squares() -> Problem:
    """Softmax regression: small enough for its whole Hessian."""
    generator = torch.Generator().manual_seed(3)
    module = nn.Linear(4, 3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return Problem(module, ((torch.randn(8, 4, generator=generator), torch.randint(3, (8,), generator=generator)),))


def _exact_hessian(subject: Problem) -> torch.Tensor:
    names = [name for name, _ in subject.module.named_parameters()]
    sizes = [parameter.numel() for parameter in subject.module.parameters()]
    shapes = [parameter.shape for parameter in subject.module.parameters()]
    ((inputs, targets),) = subject.batches

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = [part.reshape(shape) for part, shape in zip(flat.split(sizes), shapes, strict=True)]
        output = torch.func.functional_call(subject.module, dict(zip(names, parts, strict=True)), inputs)
        return nn.functional.cross_entropy(output, targets)

    flat = torch.cat([parameter.detach().flatten() for parameter in subject.module.parameters()])
    return torch.autograd.functional.hessian(loss, flat)


def _exact_trace(subject: Problem) -> float:
    return float(_exact_hessian(subject).trace())


def test_the_layout_of_other_libraries_is_a_product_of_unit_rows(lenet: Problem) -> None:
    objective = bn_objective(lenet, 1e-2)
    start = starting_point(objective, "random 1")
    layout = Layout.of(start, objective.spheres)
    matrices = layout.matrices(start)
    for matrix in matrices:
        torch.testing.assert_close(matrix.norm(dim=1), torch.ones(len(matrix), dtype=torch.float64))
    back = layout.point(matrices)
    assert all(torch.equal(back[name], tensor) for name, tensor in start.items())
    assert list(back) == list(start)


def test_a_point_counts_once_and_the_budget_holds(lenet: Problem) -> None:
    objective = bn_objective(lenet, 1e-2)
    recorder = Recorder(objective, 2)
    first, second, third = (starting_point(objective, f"random {seed}") for seed in (1, 2, 3))
    lower = recorder.value(first).value
    evaluation = recorder.value_and_gradient(first)
    assert evaluation.value == lower
    assert norm(evaluation.gradient) > 0
    other = recorder.value(second).value
    assert recorder.best == [lower, max(lower, other)]
    with pytest.raises(BudgetSpentError):
        recorder.value(third)


def test_points_to_a_target_are_counted_from_one() -> None:
    assert _points([1.0, 3.0, 4.0], 3.0) == 2
    assert _cells([[1.0, 3.98, 4.0]], 4.0) == ["2", "3", "100.00 %"]
    assert _cells([[1.0]], 4.0)[0] == "–"


def test_a_record_is_computed_once_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    Store(path).compute({"a": 1}, lambda: {"value": 2})
    again = Store(path)
    again.compute({"a": 1}, lambda: pytest.fail("computed twice"))
    assert again.select(a=1) == [{"key": {"a": 1}, "value": 2}]


def test_the_command_refuses_an_unknown_part() -> None:
    with pytest.raises(SystemExit):
        main(["--part", "nothing"])
