"""The rescale test on the simulated device: every copy has the CPU's bits, by command and in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

import bnsharp_cli
from bnsharp_cli.measurement.invariance import rescale_test
from bnsharp_cli.measurement.invariance.invariance_report import InvarianceReport
from bnsharp_cli.measurement.invariance.invariance_table import InvarianceTable
from bnsharp_cli.measurement.invariance.measures_on_copies import MeasuresOnCopies
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.survival import Rescaling
from bnsharp_cli.measurement.surface import stacking
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.simulated.backend import NAME
from tests.simulated.device import Simulation
from tests.simulated.networks import batches, network
from tests.simulated.test_commands import SAMPLE, documents, plain


@pytest.fixture(autouse=True)
def _stacked_alike(simulation: Simulation, few_copies: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many points at once as the CPU stacks in float64, and so the same bits."""
    monkeypatch.setattr(stacking, "CUDA_STACK", stacking.CPU_STACK)
    monkeypatch.setattr(rescale_test, "DECADES", {})


def plainly(report: InvarianceReport) -> dict[str, Any]:
    """What a report says of every copy."""
    copies = {copy.name: copy.to_dict() for copy in (report.reference, *report.copies)}
    return {"copies": copies, "invariant": report.invariant, "sentence": report.marked_verdict}


def test_every_copy_has_the_bits_of_the_cpu() -> None:
    settings: Any = {"iterations": 1, "ball_samples": 2}
    module = network(1)
    expected, found = (
        bnsharp_cli.rescale_test(module, batches(1), device=device, **settings) for device in ("cpu", NAME)
    )
    assert plainly(found) == plainly(expected)
    assert found.invariant
    assert [copy.name for copy in found.copies] == ["random 1", "a0"]


def compared(module: nn.Module, device: str) -> InvarianceTable:
    """Two measures on copies of several kinds."""
    surface = LossSurface.of(module, batches(1), device=device)
    return MeasuresOnCopies(surface, surface.point(), MeasureOptions()).table(["gradient-norm", "weight-norm"])


def test_measures_on_copies_of_several_kinds_have_the_bits_of_the_cpu() -> None:
    module = network(1)
    expected, found = compared(module, "cpu"), compared(module, NAME)
    assert [row.to_dict() for row in found.rows] == [row.to_dict() for row in expected.rows]
    assert [copy.name for copy in found.copies] == [copy.name for copy in expected.copies]
    assert {copy.kind for copy in found.copies} >= {Rescaling.T_A, Rescaling.NEURON}


WHOLE = pytest.mark.slow(
    reason="hundreds of passes, each of whose operations runs through Python",
    quick="tests/simulated/test_rescaling.py::test_every_copy_has_the_bits_of_the_cpu",
)


@pytest.mark.parametrize("measures", [(), ("--measure", "gradient-norm")], ids=["the test", "one measure"])
@WHOLE
def test_documents_are_those_of_the_cpu(tmp_path: Path, measures: tuple[str, ...]) -> None:
    expected, found = documents(tmp_path, "rescale-test", SAMPLE, *measures)
    assert plain(found) == plain(expected)
