"""``check`` calls a network not invariant only where float64 says so too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.invariance import self_test as module
from bnsharp_cli.measurement.invariance.self_test import SelfTest, self_test
from bnsharp_cli.measurement.measures.bn_sharpness import bn_sharpness
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import mlp_bn, vectors
from tests.cli.helpers import bnsharp, one_error

FAST = ("--samples", 256, "--batch-size", 128, "--quiet")
SAMPLE = "sample:digits-small-batch"


def found(
    monkeypatch: pytest.MonkeyPatch, factors: dict[torch.dtype, float], tolerance: float | None = None
) -> SelfTest:
    """The test of a network whose copies answer ``factors`` times their value, by precision."""
    torch.manual_seed(0)
    surface = LossSurface.of(mlp_bn(), vectors())
    point = surface.point()
    asked: list[Any] = []

    def measured(surface: LossSurface, *arguments: Any) -> Measurement:
        answer = bn_sharpness(surface, *arguments)
        asked.append(surface.dtype)
        first = asked.count(surface.dtype) == 1
        return answer if first else replace(answer, value=answer.value * factors.get(surface.dtype, 1.0))

    monkeypatch.setattr(module, "bn_sharpness", measured)
    return self_test(surface, point, find_blocks(surface, point), MeasureOptions(), tolerance)


def test_a_search_that_stops_elsewhere_in_float32_is_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = found(monkeypatch, {torch.float32: 1.05})
    assert passed.invariant
    assert passed.dtype == torch.float64
    assert "in float64" in passed.sentence


def test_what_deviates_in_float64_too_is_an_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = found(monkeypatch, {torch.float32: 1.05, torch.float64: 1.05})
    assert not failed.invariant
    assert failed.deviation == pytest.approx(0.05, rel=1e-6)


def test_what_passes_in_float32_costs_no_second_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, {}).dtype == torch.float32


def test_a_tolerance_decides_where_it_is_above_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    both = {torch.float32: 1.05, torch.float64: 1.05}
    assert found(monkeypatch, both, tolerance=0.06).invariant
    assert not found(monkeypatch, both, tolerance=0.04).invariant


def test_a_tolerance_below_rounding_cannot_be_measured_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotMeasurableError, match="cannot be measured to"):
        found(monkeypatch, {torch.float32: 1.05, torch.float64: 1 + 1e-10}, tolerance=1e-11)


def test_the_command_takes_a_tolerance_and_skips_the_invariance(tmp_path: Path) -> None:
    lines = bnsharp("check", SAMPLE, *FAST, "--tolerance", "1e-3", folder=tmp_path).stdout
    assert "1.0e-03 allowed" in " ".join(lines.split())
    lines = bnsharp("check", SAMPLE, *FAST, "--skip", "invariance", folder=tmp_path).stdout
    assert "SKIP  invariance" in lines
    assert "PASSED: all 2 checks" in lines.splitlines()
    assert "--tolerance" in one_error(bnsharp("check", SAMPLE, *FAST, "--tolerance", 0, folder=tmp_path, expect=2))
