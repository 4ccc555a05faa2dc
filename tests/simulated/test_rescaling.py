"""The rescale test on the simulated device: every copy has the CPU's bits, by command and in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import bnsharp_cli
from bnsharp_cli.measurement.invariance.invariance_report import InvarianceReport
from bnsharp_cli.measurement.surface import stacking
from tests.simulated.backend import NAME
from tests.simulated.device import Simulation
from tests.simulated.networks import batches, network
from tests.simulated.test_commands import SAMPLE, documents, plain


@pytest.fixture(autouse=True)
def _stacked_alike(simulation: Simulation, few_copies: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many points at once as the CPU stacks in float64, and so the same bits."""
    monkeypatch.setattr(stacking, "CUDA_STACK", stacking.CPU_STACK)


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
    assert len(found.copies) > 3


FEW_MEASURES = ("--measure", "gradient-norm")
WHOLE = pytest.mark.slow(
    reason="hundreds of passes, each of whose operations runs through Python",
    quick="tests/simulated/test_rescaling.py::test_every_copy_has_the_bits_of_the_cpu",
)


@pytest.mark.parametrize("measures", [FEW_MEASURES, pytest.param((), marks=WHOLE)], ids=["one measure", "the test"])
def test_documents_are_those_of_the_cpu(tmp_path: Path, measures: tuple[str, ...]) -> None:
    expected, found = documents(tmp_path, "rescale-test", SAMPLE, *measures)
    assert plain(found) == plain(expected)
