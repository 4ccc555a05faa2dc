"""What the measuring commands do, called from Python: nothing is parsed, printed or left changed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from bnsharp_cli.errors import NotMeasurableError, UsageError
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.measurement.bound.options import BoundOptions
from bnsharp_cli.measurement.invariance.options import RescaleOptions
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.selection import Selection
from bnsharp_cli.report.json_document import render
from bnsharp_cli.report.stored_results import on_every_sample
from bnsharp_cli.workflows import measuring
from bnsharp_cli.workflows.bounding import bound_checkpoint
from bnsharp_cli.workflows.checking import Demands, check_checkpoint
from bnsharp_cli.workflows.measuring import measure_checkpoint
from bnsharp_cli.workflows.open_inputs import OpenedInputs, open_inputs
from bnsharp_cli.workflows.options import CheckpointSource, Computing, Data, RescaledFiles
from bnsharp_cli.workflows.rescaling import rescale_checkpoint
from bnsharp_cli.workflows.thresholds import Thresholds
from tests.cli.helpers import bnsharp
from tests.workflows.helpers import FEW, Remembered


def test_measuring_gives_what_the_command_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    selection = Selection(("bn", "keskar"), (1e-3, 1e-2))
    measured = measure_checkpoint(None, data=FEW, measures=selection.names, runs=selection.runs(MeasureOptions()))
    assert capsys.readouterr() == ("", "")
    assert [(one.name, one.details["delta"]) for one in measured.measured] == [
        ("bn", 1e-3),
        ("bn", 1e-2),
        ("keskar", 1e-3),
        ("keskar", 1e-2),
    ]
    arguments = ("--measure", "bn", "--measure", "keskar", "--delta", 1e-3, "--delta", 1e-2)
    few = ("--samples", 128, "--batch-size", 64, "--quiet", "--json")
    printed = json.loads(bnsharp("measure", "sample:digits-small-batch", *few, *arguments, folder=tmp_path).stdout)
    document = json.loads(render(measured.document()))
    for one in (printed, document):
        one["cost"].pop("seconds")
    assert document == printed


def test_a_reporter_hears_notices_and_activities() -> None:
    heard = Remembered()
    measured = measure_checkpoint(None, data=Data(samples=100, batch_size=64), reporter=heard)
    assert heard.notices == ["an incomplete last batch of 36 samples is dropped"]
    assert "reading batch 1 of 1" in heard.activities
    assert heard.activities[-1] == ""
    assert not on_every_sample(measured.document())


def test_a_guess_is_announced_by_the_name_of_the_argument(tmp_path: Path) -> None:
    torch.save(dict(load_checkpoint(measured_path()).state_dict), tmp_path / "net.pt")
    heard = Remembered()
    digits = Data(data="digits", samples=64, batch_size=64)
    measured = measure_checkpoint(tmp_path / "net.pt", data=digits, reporter=heard)
    assert measured.network.opened.identity.source == "guess"
    assert heard.notices[-1].endswith("decide, and say so with arch")


def measured_path() -> Path:
    from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint

    return embedded_checkpoint()


def test_checks_and_their_verdict() -> None:
    thresholds = Thresholds(limits={"loss": 1e-9, "delta-linf": 1.0, "bn": 10.0}, least={"accuracy": 0.5})
    checked = check_checkpoint(None, Demands(thresholds), data=FEW)
    assert [(check.name, check.outcome.value) for check in checked.checks] == [
        ("load", "pass"),
        ("buffers", "pass"),
        ("loss", "fail"),
        ("delta-linf", "inconclusive"),
        ("bn", "inconclusive"),
        ("accuracy", "pass"),
        ("invariance", "pass"),
    ]
    assert not checked.passed
    assert checked.verdict == "FAILED: loss; INCONCLUSIVE: delta-linf, bn"
    outcomes = ["pass", "pass", "fail", "inconclusive", "inconclusive", "pass", "pass"]
    assert [check["outcome"] for check in checked.document()["checks"]] == outcomes


def test_a_limit_of_a_measure_without_that_power_is_refused_before_anything_is_opened() -> None:
    with pytest.raises(UsageError, match="limits delta-lp needs a finite power"):
        check_checkpoint(
            Path("missing.pt"),
            Demands(Thresholds(limits={"delta-lp": 1.0})),
            options=MeasureOptions(power=float("inf")),
        )


def test_the_bound_is_of_cross_entropy_with_running_statistics() -> None:
    bounded = bound_checkpoint(None, BoundOptions(kl=1.0), data=Data(samples=128, batch_size=64, bn="running"))
    document = bounded.document()
    assert (document["options"]["bn"], document["options"]["loss"]) == ("running", "cross-entropy")
    assert bounded.bound.term == "samples"
    assert bounded.bound.terms == 128


def test_rescaling_in_single_precision_fails_where_rounding_rules(tmp_path: Path) -> None:
    with pytest.raises(NotMeasurableError, match="rounding floor"):
        rescale_checkpoint(data=FEW, options=MeasureOptions(precision="float32", delta=1e-9))
    files = RescaledFiles(tmp_path / "copies", tmp_path / "picture.png")
    heard = Remembered()
    rescaled = rescale_checkpoint(
        None, data=FEW, rescaling=RescaleOptions(epsilon="exact"), files=files, reporter=heard
    )
    assert rescaled.report.invariant
    assert rescaled.options.to_dict()["ball_samples"] == 16
    assert rescaled.network.surface.dtype == torch.float64
    copies = [*(tmp_path / "copies").iterdir()]
    assert heard.notices == [f"wrote {len(copies)} copies to {tmp_path / 'copies'}"]
    assert (tmp_path / "picture.png").stat().st_size > 0


def test_a_device_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="device: expected auto, cpu or cuda, found 'meta'"):
        measure_checkpoint(None, data=FEW, computing=Computing("meta"))


def test_nothing_of_the_program_around_is_changed() -> None:
    torch.manual_seed(3)
    before, grad = torch.get_rng_state(), torch.is_grad_enabled()
    with torch.inference_mode():
        measure_checkpoint(None, CheckpointSource(), FEW)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled() == grad


def test_the_time_of_a_measurement_begins_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(*arguments: Any) -> OpenedInputs:
        time.sleep(0.5)
        return open_inputs(*arguments)

    monkeypatch.setattr(measuring, "open_inputs", slowly)
    assert measure_checkpoint(None, data=Data(samples=64, batch_size=64)).seconds >= 0.5
