"""Fewer copies in the rescale test: the tests of this folder are about networks, losses and batches."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _few_copies(few_copies: None) -> None:
    """In every test."""
