"""What reading data tells a user who waits for it."""

from __future__ import annotations

from collections.abc import Callable

ReadingProgress = Callable[[str], None]
"""Takes a line that says how far it is; an empty line when it is done."""


def silent(_: str) -> None:
    """Tell nobody of any progress."""
