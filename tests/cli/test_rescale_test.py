"""``bnsharp rescale-test`` from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import bnsharp_cli
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.networks.factories import import_factory
from tests.cli.helpers import bnsharp, one_error

FAST = ("--samples", 256, "--batch-size", 128, "--quiet")


def test_the_embedded_sample_passes_and_shows_the_whole_argument(tmp_path: Path) -> None:
    arguments = ("--plot", "picture.svg", "--output", "result.json", "--save-copies", "copies")
    finished = bnsharp("rescale-test", *FAST, *arguments, folder=tmp_path)
    assert all(len(line) <= 80 for line in finished.stdout.splitlines())
    assert "BN-Sharpness is invariant" in finished.stdout
    assert "which is this tool's addition to the paper" in finished.stdout.replace("\n", " ").replace("  ", " ")
    document = json.loads((tmp_path / "result.json").read_text())
    copies = document["copies"]
    assert [copy["scale"] for copy in copies[:7]] == [1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0]
    assert [copy["name"] for copy in copies[7:]] == ["random 1", "random 2", "random 3", "a0"]
    assert document["verdict"]["invariant"] is True
    assert max(abs(copy["deviation"]) for copy in copies) <= 1e-9
    linf = [copy["measures"]["delta-linf"]["value"] for copy in copies]
    assert max(linf) > 10 * min(linf)
    assert copies[-1]["theorem_3_1_lower_bound"]["value"] <= copies[-1]["measures"]["delta-linf"]["value"] * 1.001
    assert document["gamma_beta"]["measures"]["bn-extended"]["value"] > 0
    assert "<svg" in (tmp_path / "picture.svg").read_text()
    _check_copies(tmp_path, document["loss"])


def _check_copies(folder: Path, loss: float) -> None:
    """A saved copy is measured like any checkpoint: the same loss and the same value, in both modes."""
    saved = sorted(path.name for path in (folder / "copies").iterdir())
    assert len(saved) == 12
    copy = load_checkpoint(folder / "copies" / "a-0.001.pt")
    assert len(copy.norm_epsilon) == 4
    assert copy.metadata["copy"]["epsilon"] == "per channel, under norm_epsilon"
    values = {}
    for name in ("a-1", "a-0.001", "random-2"):
        for policy in ("batch", "running"):
            arguments = ("measure", f"copies/{name}.pt", *FAST, "--precision", "float64", "--bn", policy, "--json")
            document = json.loads(bnsharp(*arguments, folder=folder).stdout)
            values[name, policy] = document["measures"]["bn"]["value"]
            if policy == "batch":
                assert document["loss"] == pytest.approx(loss, rel=1e-12)
    for (_, policy), value in values.items():
        assert value == pytest.approx(values["a-1", policy], rel=1e-9)


def test_the_printed_search_fails_with_exit_1(tmp_path: Path) -> None:
    arguments = ("--search", "paper", "--iterations", 5, "--delta", 0.1)
    finished = bnsharp("rescale-test", *FAST, *arguments, folder=tmp_path, expect=1)
    assert "NOT invariant" in finished.stdout


def test_plain_copies_are_labelled_and_fail_the_test(tmp_path: Path) -> None:
    arguments = ("--epsilon", "stored", "--save-copies", "copies", "--plot", "picture.png")
    bnsharp("rescale-test", *FAST, *arguments, folder=tmp_path, expect=1)
    names = sorted(path.name for path in (tmp_path / "copies").iterdir())
    assert all(name.endswith(".stored-epsilon.pt") for name in names)
    copy = load_checkpoint(tmp_path / "copies" / "a-0.001.stored-epsilon.pt")
    assert copy.norm_epsilon == ()
    assert copy.metadata["copy"]["epsilon"] == "as stored: the loss differs"
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size[0] > 800


def test_copies_of_tied_weights_are_whole(tmp_path: Path) -> None:
    (tmp_path / "tied.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    first, second = nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False)\n"
        "    second.weight = first.weight\n"
        "    layers = [nn.Flatten(), first, nn.BatchNorm1d(64), nn.ReLU(), second, nn.BatchNorm1d(64), nn.ReLU()]\n"
        "    return nn.Sequential(*layers, nn.Linear(64, 10))\n"
    )
    torch.manual_seed(0)
    module = import_factory("arch", f"{tmp_path / 'tied.py'}:net")()
    torch.save(module.state_dict(), tmp_path / "net.pt")
    network = ("--arch", "tied.py:net", "--data", "digits", *FAST, "--precision", "float64")
    bnsharp("rescale-test", "net.pt", *network, "--save-copies", "copies", folder=tmp_path)
    losses = {}
    for name in ("a-1", "a-0.001"):
        for policy in ("batch", "running"):
            arguments = ("measure", f"copies/{name}.pt", *network, "--bn", policy, "--json")
            losses[name, policy] = json.loads(bnsharp(*arguments, folder=tmp_path).stdout)["loss"]
    for policy in ("batch", "running"):
        assert losses["a-0.001", policy] == pytest.approx(losses["a-1", policy], rel=1e-9)


def test_a_value_below_resolution_is_exit_4_not_1(tmp_path: Path) -> None:
    """δ = 1e-9 in float32: the differences are rounding."""
    arguments = ("--precision", "float32", "--delta", 1e-9)
    finished = bnsharp("rescale-test", *FAST, *arguments, folder=tmp_path, expect=4)
    assert "not above its rounding floor" in one_error(finished)


def test_a_tolerance_below_the_rounding_floor_is_exit_4_not_1(tmp_path: Path) -> None:
    small = ("--samples", 64, "--batch-size", 32, "--quiet")
    finished = bnsharp("rescale-test", *small, "--tolerance", 1e-17, folder=tmp_path, expect=4)
    assert "a tolerance of 1.0e-17 cannot be measured to" in one_error(finished)
    real = ("--search", "paper", "--iterations", 5, "--delta", 0.1, "--tolerance", 1e-17)
    assert "NOT invariant" in bnsharp("rescale-test", *small, *real, folder=tmp_path, expect=1).stdout


def test_options_that_cannot_be_meant_exit_2(tmp_path: Path) -> None:
    for arguments, says in (
        (("--epsilon", "none"), "--epsilon: expected exact or stored"),
        (("--tolerance", "-1"), "--tolerance: expected a positive number"),
        (("--tolerance", "nan"), "--tolerance: expected a positive number"),
    ):
        assert says in one_error(bnsharp("rescale-test", *FAST, *arguments, folder=tmp_path, expect=2))


def test_a_network_without_norms_is_tested_by_what_the_refusal_says(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(
        "from torch.nn import Flatten, Linear, ReLU, Sequential\n"
        "def net():\n    return Sequential(Flatten(), Linear(64, 8), ReLU(), Linear(8, 10))\n"
    )
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 10))
    torch.save(network.state_dict(), tmp_path / "plain.pt")
    given = ("plain.pt", "--arch", "plain.py:net", "--data", "digits", "--samples", 32, "--batch-size", 32)
    finished = bnsharp("rescale-test", *given, "--quiet", folder=tmp_path, expect=4)
    assert "no scale-invariant weights" in finished.stderr
    assert "with --measure bn, or in Python with invariance_table" in " ".join(finished.stderr.split())
    assert hasattr(bnsharp_cli, "invariance_table")
    told = bnsharp("rescale-test", *given, "--measure", "bn", "--quiet", folder=tmp_path).stdout
    assert "layer, a layer against the next one" in " ".join(told.split())
