"""A bounded search for an image or an archive that is neither refused nor sound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis.strategies import SearchStrategy

from tests.hostile.data_mutations import SPOILED_ARCHIVES, SPOILED_IMAGES, archives, images
from tests.hostile.fuzz_data import archive_refused_or_sound, image_refused_or_sound
from tests.hostile.spoiled_bytes import searching

EXAMPLES = 600
SEARCHES = {
    "images": (SPOILED_IMAGES, image_refused_or_sound),
    "archives": (SPOILED_ARCHIVES, archive_refused_or_sound),
}


@pytest.mark.parametrize("kind", SEARCHES)
def test_spoiled_data_is_refused_or_sound(tmp_path: Path, kind: str) -> None:
    strategy: SearchStrategy[bytes]
    refused_or_sound: Callable[[bytes, Path], bool]
    strategy, refused_or_sound = SEARCHES[kind]
    outcomes: Counter[bool] = Counter()

    @searching(EXAMPLES)
    @given(strategy)
    def search(content: bytes) -> None:
        outcomes[refused_or_sound(content, tmp_path / "data")] += 1

    search()
    assert outcomes[False] > EXAMPLES / 10
    assert outcomes[True] > EXAMPLES / 100


@pytest.mark.parametrize("number", range(len(images())))
def test_a_sound_image_is_read(tmp_path: Path, number: int) -> None:
    assert image_refused_or_sound(images()[number], tmp_path / "data")


@pytest.mark.parametrize("number", range(len(archives())))
def test_a_sound_archive_is_read(tmp_path: Path, number: int) -> None:
    assert archive_refused_or_sound(archives()[number], tmp_path / "data")
