"""``bnsharp rescale-test --measure``: which measures give one number for one function?"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from bnsharp_cli.io.networks.factories import import_factory
from bnsharp_cli.measurement.invariance.foreign_tools import PACKAGES
from tests.cli.helpers import bnsharp, one_error

FAST = ("--samples", 128, "--batch-size", 64, "--ball-samples", 4)


@pytest.mark.slow(
    reason="takes every measure on every copy",
    quick="tests/cli/test_rescale_test.py::test_the_embedded_sample_passes_and_shows_the_whole_argument",
)
def test_the_embedded_sample_has_a_row_for_every_measure(tmp_path: Path) -> None:
    arguments = ("--measure", "all", "--plot", "picture.svg", "--output", "result.json", "--save-copies", "copies")
    finished = bnsharp("rescale-test", *FAST, *arguments, folder=tmp_path)
    assert all(len(line.rstrip()) <= 80 for line in finished.stdout.splitlines())
    assert "bn-element: same function, same number" in finished.stdout
    assert "anything you like" in finished.stdout
    found = json.loads((tmp_path / "result.json").read_text())["invariance"]
    kinds = {copy["kind"] for copy in found["copies"]}
    assert kinds | set(found["missing"]) == {"T_a", "norm", "head", "layer", "neuron"}
    assert max(copy["loss_drift"] for copy in found["copies"]) < 1e-12
    rows = {row["measure"]: row for row in found["rows"]}
    assert rows["bn"]["follows"]["T_a"]
    assert not rows["bn"]["follows"]["head"]
    assert "keskar" in rows
    assert "<svg" in (tmp_path / "picture.svg").read_text()
    _check_copies(tmp_path, rows["bn"]["values"])


def _check_copies(folder: Path, values: dict[str, dict[str, float]]) -> None:
    """A saved copy is measured like any checkpoint."""
    for name, path in (("neurons", "neurons.pt"), ("head 100", "head-100.pt"), ("a = 0.01", "a-0.01.pt")):
        arguments = (*FAST, "--precision", "float64", "--json")
        document = json.loads(bnsharp("measure", f"copies/{path}", *arguments, folder=folder).stdout)
        assert document["measures"]["bn"]["value"] == pytest.approx(values[name]["value"], rel=1e-9)


def test_a_network_without_such_copies_is_exit_4(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 10))\n"
    )
    torch.manual_seed(0)
    torch.save(import_factory("arch", f"{tmp_path / 'net.py'}:net")().state_dict(), tmp_path / "net.pt")
    arguments = ("--arch", "net.py:net", "--data", "digits", "--measure", "bn", *FAST)
    finished = bnsharp("rescale-test", "net.pt", *arguments, folder=tmp_path, expect=4)
    assert "No rescaling was found that leaves unchanged what the network computes" in finished.stderr
    bnsharp("measure", "net.pt", *arguments[:4], *FAST, folder=tmp_path)  # as the message says


def test_an_unknown_measure_is_refused(tmp_path: Path) -> None:
    finished = bnsharp("rescale-test", "--measure", "flatness", folder=tmp_path, expect=2)
    assert "--measure: expected one of bn, " in one_error(finished)


@pytest.mark.slow(
    reason="takes every measure on every copy",
    quick="tests/cli/test_rescale_test.py::test_the_embedded_sample_passes_and_shows_the_whole_argument",
)
def test_the_command_asks_the_tools_that_are_installed(tmp_path: Path) -> None:
    """A file of the same name in the working directory is not one of them."""
    for name in PACKAGES:
        (tmp_path / f"{name}.py").write_text("from pathlib import Path\nPath('hit').touch()\n")
    arguments = ("--measure", "all", "--ball-samples", 2, "--samples", 64, "--batch-size", 64, "--json", "--quiet")
    finished = bnsharp("rescale-test", *arguments, folder=tmp_path)
    asked = {row["tool"].split()[0] for row in json.loads(finished.stdout)["invariance"]["rows"] if row["tool"]}
    assert asked == {name for name in PACKAGES if importlib.util.find_spec(name)}
    assert not (tmp_path / "hit").exists()
