"""Networks, containers, losses and labels drawn at random have the loss, gradient, blocks and value of plain code."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, given, settings

from tests.border.drawing import DRAWN, Drawn, expected_blocks
from tests.border.drawn import agrees

EXAMPLES = 25


def test_what_is_drawn_agrees_with_plain_float64() -> None:
    found: Counter[bool] = Counter()

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(DRAWN)
    def search(drawn: Drawn) -> None:
        agrees(drawn)
        found[bool(expected_blocks(drawn))] += 1

    search()
    assert min(found.values()) > EXAMPLES / 20
