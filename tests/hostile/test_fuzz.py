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

EXAMPLES, MANY = 400, 1500
LONG = pytest.mark.slow(
    reason="the same search for longer",
    quick="tests/hostile/test_fuzz.py::test_spoiled_checkpoints_are_refused_or_sound",
)


@pytest.mark.parametrize("examples", [EXAMPLES, pytest.param(MANY, marks=LONG)])
def test_spoiled_checkpoints_are_refused_or_sound(tmp_path: Path, examples: int) -> None:
    outcomes: Counter[bool] = Counter()
    for content in originals():
        assert file_refused_or_sound(content, tmp_path)

    @searching(examples)
    @given(SPOILED)
    def search(content: bytes) -> None:
        outcomes[file_refused_or_sound(content, tmp_path)] += 1

    search()
    assert outcomes[False] > examples / 10
    assert outcomes[True] > examples / 100


def test_spoiled_tables_of_contents_are_refused_or_sound(tmp_path: Path) -> None:
    outcomes: Counter[bool] = Counter()
    assert table_refused_or_sound(distributed()[".metadata"], tmp_path)

    @searching(MANY // 3)
    @given(spoiled_tables())
    def search(table: bytes) -> None:
        outcomes[table_refused_or_sound(table, tmp_path)] += 1

    search()
    assert outcomes[False] > MANY / 30
    assert outcomes[True] > MANY / 300


def test_divided_tensors_are_refused_or_read_as_torch_reads_them(tmp_path: Path) -> None:
    outcomes: Counter[bool] = Counter()

    @searching(MANY // 5)
    @given(divided_folders())
    def search(files: Mapping[str, bytes]) -> None:
        outcomes[division_refused_or_sound(files, tmp_path)] += 1

    search()
    assert outcomes[False] > MANY / 50
    assert outcomes[True] > MANY / 50


def test_the_search_would_notice_code_that_runs(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"pickle\.find_class"), watched():
        pickle.loads(pickle.dumps(Evil(tmp_path)))
    with pytest.raises(AssertionError, match=r"os\.system"), watched():
        os.system("true")
    assert list(tmp_path.iterdir()) == []
