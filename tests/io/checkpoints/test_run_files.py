"""The files of a training run."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnsharp_cli.io.checkpoints.run_files import RunFiles


@pytest.mark.parametrize(
    ("output", "names"),
    [
        ("run.pt", ("run.best.pt", "run.metrics.jsonl", "run.state")),
        ("a.b.pth", ("a.b.best.pth", "a.b.metrics.jsonl", "a.b.state")),
        ("run", ("run.best", "run.metrics.jsonl", "run.state")),
    ],
)
def test_the_names_begin_as_the_outputs(tmp_path: Path, output: str, names: tuple[str, ...]) -> None:
    files = RunFiles(tmp_path / output)
    assert (files.best.name, files.metrics.name, files.state.name) == names
    files.require_names_apart()
    assert not list(tmp_path.iterdir())
