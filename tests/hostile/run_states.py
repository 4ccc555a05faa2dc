"""States of a training run with one part changed, as somebody could leave them beside the output of another."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from hypothesis import strategies as st

from bnsharp_cli.cli.main import main

_RESUMED = ("train", "--arch", "lenet-bn", "--arch-option", "image_size=8", "--arch-option", "in_channels=1")
_RUN = (*_RESUMED, "--data", "digits", "--batch-size", "512", "--output", "run.pt", "--resume", "--quiet", "--epochs")
_WRONG = (
    None,
    True,
    -1,
    2**63,
    1e300,
    float("nan"),
    "",
    "\x1b[2J",
    b"x",
    [],
    {},
    (1, 2),
    torch.zeros(0),
    torch.full((3,), float("nan")),
)
Change = Callable[[Any], Any]


def commanded(folder: Path, epochs: int) -> tuple[int, str]:
    """The exit code and stderr of a run that goes on in ``folder``."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch("sys.argv", ["bnsharp", *_RUN, str(epochs)]),
        mock.patch.dict(os.environ, COLUMNS="80"),
    ):
        try:
            main()
        except SystemExit as leaving:
            return (leaving.code if isinstance(leaving.code, int) else 70), err.getvalue()
    return 0, err.getvalue()


@cache
def _sound(folder: Path) -> Mapping[str, Any]:
    folder.mkdir(exist_ok=True)
    code, said = commanded(folder, 1)
    assert code == 0, said
    content: Mapping[str, Any] = torch.load(folder / "run.state", weights_only=True)
    return content


@st.composite
def changes(draw: st.DrawFn) -> tuple[list[int], object, bool]:
    """Where to go down from the whole, by the number of the entry; what to put there; whether to drop it instead."""
    way = draw(st.lists(st.integers(0, 15), min_size=1, max_size=4))
    return way, draw(st.sampled_from(_WRONG)), draw(st.integers(0, 4)) == 0


def changed(content: Any, way: list[int], value: object, drop: bool) -> Any:
    """A copy with the part at the end of a way changed, or at the last place that there is on it."""
    if not way or not isinstance(content, dict | list | tuple) or not content:
        return value
    entries = [*(content.items() if isinstance(content, dict) else enumerate(content))]
    key, entry = entries[way[0] % len(entries)]
    last = len(way) == 1 or not isinstance(entry, dict | list | tuple) or not entry
    if drop and last:
        entries.remove((key, entry))
    else:
        entries[way[0] % len(entries)] = (key, changed(entry, way[1:], value, drop))
    return dict(entries) if isinstance(content, dict) else type(content)(entry for _key, entry in entries)


def state_refused_or_resumed(change: tuple[list[int], object, bool], folder: Path) -> bool:
    """Whether a run went on with a changed state; otherwise it ended in one line of reason and one of remedy."""
    sound = _sound(folder / "sound")
    shutil.rmtree(folder / "run", ignore_errors=True)
    shutil.copytree(folder / "sound", folder / "run")
    torch.save(changed(sound, *change), folder / "run" / "run.state")
    code, said = commanded(folder / "run", 1)
    assert code in {0, 2, 3}, (change, code, said)
    if code:
        assert len(said.strip().splitlines()) == 2, (change, said)
        assert all(line.isprintable() for line in said.splitlines()), (change, said)
    return code == 0
