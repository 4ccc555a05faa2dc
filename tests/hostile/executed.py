"""What shows that code ran."""

from __future__ import annotations

import os
from pathlib import Path

MARKER = "executed"


class Evil:
    """Unpickling this leaves a file behind."""

    def __init__(self, folder: Path) -> None:
        self.marker = folder / MARKER

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)
