"""One parent of processes for all files of this folder: what it imports takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.launch import Launcher, launcher


@pytest.fixture(scope="session")
def launch() -> Iterator[Launcher]:
    with launcher() as started:
        yield started
