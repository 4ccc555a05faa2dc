"""Theorem 3.2 on a really trained network, and what it does not cover."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.data.batches import DrawnBatches, draw_batches
from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.networks.load_weights import load_weights
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks, find_partitions
from bnsharp_cli.measurement.invariance.invariance_report import InvarianceReport
from bnsharp_cli.measurement.invariance.rescale_test import measure_copies
from bnsharp_cli.measurement.invariance.self_test import self_test
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.models import lenet_bn
from tests.cases import images, mlp_bn, vectors
from tests.measurement.networks import HeadNorms, NormedEmbedding, OneNormTwice, OwnNorm, sentences, sequences


def report_of(module: nn.Module, batches: DrawnBatches, dtype: torch.dtype, **options: object) -> InvarianceReport:
    surface = LossSurface.of(module, batches.batches, dtype=dtype)
    point = surface.point()
    blocks, extended = find_partitions(surface, point)
    precision = "float64" if dtype == torch.float64 else "float32"
    resolved = MeasureOptions.from_flat(**{"ball_samples": 4, "precision": precision, **options})
    stored = bool(resolved.search == "gradient")
    return measure_copies(surface, point, blocks, extended, resolved, stored_epsilon=stored)


@pytest.fixture(scope="module")
def digit_batches(sample_path: Path) -> DrawnBatches:
    """Few: T_a is exact on any samples."""
    preprocessing = Preprocessing.from_dict(load_checkpoint(sample_path).metadata["preprocessing"])
    return draw_batches(open_data("digits"), 128, 64, 0, preprocessing)


@pytest.fixture(scope="module")
def report(sample_path: Path, digit_batches: DrawnBatches) -> InvarianceReport:
    """The copies of the embedded sample in float64."""
    checkpoint = load_checkpoint(sample_path)
    network = lenet_bn(**checkpoint.metadata["architecture_options"])
    load_weights(network, checkpoint)
    return report_of(network, digit_batches, torch.float64)


def test_float64_is_invariant_to_nine_digits_and_the_classical_measures_are_not(report: InvarianceReport) -> None:
    assert report.invariant
    assert len(report.copies) == 11
    assert max(abs(copy.deviation) for copy in report.copies) <= 1e-9
    assert all(copy.loss_drift < 1e-15 for copy in report.copies)
    linf = [copy.measures["delta-linf"].value for copy in report.copies]
    assert max(linf) > 10 * min(linf)
    a0 = report.copies[-1]
    assert a0.name == "a0"
    assert a0.measures["delta-linf"].value >= a0.lower_bound[1] * (1 - 1e-3)
    assert a0.lower_bound[1] > 1e3 * report.reference.measures["delta-linf"].value
    assert "is invariant" in report.verdict


def test_gamma_and_beta_move_the_published_measure_but_not_the_extended_one(report: InvarianceReport) -> None:
    copy = report.gamma_beta
    assert copy.loss_drift < 1e-15
    assert abs(copy.deviation) > 0.5
    extended = copy.measures["bn-extended"].value / copy.measures["bn-extended-original"].value
    assert abs(extended - 1) <= 1e-9


def test_float32_is_invariant_below_its_stated_rounding(sample_network: nn.Module, digit_batches: DrawnBatches) -> None:
    report = report_of(sample_network, digit_batches, torch.float32)
    assert report.invariant
    for copy in report.copies:
        assert abs(copy.deviation) <= copy.tolerance
        assert abs(copy.deviation) <= 1e-4
        assert copy.tolerance <= 1e-3


def test_the_printed_search_is_not_invariant_and_the_verdict_says_why(
    sample_network: nn.Module, digit_batches: DrawnBatches
) -> None:
    report = report_of(sample_network, digit_batches, torch.float64, search="paper", iterations=5, delta=0.1)
    assert not report.invariant
    values = [copy.measures["bn"].value for copy in report.copies]
    assert max(values) > 1.5 * min(values)
    assert "NOT invariant" in report.verdict
    assert "Eq. (17) as printed steps in v" in report.verdict


def test_stored_epsilon_breaks_the_invariance(sample_network: nn.Module, digit_batches: DrawnBatches) -> None:
    report = report_of(sample_network, digit_batches, torch.float64, search="gradient")
    assert not report.invariant
    assert report.copies[0].loss_drift_stored_epsilon > 0.1


@pytest.mark.parametrize("statistics", [True, False], ids=["batch", "running"])
@pytest.mark.parametrize("delta", [1e-3, 1e-2])
def test_self_test_in_both_modes_and_precisions(
    sample_network: nn.Module, digit_batches: DrawnBatches, statistics: bool, delta: float
) -> None:
    for dtype, most in ((torch.float32, 2e-4), (torch.float64, 1e-9)):
        surface = LossSurface.of(sample_network, digit_batches.batches, batch_statistics=statistics, dtype=dtype)
        point = surface.point()
        options = MeasureOptions(delta=delta, precision="float64" if dtype == torch.float64 else "float32")
        found = self_test(surface, point, find_blocks(surface, point), options)
        assert found.invariant
        assert found.dtype == dtype
        assert found.deviation <= most


def test_a_bias_before_a_norm_breaks_the_invariance_in_running_mode_only() -> None:
    """There L depends on b, whose displacement is not scaled with that of its row: a limit of Theorem 3.2."""
    torch.manual_seed(0)
    module = mlp_bn(bias=True)
    verdicts = {}
    for statistics in (True, False):
        surface = LossSurface.of(module, vectors(), batch_statistics=statistics, dtype=torch.float64)
        point = surface.point()
        blocks = find_blocks(surface, point)
        options = MeasureOptions.from_flat(precision="float64", ball_samples=2)
        verdicts[statistics] = measure_copies(surface, point, blocks, blocks, options)
    assert verdicts[True].invariant
    assert all(copy.loss_drift < 1e-12 for copy in verdicts[False].copies)
    assert not verdicts[False].invariant
    assert "a bias before a norm acts" in verdicts[False].verdict


def quick_report(module: nn.Module, batches: object, *, statistics: bool = True) -> InvarianceReport:
    surface = LossSurface.of(module, batches, batch_statistics=statistics, dtype=torch.float64)
    point = surface.point()
    blocks = find_blocks(surface, point)
    return measure_copies(surface, point, blocks, blocks, MeasureOptions.from_flat(precision="float64", ball_samples=2))


def test_norms_of_heads_are_invariant() -> None:
    torch.manual_seed(0)
    report = quick_report(HeadNorms(), sequences())
    assert report.invariant
    assert not any(copy.tied for copy in report.copies)
    assert max(copy.loss_drift for copy in report.copies) < 1e-13


@pytest.mark.parametrize(
    ("build", "batches", "statistics", "tied"),
    [
        (NormedEmbedding, sentences(), True, "words.weight"),
        (lambda: OneNormTwice(bias=False), images(), False, "first.weight, second.weight"),
    ],
    ids=["words", "one norm twice"],
)
def test_rows_that_must_share_a_factor_are_invariant_and_named(
    build: Callable[[], nn.Module], batches: object, statistics: bool, tied: str
) -> None:
    torch.manual_seed(0)
    report = quick_report(build(), batches, statistics=statistics)
    assert report.invariant
    assert f"The rows of {tied} share one a" in report.verdict
    named = {copy.name: copy.to_dict()["tied"] for copy in report.copies}
    assert named["random 1"] == tied.split(", ")
    assert named["a = 0.001"] == []


def test_a_copy_that_cannot_be_exact_is_no_failed_invariance() -> None:
    torch.manual_seed(0)
    report = quick_report(OwnNorm(1e-13), vectors())
    drifts = {copy.name: copy.loss_drift for copy in report.copies if not copy.judged}
    assert {"a = 0.001", "a0"} <= set(drifts)
    assert max(drifts.values()) > 1e-9
    assert report.invariant
    assert all(name in report.verdict.partition("Not judged")[2] for name in drifts)
    assert max(abs(copy.deviation) for copy in report.copies) > 1e-9


def test_copies_of_which_none_can_be_exact_are_no_verdict() -> None:
    torch.manual_seed(0)
    module = OwnNorm(1e-13)
    with torch.no_grad():
        module.hidden.weight.mul_(1e-2)  # σ² is no more than a billion ε, whichever way it is scaled
    surface = LossSurface.of(module, vectors(), dtype=torch.float64)
    point = surface.point()
    blocks = find_blocks(LossSurface.of(OwnNorm(0.0), vectors()), point)
    with pytest.raises(NotMeasurableError, match="No rescaled copy computes the same function"):
        self_test(surface, point, blocks, MeasureOptions(precision="float64"))


def test_nothing_to_rescale_is_said() -> None:
    surface = LossSurface.of(nn.Sequential(nn.Linear(4, 3)), vectors())
    point = surface.point()
    blocks = find_blocks(surface, point)
    with pytest.raises(NotMeasurableError, match="no scale-invariant weights"):
        measure_copies(surface, point, blocks, blocks, MeasureOptions())


def test_a_value_below_resolution_is_no_verdict() -> None:
    surface = LossSurface.of(mlp_bn(), vectors(), lambda outputs, _: outputs.sum() * 0 + 3.0)
    point = surface.point()
    blocks = find_blocks(surface, point)
    with pytest.raises(NotMeasurableError, match="not above its rounding floor"):
        self_test(surface, point, blocks, MeasureOptions())


def test_the_record_is_plain_and_complete(sample_network: nn.Module, digit_batches: DrawnBatches) -> None:
    report = report_of(sample_network, digit_batches, torch.float32)
    record = report.copies[0].to_dict()
    assert record["scale"] == 1e-3
    assert set(record) >= {"loss", "loss_drift", "loss_drift_stored_epsilon", "measures", "theorem_3_1_lower_bound"}
    assert math.isfinite(record["measures"]["bn"]["value"])
