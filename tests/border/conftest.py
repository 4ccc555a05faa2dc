"""Fewer copies in the rescale test: the tests of this folder are about networks, losses and batches."""

from __future__ import annotations

import pytest

from bnsharp_cli.measurement.invariance import rescale_test
from bnsharp_cli.measurement.invariance.options import DECADES, RANDOM_COPIES

ENDS = {decade: DECADES[decade] for decade in (min(DECADES), max(DECADES))}
"""The strongest scalings: what is invariant under these is so under those between."""


@pytest.fixture(autouse=True)
def few_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescale_test, "DECADES", ENDS)
    monkeypatch.setattr(rescale_test, "RANDOM_COPIES", RANDOM_COPIES[:1])
