"""Means and standard errors over seeds."""

from __future__ import annotations

import pytest

from bnsharp_cli.report.reproduction import MeanAndError


def test_standard_errors() -> None:
    assert MeanAndError.of([3.0]) == MeanAndError(3.0, None)
    assert MeanAndError.of([1.0, 3.0]) == MeanAndError(2.0, pytest.approx(1.0))
    assert MeanAndError.of([1.0, 2.0, 3.0, 4.0]).error == pytest.approx((5 / 3 / 4) ** 0.5)
