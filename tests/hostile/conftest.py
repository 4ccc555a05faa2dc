"""One parent of hostile cases for all files of this folder: what it imports takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile.harness import Harness, harness


@pytest.fixture(scope="session")
def command() -> Iterator[Harness]:
    with harness() as running:
        yield running
