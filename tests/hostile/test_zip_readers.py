"""Zip files whose parts contradict each other: other readers open many of them, and not the same ones."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch

from tests.hostile import file_cases
from tests.hostile.cases import CASES

CONTRADICTIONS = ("contradicts its directory", "declares more bytes", "damaged or truncated zip", "checksum of")
MISPLACED = ("not where it should be", "its end counts", "does not end")


def _torch_opens(path: Path) -> bool:
    try:
        torch.load(path, weights_only=True)
    except Exception:
        return False
    return True


def _python_opens(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:
        return False


def test_two_usual_readers_disagree_about_files_that_are_refused_here(tmp_path: Path) -> None:
    assert file_cases  # its import fills the table
    opened = []
    for name, case in CASES.items():
        folder = tmp_path / name
        if any(says in case.says for says in (*CONTRADICTIONS, *MISPLACED)) and name != "long-zip-of-nothing":
            folder.mkdir()
            path = case.write(folder)
            if path.is_file() and path.read_bytes()[:2] == b"PK":
                opened.append((_torch_opens(path), _python_opens(path)))
    assert len(opened) >= 17
    assert sum(by_torch for by_torch, _ in opened) >= 9
    assert sum(by_python for _, by_python in opened) >= 8
    assert sum(by_torch != by_python for by_torch, by_python in opened) >= 7
