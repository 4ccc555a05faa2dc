"""The gate against baselines of strangers: whatever numbers they hold, it answers."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bnsharp_cli.errors import CheckpointRefusedError, UsageError
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.report.json_document import render
from bnsharp_cli.report.stored_results import read_results
from bnsharp_cli.workflows.gate import Gate
from bnsharp_cli.workflows.limited_quantities import JudgedResult
from bnsharp_cli.workflows.measuring import measure_checkpoint
from bnsharp_cli.workflows.options import Data
from bnsharp_cli.workflows.thresholds import Thresholds

EXTREME = (0, 0.0, -0.0, 1, -1.0, 1e-320, 1e300, -1e300, 1.7e308, 1e-200, None)
NAMES = ("bn", "noise", "keskar", "critical-radius", "loss", "accuracy", "test-loss", "test-accuracy")
GAPS = ("gap", "accuracy-gap")
THRESHOLDS = Thresholds(
    limits={name: 1.0 for name in NAMES if name != "critical-radius"},
    least=dict.fromkeys(NAMES, 0.5),
    max_increase={name: "0.1abs" for name in (*NAMES, *GAPS) if name != "critical-radius"},
    max_decrease=dict.fromkeys((*NAMES, *GAPS), "10%"),
)
MEASURED = ("bn", "noise", "keskar", "critical-radius")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    data = Data(samples=256, batch_size=64, test_data="digits")
    measured = measure_checkpoint(None, data=data, measures=MEASURED, runs=[MeasureOptions()])
    written: dict[str, Any] = json.loads(render(measured.document()))
    return written


def numbers(inner: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document with a number, as what it is in and its key there."""
    entries = inner.items() if isinstance(inner, dict) else enumerate(inner)
    for key, entry in entries:
        if isinstance(entry, dict | list):
            yield from numbers(entry)
        elif isinstance(entry, int | float) and not isinstance(entry, bool):
            yield inner, key


def test_whatever_a_baseline_holds_the_gate_answers(document: dict[str, Any], tmp_path: Path) -> None:
    generator, judged, path = random.Random(0), 0, tmp_path / "base.json"
    path.write_text(json.dumps(document))
    (own,) = read_results(path)
    for _ in range(400):
        changed = json.loads(json.dumps(document))
        places = [
            place
            for part in ("measures", "test", "batch_losses", "batch_accuracies")
            for place in numbers(changed[part])
        ]
        for inner, key in generator.sample(places, generator.choice((1, 3, 30))):
            inner[key] = generator.choice(EXTREME)
        path.write_text(json.dumps(changed))
        try:
            (found,) = read_results(path)
            baseline = JudgedResult(found.document, found.measured, path)
            gate = Gate(THRESHOLDS, (1e-3,), 1e-3, baseline)
            checks = [*gate.checks(JudgedResult(own.document, own.measured, dead=0)), *gate.checks(baseline)]
        except (CheckpointRefusedError, UsageError):
            continue  # no number where one belongs, or another radius
        judged += 1
        assert all(check.sentence for check in checks)
        json.dumps([check.to_dict() for check in checks])
    assert judged > 50
