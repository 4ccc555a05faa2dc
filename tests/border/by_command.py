"""A row of the table as its owner types it: weights in a file, and a file of Python for network, data and loss."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from tests.border.row import Row
from tests.cli.helpers import bnsharp, one_error

HANDED = """
from torch.utils._pytree import tree_map
from tests.border import table

row = table.{rows}[{name!r}]()
row = getattr(row, "row", row)

def network():
    return row.model

def data(split):
    pairs = row.batches if row.pairs is None else row.pairs
    return [tree_map(lambda tensor: tensor[i], batch) for batch in pairs for i in range(len(batch[-1]))]

loss = row.criterion
"""


def typed(row: Row, name: str, rows: str, folder: Path) -> list[object]:
    """The arguments of ``bnsharp measure``, whose files are written."""
    (folder / "handed.py").write_text(HANDED.format(name=name, rows=rows))
    torch.save(row.model.state_dict(), folder / "net.pt")
    first = next(iter(row.pairs or row.batches), (torch.zeros(1),))
    given: list[object] = ["measure", "net.pt", "--arch", "handed.py:network", "--data", "handed.py:data"]
    given += ["--samples", "all", "--batch-size", len(first[-1]), "--quiet", "--json"]
    if row.criterion is not functional.cross_entropy:
        given += ["--loss", "handed.py:loss"]
    for option, value in row.options:
        given += [{"output": "--output-key"}.get(option, f"--{option}"), value]
    return given


def typed_value(row: Row, name: str, folder: Path) -> float:
    """The value that the command prints."""
    finished = bnsharp(*typed(row, name, "ROWS_OF_VALUES", folder), folder=folder)
    return float(json.loads(finished.stdout)["measures"]["bn"]["value"])


def refusal(row: Row, name: str, rows: str, folder: Path) -> str:
    """The line in which the command refuses, which a remedy follows."""
    arguments = [given for given in typed(row, name, rows, folder) if given != "--json"]
    return one_error(bnsharp(*arguments, folder=folder, expect=(2, 3, 4)))


def as_drawn(row: Row) -> Row:
    """The row with its examples in batches as ``--samples all`` draws them, which docs/data.md describes."""
    pairs: list[Any] = row.pairs or [*row.batches]
    inputs, targets = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
    size = len(pairs[0][1])
    drawn = zip(inputs[order].split(size), targets[order].split(size), strict=True)
    return dataclasses.replace(row, pairs=[*drawn])
