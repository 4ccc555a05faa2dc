"""``--parameters`` and ``--layout`` of the commands: the values of Python, said in the table and in the document."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface import execution_plan
from bnsharp_cli.workflows.measuring import measure_checkpoint
from bnsharp_cli.workflows.options import CheckpointSource, Data
from tests.border.networks import with_constants
from tests.border.oracle import bn_limit
from tests.cli.helpers import bnsharp, one_error

NETWORK = """
import torch
from torch import nn

def network(frozen=False):
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    )
    model[:6].requires_grad_(not frozen)
    return model
"""
COMMON = ("--data", "npz:data.npz", "--samples", 32, "--batch-size", 16)
HEAD = ("8.weight", "8.bias")


def network() -> nn.Module:
    space: dict[str, Any] = {}
    exec(compile(NETWORK, "nets.py", "exec"), space)
    torch.manual_seed(0)
    return space["network"]()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(NETWORK)
    torch.save(network().state_dict(), tmp_path / "net.pt")
    numbers = np.random.default_rng(0)
    images, labels = numbers.random((32, 3, 8, 8), dtype=np.float32), np.arange(32) % 4
    np.savez(tmp_path / "data.npz", x=images, y=labels)
    return tmp_path


def loss(folder: Path) -> Any:
    """That of the batches that are drawn, as docs/data.md says."""
    data = np.load(folder / "data.npz")
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    images, labels = torch.from_numpy(data["x"])[order].double(), torch.from_numpy(data["y"])[order]
    batches = [*zip(images.split(16), labels.split(16), strict=True)]

    def mean(model: nn.Module) -> Tensor:
        return torch.stack([functional.cross_entropy(model(x), y) for x, y in batches]).mean()

    return mean


@pytest.mark.parametrize(
    ("asked", "frozen", "names", "rows"),
    [
        ((), False, None, ["0.weight", "3.weight"]),
        ((), True, None, ["0.weight", "3.weight"]),
        (("--parameters", "trainable"), True, HEAD, []),
        (("--parameters", "8.*"), False, HEAD, []),
        (("--parameters", "8.*", "--parameters", "3.weight"), False, (*HEAD, "3.weight"), ["3.weight"]),
    ],
)
def test_the_command_measures_over_some_parameters(
    folder: Path, asked: tuple[str, ...], frozen: bool, names: tuple[str, ...] | None, rows: list[str]
) -> None:
    arch = ("--arch", "nets.py:network", *(("--arch-option", "frozen=True") if frozen else ()))
    finished = bnsharp("measure", "net.pt", *arch, *COMMON, *asked, "--output", "found.json", folder=folder)
    document = json.loads((folder / "found.json").read_text())
    sizes = {name: tensor.numel() for name, tensor in network().named_parameters()}
    reference = copy.deepcopy(network()) if names is None else with_constants(network(), names)
    assert document["measures"]["bn"]["limit"] == pytest.approx(bn_limit(reference, loss(folder), rows), rel=1e-4)
    total, measured = sum(sizes.values()), sum(sizes[name] for name in names or sizes)
    words = [*asked[1::2]] or ["all"]
    assert document["options"]["parameters"] == words
    counted = {
        "chosen": words, "measured": measured, "total": total, "frozen": (total - 68) if frozen else 0
    }  # fmt: skip
    assert document["parameters"] == document["measures"]["bn"]["parameters"] == counted
    assert document["checkpoint"]["parameters"] == total
    assert [one["name"] for one in document["blocks"]["tensors"]] == [n for n in sizes if n in (names or sizes)]
    said = " ".join(finished.stdout.split())
    assert (f"measured over {measured:,} of {total:,} parameters" in said) == (names is not None)
    assert ("parameters are frozen (requires_grad=False)" in said) == frozen
    assert [*document["notes"]] == [note for note in document["notes"] if note in said]


@pytest.mark.parametrize("command", ["measure", "check", "rescale-test", "bound"])
def test_a_glob_that_matches_nothing_is_refused_and_the_remedy_works(folder: Path, command: str) -> None:
    untrained = {"bound": ("--kl", 1), "check": ("--skip", "buffers")}
    given = (command, "net.pt", "--arch", "nets.py:network", *COMMON, *untrained.get(command, ()), "--quiet")
    finished = bnsharp(*given, "--parameters", "3.wieght", folder=folder, expect=2)
    assert one_error(finished).startswith("bnsharp: --parameters: expected all, trainable or a glob of the network's")
    found = re.search(r"For example (\S+) or", finished.stderr)
    assert found
    assert found[1] == "3.weight"
    bnsharp(*given, "--parameters", found[1], folder=folder)


def test_an_empty_word_is_refused(folder: Path) -> None:
    finished = bnsharp("measure", "net.pt", *COMMON, "--parameters", "", folder=folder, expect=2)
    assert one_error(finished) == "bnsharp: --parameters: expected all, trainable or globs of names, found ('',)."


def test_copies_keep_the_constants(folder: Path) -> None:
    given = ("--arch", "nets.py:network", *COMMON, "--quiet", "--json")
    chosen = ("--parameters", "3.weight")
    bnsharp("rescale-test", "net.pt", *given, *chosen, "--save-copies", "copies", folder=folder)
    original, scaled = (torch.load(folder / name) for name in ("net.pt", "copies/a-0.001.pt"))
    for name, tensor in scaled["state_dict"].items():
        factor = 1e-3 if name == "3.weight" else 1.0
        if "running" not in name and "num" not in name:
            assert torch.allclose(tensor.double(), original[name].double() * factor, rtol=1e-6, atol=0)


@pytest.mark.parametrize("layout", ["auto", "plain"])
def test_the_layout_is_chosen_and_recorded(folder: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[bool] = []
    known = execution_plan.right_channels_last
    monkeypatch.setattr(execution_plan, "right_channels_last", lambda *given: tried.append(True) or known(*given))
    given = ("measure", "net.pt", "--arch", "nets.py:network", *COMMON, "--quiet", "--json")
    document = json.loads(bnsharp(*given, "--layout", layout, folder=folder).stdout)
    assert document["options"]["layout"] == layout
    assert bool(tried) == (layout == "auto")
    assert document["measures"]["bn"]["limit"] == pytest.approx(
        bn_limit(network(), loss(folder), ["0.weight", "3.weight"]), rel=1e-4
    )


@pytest.mark.parametrize("layout", ["auto", "plain"])
def test_plain_is_plain_in_every_pass(folder: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    measured = measure_checkpoint(
        folder / "net.pt",
        CheckpointSource(arch="nets.py:network"),
        Data(data="npz:data.npz", samples=32, batch_size=16),
        runs=[MeasureOptions(layout=layout, parameters=("0.*", "8.*"))],
    )
    assert measured.network.surface.plan().channels_last == (layout == "auto")


def test_python_takes_the_layout(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.load(folder / "data.npz")
    batches = [(torch.from_numpy(data["x"]), torch.from_numpy(data["y"]))]
    monkeypatch.setattr(execution_plan, "right_channels_last", lambda *_: pytest.fail("channels last was tried"))
    for entry in (bnsharp_cli.measure, bnsharp_cli.rescale_test):
        entry(network(), batches, layout="plain", precision="float32", delta=1e-2)
    with pytest.raises(bnsharp_cli.UsageError, match="layout: expected auto or plain, found 'channels_last'"):
        bnsharp_cli.measure(network(), batches, layout="channels_last")
