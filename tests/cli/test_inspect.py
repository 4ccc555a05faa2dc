"""``bnsharp inspect``: what a checkpoint holds, without data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint
from bnsharp_cli.measurement.surface.progress import ToldProgress
from bnsharp_cli.models import lenet_bn
from bnsharp_cli.report.module_tree import FOLDED, TensorLeaf, module_tree, tree_lines
from bnsharp_cli.workflows.inspection import inspect_file
from bnsharp_cli.workflows.reporter import Reporter
from tests.cli.helpers import bnsharp, one_error

SAMPLES = [path.stem for path in sorted(embedded_checkpoint().parent.glob("*.pt"))]


def document(path: object, *options: object, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bnsharp("inspect", path, *options, "--json", folder=folder).stdout)
    return found


def test_there_are_samples() -> None:
    assert len(SAMPLES) == 10


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_needs_nothing_but_its_name(tmp_path: Path, name: str) -> None:
    found = document(f"sample:{name}", folder=tmp_path)
    assert found["schema"] == "bnsharp/1"
    assert found["command"] == "inspect"
    assert (found["checkpoint"]["architecture"], found["checkpoint"]["architecture_source"]) == ("lenet-bn", "metadata")
    assert found["blocks"]["invariant"] == 6 + 16 + 120 + 84
    state = load_checkpoint(embedded_checkpoint(name)).state_dict
    assert {entry["name"]: tuple(entry["shape"]) for entry in found["tensors"]} == {
        key: tuple(tensor.shape) for key, tensor in state.items()
    }
    assert [(norms["kind"], norms["epsilon"], norms["owners"]) for norms in found["norms"]] == [
        ("batch", 1e-5, ["norm1", "norm2", "norm3", "norm4"])
    ]
    assert found["dtypes"] == {"float32": 22, "int64": 4}


def test_the_blocks_are_those_found_on_data(tmp_path: Path) -> None:
    arguments = ("--samples", 256, "--batch-size", 128, "--json", "--quiet")
    measured = json.loads(bnsharp("measure", "sample:digits-small-batch", *arguments, folder=tmp_path).stdout)
    assert document("sample:digits-small-batch", folder=tmp_path)["blocks"] == measured["blocks"]


def test_a_terminal_of_80_columns(tmp_path: Path) -> None:
    lines = bnsharp("inspect", "sample:digits-small-batch", folder=tmp_path).stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    text = [line.rstrip() for line in lines]
    assert "network     lenet-bn, image_size=8, in_channels=1, classes=10 (as the file says)" in text
    assert "parameters  21,612 in 14 tensors, float32" in text
    assert "├─ conv2    16×6×5×5    2,400      16  norm2" in text
    assert "└─ output   10 × 84       850" in text
    assert sum("random inputs" in line for line in text) == 1


def test_a_guess_of_a_real_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = torchvision.models.shufflenet_v2_x0_5(num_classes=5)
    torch.save({"epoch": 7, "best_acc1": 0.5, "state_dict": module.state_dict()}, tmp_path / "net.pt")
    printed = bnsharp("inspect", "net.pt", "--output", "found.json", folder=tmp_path).stdout
    words = " ".join(printed.split())
    assert "torchvision:shufflenet_v2_x0_5, num_classes=5 (a guess from names and shapes)" in words
    assert "epoch: 7" in words
    assert 20 < len([line for line in printed.splitlines() if "─ " in line]) <= FOLDED
    found = json.loads((tmp_path / "found.json").read_text())
    convolutions = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    assert found["blocks"]["invariant"] == sum(part.out_channels for part in convolutions)
    assert sum(len(norms["owners"]) for norms in found["norms"]) == len(convolutions)
    assert found["checkpoint"]["parameters"] == sum(p.numel() for p in module.parameters())
    assert found["preprocessing"]["image_size"] is None
    assert any("torchvision's own preprocessing" in note for note in found["checkpoint"]["notes"])


def test_everything_is_shown_on_request(tmp_path: Path) -> None:
    printed = bnsharp("inspect", "sample:digits-small-batch", "--all", folder=tmp_path).stdout
    rows = [line for line in printed.splitlines() if "─ weight" in line or "─ bias" in line]
    assert len(rows) == 14
    assert all(len(line) <= 80 for line in printed.splitlines())


def test_a_network_that_nobody_knows(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(2))
    module(torch.zeros(2, 1, 8, 8))
    torch.save(module.state_dict(), tmp_path / "net.pt")
    finished = bnsharp("inspect", "net.pt", folder=tmp_path)
    assert "unknown: name it with --arch" in finished.stdout
    assert "4×1×3×3" in finished.stdout
    assert "blocks" not in finished.stdout.partition("module")[2]
    found = document("net.pt", folder=tmp_path)
    assert found["blocks"] is None
    assert found["norms"] is None
    assert found["checkpoint"]["architecture"] is None
    assert found["checkpoint"]["architecture_source"] == "unknown"


OWN = """
from torch import nn
def images():
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 46 * 46, 3))
def vectors():
    return nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4), nn.Linear(4, 3))
def nothing():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(__import__("torch").ones(3))
        def forward(self, words):
            return words["a"]
    return Odd()
"""


@pytest.mark.parametrize(
    ("factory", "inputs", "kind"), [("images", [8, 2, 48, 48], "batch"), ("vectors", [2, 6], "layer")]
)
def test_inputs_are_searched_for(tmp_path: Path, factory: str, inputs: list[int], kind: str) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    namespace: dict[str, Any] = {}
    exec(OWN, namespace)
    torch.save(namespace[factory]().state_dict(), tmp_path / "net.pt")
    found = document("net.pt", "--arch", "mine.py:" + factory, folder=tmp_path)
    assert found["inputs"] == inputs
    assert [norms["kind"] for norms in found["norms"]] == [kind]


def test_a_network_that_accepts_no_random_inputs(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    torch.save({"weight": torch.ones(3)}, tmp_path / "net.pt")
    found = document("net.pt", "--arch", "mine.py:nothing", folder=tmp_path)
    assert found["blocks"] is None
    assert any("no random inputs" in note for note in found["checkpoint"]["notes"])


def test_an_image_size_is_taken_or_refused(tmp_path: Path) -> None:
    sample = "sample:digits-small-batch"
    assert document(sample, "--image-size", 9, folder=tmp_path)["inputs"] == [8, 1, 9, 9]
    finished = bnsharp("inspect", sample, "--image-size", 40, folder=tmp_path, expect=2)
    assert "does not accept 40 × 40" in one_error(finished)


def test_hostile_names_and_entries_are_printed_harmlessly(tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07[/red]\x1b[31m"
    content = {
        evil: evil,
        "nested": {evil: [evil] * 5000},
        "state_dict": {f"{evil}.{'a.' * 90}weight": torch.ones(2, 2), f"{evil}\n\r.bias": torch.ones(2)},
    }
    torch.save(content, tmp_path / "net.pt")
    for options in ((), ("--all",), ("--json",)):
        finished = bnsharp("inspect", "net.pt", *options, folder=tmp_path)
        assert "\x1b" not in finished.stdout + finished.stderr
        assert "\x07" not in finished.stdout + finished.stderr
        if not options:
            assert all(len(line) <= 80 for line in finished.stdout.splitlines())


def test_oddities_are_noted(tmp_path: Path) -> None:
    state = lenet_bn(1, 10, 8).state_dict()
    state["conv2.weight"][3:5] = 0
    state["norm1.running_var"][0] = 0
    torch.save(state, tmp_path / "net.pt")
    notes = document("net.pt", folder=tmp_path)["checkpoint"]["notes"]
    assert "conv2.weight: 2 of 16 rows are zero" in notes
    assert "norm1.running_var: 1 of 6 variances are zero" in notes


def test_what_is_no_checkpoint_exits_3(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_text("hello")
    assert "net.pt" in one_error(bnsharp("inspect", "net.pt", folder=tmp_path, expect=3))
    torch.save(nn.Linear(2, 2), tmp_path / "net.pt")
    assert "net.pt" in one_error(bnsharp("inspect", "net.pt", folder=tmp_path, expect=3))


def test_the_document_goes_to_a_file_too(tmp_path: Path) -> None:
    printed = bnsharp(
        "inspect", "sample:digits-small-batch", "--json", "--output", "found.json", folder=tmp_path
    ).stdout
    assert json.loads((tmp_path / "found.json").read_text()) == json.loads(printed)


def test_a_tree_folds_to_its_deepest_level_that_is_short() -> None:
    tensors = {f"stage{i}.block{j}.conv{k}.weight": (2, 2) for i in range(3) for j in range(5) for k in range(4)}
    root = module_tree({name: TensorLeaf(name, shape) for name, shape in tensors.items()}, {})
    folded = tree_lines(root, every=False)
    assert len(folded) == 3 + 15
    assert sum(leaf.numbers for line in folded if line.guides == "└─ " for leaf in line.leaves) == 4 * 5 * 4
    everything = tree_lines(root, every=True)
    assert len(everything) == 3 + 15 + 60 + 60
    assert [line.guides + line.name for line in everything[:4]] == [
        "├─ stage0",
        "│  ├─ block0",
        "│  │  ├─ conv0",
        "│  │  │  └─ weight",
    ]


def test_a_tree_of_one_chain_is_one_line_and_needs_no_recursion() -> None:
    name = ".".join(["a"] * 50_000) + ".weight"
    lines = tree_lines(module_tree({name: TensorLeaf(name, (2,))}, {}), every=False)
    assert len(lines) == 1
    assert lines[0].name.count("a") == 50_000


def test_the_search_for_blocks_is_followed() -> None:
    heard: list[str] = []

    class Told(Reporter):
        @property
        def progress(self) -> ToldProgress:
            return ToldProgress(lambda standing: heard.append(standing.stages[0]))

    inspect_file(None, reporter=Told())
    assert set(heard) == {"finding the scale-invariant blocks"}
