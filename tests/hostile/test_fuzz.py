"""A bounded search for a checkpoint that is neither refused nor sound."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given

from tests.hostile.forge import Evil
from tests.hostile.fuzz import division_refused_or_sound, file_refused_or_sound, table_refused_or_sound
from tests.hostile.in_process import watched
from tests.hostile.mutations import distributed, originals, spoiled_tables
from tests.hostile.spoiled_bytes import searching
from tests.hostile.structured_mutations import SPOILED, divided_folders

EXAMPLES = 1500


def test_spoiled_checkpoints_are_refused_or_sound(tmp_path: Path) -> None:
    outcomes: Counter[bool] = Counter()
    for content in originals():
        assert file_refused_or_sound(content, tmp_path)

    @searching(EXAMPLES)
    @given(SPOILED)
    def search(content: bytes) -> None:
        outcomes[file_refused_or_sound(content, tmp_path)] += 1

    search()
    assert outcomes[False] > EXAMPLES / 10
    assert outcomes[True] > EXAMPLES / 100


def test_spoiled_tables_of_contents_are_refused_or_sound(tmp_path: Path) -> None:
    outcomes: Counter[bool] = Counter()
    assert table_refused_or_sound(distributed()[".metadata"], tmp_path)

    @searching(EXAMPLES // 3)
    @given(spoiled_tables())
    def search(table: bytes) -> None:
        outcomes[table_refused_or_sound(table, tmp_path)] += 1

    search()
    assert outcomes[False] > EXAMPLES / 30
    assert outcomes[True] > EXAMPLES / 300


def test_divided_tensors_are_refused_or_read_as_torch_reads_them(tmp_path: Path) -> None:
    outcomes: Counter[bool] = Counter()

    @searching(EXAMPLES // 5)
    @given(divided_folders())
    def search(files: Mapping[str, bytes]) -> None:
        outcomes[division_refused_or_sound(files, tmp_path)] += 1

    search()
    assert outcomes[False] > EXAMPLES / 50
    assert outcomes[True] > EXAMPLES / 50


def test_the_search_would_notice_code_that_runs(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"pickle\.find_class"), watched():
        pickle.loads(pickle.dumps(Evil(tmp_path)))
    with pytest.raises(AssertionError, match=r"os\.system"), watched():
        os.system("true")
    assert list(tmp_path.iterdir()) == []
