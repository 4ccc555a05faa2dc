"""The command on networks that answer with several tensors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.cli.helpers import bnsharp, one_error

NETWORKS = """
import torch
from torch import nn

class One(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.last = nn.Linear(64, 16), nn.Linear(16, 10)

    def forward(self, x):
        return self.last(torch.tanh(self.hidden(x.flatten(1))))

class Two(One):
    def forward(self, x):
        hidden = torch.tanh(self.hidden(x.flatten(1)))
        return hidden, self.last(hidden)

class Named(One):
    def forward(self, x):
        hidden = torch.tanh(self.hidden(x.flatten(1)))
        return {"features": hidden, "scores": self.last(hidden)}
"""
COMMON = ("--data", "digits", "--samples", 256, "--quiet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "several.py").write_text(NETWORKS)
    generator = torch.Generator().manual_seed(0)
    shapes = {"hidden.weight": (16, 64), "hidden.bias": (16,), "last.weight": (10, 16), "last.bias": (10,)}
    weights = {name: torch.randn(shape, generator=generator) / 8 for name, shape in shapes.items()}
    torch.save(weights, tmp_path / "net.pt")
    return tmp_path


def test_the_command_lists_the_outputs_and_takes_the_chosen_one(folder: Path) -> None:
    value = None
    for network, chosen in (("One", ()), ("Two", ("--output-key", 1)), ("Named", ("--output-key", "scores"))):
        printed = bnsharp(
            "measure", "net.pt", "--arch", f"several.py:{network}", *chosen, *COMMON, "--json", folder=folder
        )
        document = json.loads(printed.stdout)
        assert document["options"].get("output_key") == (str(chosen[1]) if chosen else None)
        value = value or document["measures"]["bn"]["value"]
        assert document["measures"]["bn"]["value"] == value


@pytest.mark.parametrize(("network", "chosen"), [("Two", ()), ("Named", ()), ("Two", ("--output-key", "scores"))])
def test_what_is_not_clear_is_refused_with_the_shapes(folder: Path, network: str, chosen: tuple[str, ...]) -> None:
    arguments = ("measure", "net.pt", "--arch", f"several.py:{network}", *chosen, *COMMON)
    refused = bnsharp(*arguments, folder=folder, expect=2)
    assert "(2, 16)" in one_error(refused)
    assert "(2, 10)" in one_error(refused)
    assert chosen or "Choose one with --output-key" in refused.stderr
