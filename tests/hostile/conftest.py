"""For all files of this folder: one parent of cases, whose imports take seconds, and a watch of connections."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.hostile.harness import Harness, harness


@pytest.fixture(scope="session")
def command() -> Iterator[Harness]:
    with harness() as running:
        yield running


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every attempt to look up or reach another machine."""
    tried: list[Any] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *where, **_: tried.append(where))
    monkeypatch.setattr(socket.socket, "connect", lambda _, where: tried.append(where))
    return tried
