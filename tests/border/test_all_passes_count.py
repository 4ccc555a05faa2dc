"""The total cost of the command is what the network itself counts, trials and probes included."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.cli.helpers import bnsharp

LOG = "TESTED_PASSES"
COUNT = 64
CODE = """
import torch
from tests.border import test_all_passes_count as test

network = test.Counted
images = test.CountedImages

def data(split):
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(8, generator=generator), i % 4) for i in range(64)]

def pictures(split):
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(8, 9, 9, generator=generator), i % 4) for i in range(64)]
"""


def note(kind: str, examples: int) -> None:
    """Outside the process's own objects, of which a measurement makes copies."""
    with Path(os.environ[LOG]).open("a") as log:
        log.write(f"{kind} {examples}\n")


class Noted(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        note("forward", len(x))
        return x.clone()

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        note("backward", len(gradient))
        return gradient


class Counted(nn.Sequential):
    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        return Noted.apply(super().forward(x))


class CountedImages(Counted):
    def __init__(self) -> None:
        super().__init__()
        self[0], self[1] = nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)
        self.insert(3, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        self[4] = nn.Linear(8, 8)


@pytest.mark.parametrize(("arch", "data"), [("network", "data"), ("images", "pictures")])
@pytest.mark.parametrize("command", ["measure", "check"])
def test_the_command_counts_what_the_network_counts(
    command: str, arch: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LOG, str(tmp_path / "log"))
    (tmp_path / "mine.py").write_text(CODE)
    torch.save({"network": Counted, "images": CountedImages}[arch]().state_dict(), tmp_path / "net.pt")
    given = ("net.pt", "--arch", f"mine.py:{arch}", "--data", f"mine.py:{data}", "--samples", COUNT)
    options = ("--precision", "float32") if command == "measure" else ("--skip", "buffers")  # it was never trained
    finished = bnsharp(command, *given, "--batch-size", 32, *options, "--quiet", "--json", folder=tmp_path)
    cost = json.loads(finished.stdout)["cost"]
    seen = {"forward": 0, "backward": 0}
    for line in (tmp_path / "log").read_text().splitlines():
        kind, examples = line.split()
        seen[kind] += int(examples)
    assert cost["forward"] == pytest.approx(seen["forward"] / COUNT, rel=1e-9)
    assert cost["backward"] == pytest.approx(seen["backward"] / COUNT, rel=1e-9)
