"""The fixture ``bnsharp`` in other people's tests: what it asserts, how it fails, what it costs at the start."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

from bnsharp_cli.errors import UsageError
from bnsharp_cli.integrations.network_assertions import InconclusiveWarning, NetworkAssertions
from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.workflows.open_inputs import open_inputs
from bnsharp_cli.workflows.options import CheckpointSource, Data
from tests.cli.helpers import bnsharp as command

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
PLUGIN = "bnsharp_cli.integrations.pytest_plugin"
ALL = {"whole": True, "precision": "float64"}


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))


def scaled(factor: float) -> nn.Sequential:
    """A network whose logits are multiplied, so that its loss is steeper."""
    module = network()
    with torch.no_grad():
        module[3].weight *= factor
    return module


@pytest.fixture(scope="module")
def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(32, 4, generator=generator), torch.randint(3, (32,), generator=generator)) for _ in range(8)]


Batches = list[tuple[torch.Tensor, torch.Tensor]]
BNSHARP = NetworkAssertions()


def test_the_entry_point_is_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"bnsharp": PLUGIN}
    assert callable(import_module(PLUGIN).bnsharp)


def test_the_start_of_pytest_imports_nothing_heavy() -> None:
    probe = f"import sys, {PLUGIN}; print(*sorted({{'torch', 'numpy', 'scipy', 'rich'}} & {{*sys.modules}}))"
    finished = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert finished.stdout.split() == []


PAGE = """
import torch
from torch import nn

def network(factor):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    with torch.no_grad():
        module[3].weight *= factor
    return module

generator = torch.Generator().manual_seed(0)
BATCHES = [(torch.randn(32, 4, generator=generator), torch.randint(3, (32,), generator=generator)) for _ in range(8)]

def test_same(bnsharp):
    bnsharp.assert_not_sharper(network(1.0), than=network(1.0), batches=BATCHES)

def test_flatter(bnsharp):
    bnsharp.assert_not_sharper(network(0.5), than=network(1.0), batches=BATCHES, whole=True)

def test_sharper(bnsharp):
    bnsharp.assert_not_sharper(network(3.0), than=network(1.0), batches=BATCHES, whole=True)

def test_invariant(bnsharp):
    bnsharp.assert_invariant(network(1.0), BATCHES[:1])
"""


def test_a_test_fails_with_the_sentence_of_the_gate(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(PAGE)
    found = pytester.runpytest_subprocess("-p", PLUGIN)
    found.assert_outcomes(passed=3, failed=1)
    found.stdout.fnmatch_lines(["E*AssertionError: bn +*% from * to *, at most +10% allowed"])
    assert "network_assertions.py" not in found.stdout.str(), "the traceback ends in the user's test"


def test_the_change_is_that_of_the_measure(batches: Batches) -> None:
    own, other = (BNSHARP.measure(each, batches, precision="float64") for each in (scaled(3), network()))
    with pytest.raises(AssertionError) as failed:
        BNSHARP.assert_not_sharper(scaled(3), than=network(), batches=batches, **ALL)
    said = str(failed.value)
    assert said.startswith(f"bn {100 * (own.value / other.value - 1):+.3g}% from {other.value:.6g} to {own.value:.6g}")
    BNSHARP.assert_not_sharper(scaled(3), than=network(), batches=batches, allowed=9, **ALL)
    BNSHARP.assert_not_sharper(scaled(3), than=other, batches=batches, allowed=9, **ALL)
    with pytest.raises(AssertionError, match="bn"):
        BNSHARP.assert_not_sharper(scaled(3), than=other, batches=batches, **ALL)


def test_what_samples_do_not_decide_is_a_warning_or_what_one_says(batches: Batches) -> None:
    few = {"than": network(1), "batches": batches[:2], "allowed": 0.0}
    with pytest.warns(InconclusiveWarning, match="samples would decide|all would decide"):
        BNSHARP.assert_not_sharper(network(), **few)
    with pytest.raises(AssertionError, match="would decide"):
        BNSHARP.assert_not_sharper(network(), **few, inconclusive="fail")
    BNSHARP.assert_not_sharper(network(), **few, inconclusive="pass")


def trained(name: str) -> tuple[nn.Module, Batches]:
    """A network of digits, and 512 samples in batches of 64."""
    data = Data(samples=512, batch_size=64)
    opened = open_inputs(embedded_checkpoint(name), CheckpointSource(), data, MeasureOptions())
    return opened.opened.module, list(opened.data.batches.batches)


def test_a_large_radius_is_flat() -> None:
    (small, batches), (large, _) = trained("digits-small-batch"), trained("digits-large-batch")
    radii = [BNSHARP.measure(each, batches, name="critical-radius").value for each in (small, large)]
    sharper, flatter = (small, large) if radii[0] < radii[1] else (large, small)
    arguments = {"batches": batches, "measure": "critical-radius", "allowed": 0.0, "whole": True}
    BNSHARP.assert_not_sharper(flatter, than=sharper, **arguments)
    with pytest.raises(AssertionError, match=r"critical-radius -.*, at least \+0% allowed"):
        BNSHARP.assert_not_sharper(sharper, than=flatter, **arguments)


def test_a_comparison_has_a_verdict(batches: Batches) -> None:
    found = BNSHARP.compare(scaled(3), network(), batches, **ALL)
    assert (found.verdict, found.networks) == ("sharper", ("model", "baseline"))
    assert found.sentence.startswith("model is sharper: ")


def test_what_is_not_invariant_fails_with_the_verdict(batches: Batches) -> None:
    BNSHARP.assert_invariant(network(), batches[:1])
    with pytest.raises(AssertionError, match="NOT invariant"):
        BNSHARP.assert_invariant(network(), batches[:1], search="paper", tolerance=1e-9)


def test_a_file_is_a_baseline(tmp_path: Path) -> None:
    options = ("--samples", 512, "--batch-size", 64, "--measure", "noise", "--quiet", "--json", "--output")
    command("measure", "sample:digits-small-batch", *options, "base.json", folder=tmp_path)
    (module, batches), path = trained("digits-large-batch"), tmp_path / "base.json"
    with pytest.raises(AssertionError, match=r"noise \+\d+% .* on fresh data \(unpaired\), at most \+1% allowed"):
        BNSHARP.assert_not_sharper(
            module, than=path, batches=batches, measure="noise", allowed=0.01, inconclusive="fail"
        )
    for wrong, says in (
        ({"measure": "bn"}, "than: .*base.json has no bn at delta 0.001"),
        ({"sigma": (0.1,)}, r"sigma is \(0.1,\) for this network"),
        ({"bn": "running"}, "bn is running for this network and batch for the baseline"),
        ({"batches": [(inputs[:8], labels[:8]) for inputs, labels in batches]}, "batches is of 8 samples each"),
    ):
        with pytest.raises(UsageError, match=says):
            BNSHARP.assert_not_sharper(module, **{"than": str(path), "batches": batches, "measure": "noise", **wrong})


def test_arguments_that_cannot_be_meant_are_refused(batches: Batches) -> None:
    measured = BNSHARP.measure(network(), batches)
    for wrong, argument in (
        ({"than": 4.5}, "than"),
        ({"measure": "weight-norm"}, "measure"),
        ({"measure": "flatness"}, "measure"),
        ({"allowed": -0.1}, "allowed"),
        ({"allowed": True}, "allowed"),
        ({"inconclusive": "skip"}, "inconclusive"),
        ({"than": measured, "delta": 1e-2}, "delta"),
        ({"than": measured, "measure": "noise"}, "than"),
        ({"than": measured, "batches": batches[:2]}, "batches"),
    ):
        with pytest.raises(UsageError) as refused:
            BNSHARP.assert_not_sharper(network(), **{"than": network(1), "batches": batches, **wrong})
        assert refused.value.argument == argument
