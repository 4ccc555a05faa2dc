"""Where a value comes from, as the command shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.helpers import bnsharp

SAMPLE = "sample:digits-small-batch"
FEW = ("--samples", 256, "--batch-size", 64, "--quiet")


@pytest.mark.parametrize(
    ("delta", "says"), [(1e-3, "layer: its part of the value; the parts add up"), (0.3, "these do not add up")]
)
def test_a_table_of_layers_and_its_picture(tmp_path: Path, delta: float, says: str) -> None:
    arguments = ("measure", SAMPLE, "--delta", delta, "--by", "layer", *FEW)
    printed = bnsharp(*arguments, "--plot", "parts.png", "--output", "parts.json", folder=tmp_path).stdout
    assert says in " ".join(printed.split())
    assert max(map(len, printed.splitlines())) <= 80
    each = json.loads((tmp_path / "parts.json").read_text())["measures"]["bn"]["parts"]["each"]
    shown = [line.split()[0] for line in printed[printed.index("by layer") :].splitlines()[1 : 1 + len(each)]]
    assert shown == [part["name"] for part in each]
    with Image.open(tmp_path / "parts.png") as picture:
        assert picture.width > picture.height / 2 > 100


def test_of_many_blocks_the_largest_are_shown(tmp_path: Path) -> None:
    printed = bnsharp("measure", SAMPLE, "--by", "block", *FEW, folder=tmp_path).stdout
    assert "and 207 more with" in printed
    assert "the rest" in printed


def test_other_commands_do_not_divide(tmp_path: Path) -> None:
    for command in ("check", "rescale-test"):
        assert "No such option: --by" in bnsharp(command, SAMPLE, "--by", "layer", folder=tmp_path, expect=2).stderr
