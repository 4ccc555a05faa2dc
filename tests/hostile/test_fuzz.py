"""A bounded search for a checkpoint that is neither refused nor sound."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.hostile.forge import Evil
from tests.hostile.fuzz import refused_or_sound, table_refused_or_sound, watched
from tests.hostile.mutations import SPOILED, distributed, originals, spoiled_tables

EXAMPLES = 1500


def test_spoiled_checkpoints_are_refused_or_sound(tmp_path: Path) -> None:
    outcomes: Counter[bool] = Counter()
    for content in originals():
        assert refused_or_sound(content, tmp_path / "net.pt")

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(SPOILED)
    def search(content: bytes) -> None:
        outcomes[refused_or_sound(content, tmp_path / "net.pt")] += 1

    search()
    assert outcomes[False] > EXAMPLES / 10
    assert outcomes[True] > EXAMPLES / 100


def test_spoiled_tables_of_contents_are_refused_or_sound(tmp_path: Path) -> None:
    outcomes: Counter[bool] = Counter()
    assert table_refused_or_sound(distributed()[".metadata"], tmp_path)

    @settings(
        max_examples=EXAMPLES // 3,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(spoiled_tables())
    def search(table: bytes) -> None:
        outcomes[table_refused_or_sound(table, tmp_path)] += 1

    search()
    assert outcomes[False] > EXAMPLES / 30
    assert outcomes[True] > EXAMPLES / 300


def test_the_search_would_notice_code_that_runs(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"pickle\.find_class"), watched():
        pickle.loads(pickle.dumps(Evil(tmp_path)))
    with pytest.raises(AssertionError, match=r"os\.system"), watched():
        os.system("true")
    assert list(tmp_path.iterdir()) == []
