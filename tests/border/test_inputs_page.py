"""docs/inputs.md: what it says of each kind of input is what the table of the border and the command do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from tests.border.table import ROWS_OF_VALUES
from tests.cli.helpers import bnsharp, one_error
from tests.documents import ROOT, Document

PAGE = Document(ROOT / "docs" / "inputs.md")
LINES = re.findall(r"^\| [^|]*, `([^`]+)` \| ([^|]*) \| ([^|]*) \|$", PAGE.text, re.MULTILINE)
EXAMPLE = """
from dataclasses import dataclass
import torch
from tests.border.rows_of_inputs import Graph, OfGraph as network

def graphs(split):
    edges = torch.tensor([[0, 1], [1, 2]])
    return [(Graph(torch.randn(3, 6), edges, torch.zeros(3, dtype=torch.int64)), 0)] * 4
"""


def test_the_page_has_the_kinds_that_a_table_can_have() -> None:
    assert len(LINES) == PAGE.text.count("\n| ") - 2
    assert len(LINES) >= 13


@pytest.mark.parametrize(("name", "batch", "example"), LINES, ids=[name for name, *_ in LINES])
def test_what_is_said_of_an_input_is_what_is_tested(name: str, batch: str, example: str) -> None:
    row = ROWS_OF_VALUES[name]()
    assert bool(row.command) == (example in {"refused", "time is the second axis there"})
    inputs, targets = next(iter(row.batches))
    if match := re.match(r"(?:int64 )?tensor \(([^)]*)\)", batch):
        assert isinstance(inputs, torch.Tensor)
        assert inputs.ndim == len(match[1].split(","))
        axis = match[1].split(", ").index("N")
        assert inputs.shape[axis] == len(targets)
        assert ("int64" in batch) is (inputs.dtype == torch.int64)
    else:
        written = {"((": tuple, "({": dict, "(g": object}[batch.strip("`")[:2]]
        assert type(inputs) is written or (written is object and type(inputs) not in {tuple, dict, list})


def test_the_command_names_the_input_that_it_refuses(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(EXAMPLE)
    torch.save(ROWS_OF_VALUES["graphs as one object"]().model.state_dict(), tmp_path / "net.pt")
    arguments = ("measure", "net.pt", "--arch", "mine.py:network", "--data", "mine.py:graphs", "--batch-size", 4)
    said = one_error(bnsharp(*arguments, folder=tmp_path, expect=3))
    assert said.endswith("example 0: expected numbers as the input, found a Graph.")


def test_the_refusal_that_the_page_quotes_is_that_of_the_command(tmp_path: Path) -> None:
    (quoted,) = re.findall(r"`(expected [^`]*)`", " ".join(PAGE.text.split()))
    torch.save({"weight": torch.ones(1, 2)}, tmp_path / "net.pt")
    (tmp_path / "mine.py").write_text(
        "import torch\ndef network():\n    return torch.nn.Linear(2, 1, bias=False)\n"
        "def data(split):\n    return [({'x': torch.ones(2), 'gain': torch.ones(1)}, 0)] * 4\n"
    )
    arguments = ("measure", "net.pt", "--arch", "mine.py:network", "--data", "mine.py:data", "--batch-size", 4)
    assert quoted in one_error(bnsharp(*arguments, folder=tmp_path, expect=3))
