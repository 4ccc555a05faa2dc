"""A real browser for tests of pages: Debian's Chromium, without a display, a network or a profile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REQUIRED = "BNSHARP_BROWSER_TESTS"
"""An environment variable: with the value ``required`` a machine without a browser fails the tests."""

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser; the test is skipped where there is none, unless one is required."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        reason = f"there is no browser: install one of {', '.join(_NAMES)}"
        if os.environ.get(REQUIRED) == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=[*_ARGUMENTS])
        yield opened
        opened.close()
