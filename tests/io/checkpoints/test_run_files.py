"""The files of a training run, and a whole split read once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bnsharp_cli.errors import DataRefusedError
from bnsharp_cli.io.checkpoints.run_files import RunFiles
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.splits import ArraySplit
from bnsharp_cli.io.data.whole_split import read_whole


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
    files.require_writable()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("resident", [0, 10**9])
def test_a_whole_split_is_checked_whether_it_stays_or_not(resident: int) -> None:
    images = torch.rand(300, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    split, preprocessing = ArraySplit(images, torch.arange(300) % 7, "mine"), Preprocessing(None, (0.5,), (0.2,))
    whole = read_whole(split, preprocessing, resident)
    assert torch.equal(whole.targets, torch.arange(300) % 7)
    assert whole.shape == (1, 2, 2)
    assert (whole.inputs is None) == (resident == 0)
    inputs, targets = whole.read(torch.tensor([299, 3]))
    assert torch.equal(inputs, preprocessing.normalise(images[[299, 3]]))
    assert targets.tolist() == [5, 3]
    images[290, 0, 1, 1] = torch.nan
    with pytest.raises(DataRefusedError, match="example 290 of mine has values that are NaN"):
        read_whole(split, preprocessing, resident)
    with pytest.raises(DataRefusedError, match="no examples"):
        read_whole(ArraySplit(images[:0], torch.zeros(0)), preprocessing, resident)
