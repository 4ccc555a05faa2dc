"""The folders of the sample checkpoints that travel with the package, and how the samples are called."""

from __future__ import annotations

from pathlib import Path

SAMPLE_PREFIX = "sample:"

_PACKAGE = Path(__file__).resolve().parents[2]
SAMPLE_FOLDERS = (_PACKAGE / "sample_checkpoints", _PACKAGE.parent / "sample_checkpoints")
"""In the package, or beside it in a source checkout."""


def sample_title(path: object) -> str:
    """``sample:NAME`` for the file of a sample, empty for any other."""
    own = isinstance(path, Path) and path.parent in SAMPLE_FOLDERS
    return f"{SAMPLE_PREFIX}{path.stem}" if isinstance(path, Path) and own else ""
