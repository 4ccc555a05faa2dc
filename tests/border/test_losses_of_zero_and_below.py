"""Losses that are exactly zero, and those that are negative: a value, or one line and its remedy; never a division."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError, UnfitMeasureError
from tests.border.oracle import bn_limit
from tests.cli.helpers import bnsharp, one_error

CLASSICAL = ["delta-lp", "delta-linf", "keskar"]
CHANGES = ["bn", *CLASSICAL, "noise", "adaptive", "hessian"]
"""Measures that are a change of the loss, so that there is one where the loss does not change."""
ZERO: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "constant": lambda outputs, _: 0 * outputs.sum(),
    "flat where it stands": lambda outputs, _: torch.relu(outputs.abs().mean() - 100),
    "exact fit": lambda outputs, _: (outputs - outputs.detach()).square().mean(),
    "below the smallest number": lambda outputs, _: outputs.square().mean() * 1e-320,
}


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(12, 4, generator=generator), torch.zeros(12, dtype=torch.int64)) for _ in range(2)]


@pytest.mark.parametrize("case", ZERO)
@pytest.mark.parametrize("name", [*CHANGES, "gradient-norm"])
@pytest.mark.parametrize("restarts", [0, 2])
def test_a_loss_of_zero_is_below_resolution(case: str, name: str, restarts: int) -> None:
    if (case, name) == ("exact fit", "hessian"):  # autograd sees a curvature that the loss does not have
        with pytest.raises(UnfitMeasureError, match="second derivatives"):
            bnsharp_cli.measure(network(), batches(), ZERO[case], name, restarts=restarts)
        return
    found = bnsharp_cli.measure(network(), batches(), ZERO[case], name, restarts=restarts)
    assert found.value == pytest.approx(0.0, abs=1e-300)
    assert found.status.value == "below-resolution"


@pytest.mark.parametrize("case", ["constant", "flat where it stands", "exact fit"])
def test_where_no_gradient_has_a_direction_there_is_no_radius(case: str) -> None:
    with pytest.raises(UnfitMeasureError, match="The gradient is zero wherever weights are not"):
        bnsharp_cli.measure(network(), batches(), ZERO[case], "critical-radius")


@pytest.mark.parametrize("case", ZERO)
def test_no_verdict_on_the_invariance_of_zero(case: str) -> None:
    with pytest.raises(NotMeasurableError, match="not above its rounding floor"):
        bnsharp_cli.rescale_test(network(), batches(), ZERO[case])


def test_a_linear_network_at_its_exact_fit() -> None:
    """L = (1/N)‖X v‖² has the supremum (2/5)^½ δ λ/2 over unit v, with λ the largest eigenvalue of its Hessian."""
    torch.manual_seed(0)
    module, x = nn.Linear(10, 1).double(), torch.randn(64, 10, dtype=torch.float64)
    with torch.no_grad():
        data = [(x, module(x))]
    design = torch.cat([x, torch.ones(64, 1, dtype=torch.float64)], 1)
    largest = float(torch.linalg.eigvalsh(2 * design.T @ design / 64).max())
    found = bnsharp_cli.measure(module, data, nn.MSELoss(), restarts=3, precision="float64")
    assert found.value == pytest.approx(0.4**0.5 * 1e-3 * largest / 2, rel=1e-3)


def shifted(by: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda outputs, _: outputs.square().mean() + by


def test_bn_sharpness_of_a_negative_loss_is_that_of_the_loss_plus_a_constant() -> None:
    data = batches()
    wanted = bn_limit(network(), lambda own: sum(own(x.double()).square().mean() for x, _ in data) / 2, ["0.weight"])
    for by in (0.0, -1.5, -30.0):
        found = bnsharp_cli.measure(network(), batches(), shifted(by), precision="float64")
        assert found.details["limit"] == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("exactly", [True, False])
def test_the_classical_measures_of_a_loss_below_minus_one_are_refused(name: str, exactly: bool) -> None:
    criterion = (lambda outputs, _: 0 * outputs.sum() - 1) if exactly else shifted(-3.0)
    with pytest.raises(NotMeasurableError, match=r"divide by 1 \+ L") as refused:
        bnsharp_cli.measure(network(), batches(), criterion, name)
    assert "Add a constant" in refused.value.remedy
    with pytest.raises(NotMeasurableError, match=r"divide by 1 \+ L"):
        bnsharp_cli.rescale_test(network(), batches(), criterion)
    assert bnsharp_cli.measure(network(), batches(), shifted(-3.0 + 4.0), name).value > 0


def test_a_loss_near_the_largest_number() -> None:
    plain, huge = (lambda o, _: o.square().mean() * 1e20), (lambda o, _: o.square().mean() * 1e290)
    wanted = bnsharp_cli.measure(network(), batches(), plain, "delta-lp").value
    assert bnsharp_cli.measure(network(), batches(), huge, "delta-lp").value == pytest.approx(wanted, rel=1e-4)
    for name in ("bn", "delta-linf", "keskar"):
        with pytest.raises(NotMeasurableError, match="not finite"):
            bnsharp_cli.measure(network(), batches(), huge, name)


def test_the_command_on_a_loss_of_zero(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def zero(outputs, targets):\n    return 0 * outputs.sum()\n")
    few = ("sample:digits-small-batch", "--loss", "mine.py:zero", "--samples", 64, "--batch-size", 32, "--quiet")
    finished = bnsharp("measure", *few, "--restarts", 2, folder=tmp_path)
    assert "below-resolution" in finished.stdout
    for command in ("rescale-test", "check"):
        assert "not above its rounding floor" in one_error(bnsharp(command, *few, folder=tmp_path, expect=4))
