"""Files that name what would do harm to whoever loads them otherwise: refused as a whole, with nothing done."""

from __future__ import annotations

import copy
import datetime
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from tests.io.checkpoints.foreign_objects import assert_the_remedy_works, written
from tests.io.checkpoints.test_weights import weights


class Calls:
    def __init__(self, function: object, *arguments: object) -> None:
        self.given = function, arguments

    def __reduce__(self) -> Any:
        return self.given


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.system, ("touch executed",)),
        (os.remove, ("net.pt",)),
        (eval, ("open('executed', 'w')",)),
        (exec, ("open('executed', 'w')",)),
        (open, ("executed", "w")),
        (subprocess.run, (["touch", "executed"],)),
        (__import__, ("os",)),
        (torch.load, ("net.pt",)),
        (copy.copy, (os.system,)),
    ],
    ids=lambda given: getattr(given, "__name__", "with"),
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_file_that_names_what_would_do_harm_is_refused_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: Any, arguments: tuple[Any, ...], inside: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    call = Calls(function, *arguments)
    content = {"state_dict": weights(), "hook": Calls(datetime.date, call) if inside else call}
    with pytest.raises(CheckpointRefusedError, match="which can run programs or change files") as caught:
        load_checkpoint(written(tmp_path / "net.pt", content))
    assert "nothing in it was executed" in caught.value.reason
    assert [*tmp_path.iterdir()] == [tmp_path / "net.pt"]
    assert_the_remedy_works(caught.value.remedy, tmp_path)
