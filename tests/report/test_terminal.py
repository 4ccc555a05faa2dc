"""What a terminal shows: sentences name arguments as the command spells them, and every measure has a meaning."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bnsharp_cli.errors import named
from bnsharp_cli.measurement.decision.outcome import Outcome
from bnsharp_cli.measurement.measures.measurement import Measurement, Status, Uncertainty
from bnsharp_cli.measurement.measures.measurements import Measurements
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.report.checks import print_checks, print_outcome
from bnsharp_cli.report.terminal import (
    console,
    meaning,
    print_legend,
    print_measurements,
    print_subject,
)
from bnsharp_cli.workflows.gate import Check


def test_arguments_are_spelt_as_the_command_spells_them(capsys: pytest.CaptureFixture[str]) -> None:
    print_subject(console(lambda argument: f"--{argument}"), [f"see {named('every')}"])
    print_subject(console(), [f"see {named('every')}", "[bold] of a user"])
    assert capsys.readouterr().out == "see --every\n\nsee every\n[bold] of a user\n\n"


def test_checks_say_how_they_ended(capsys: pytest.CaptureFixture[str]) -> None:
    checks = [
        Check("loads", Outcome.PASS, "yes"),
        Check("invariance", Outcome.SKIP, f"skipped, see {named('max')}"),
        Check("finite", Outcome.FAIL, "no"),
    ]
    print_checks(console(str.upper), checks)
    print_outcome(console(str.upper), "1 of 2 failed", Outcome.FAIL)
    lines = ["PASS  loads       yes", "SKIP  invariance  skipped, see MAX", "FAIL  finite      no", "1 of 2 failed"]
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == lines


def test_a_measure_that_is_new_is_explained_by_its_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(meaning(name) for name in MEASURES)
    monkeypatch.setitem(MEASURES, "mine", replace(MEASURES["bn"], name="mine", summary="something new"))
    assert meaning("mine") == "something new"


def test_the_words_say_which_way_is_sharper(capsys: pytest.CaptureFixture[str]) -> None:
    """As the registry has it; a partition goes by the entry of BN-Sharpness, a control has no way."""
    names = ("bn", "bn-filter", "keskar", "critical-radius", "pac-bayes-sigma", "loss")
    measured = [Measurement(name, 1.0, Status.COMPUTED, Uncertainty(), Cost(1)) for name in names]
    print_legend(console(), measured)
    lines = capsys.readouterr().out.splitlines()
    assert "larger is sharper: bn, bn-filter, keskar" in lines
    assert "larger is flatter: critical-radius, pac-bayes-sigma" in lines
    print_legend(console(), measured[-1:])
    assert "larger is" not in capsys.readouterr().out


def test_noise_is_shown_at_every_size_with_the_larger_error(capsys: pytest.CaptureFixture[str]) -> None:
    record = {"sigma": 0.1, "value": 0.0123, "sampling": 0.004, "rounding": 1e-9}
    small = {"sigma": 0.03, "value": -2e-8, "sampling": 1e-9, "rounding": 3e-8}
    noise = Measurement(
        "noise", 0.0123, Status.SAMPLED, Uncertainty(), Cost(53), details={"by_sigma": [small, record], "sigma": 0.1}
    )
    print_measurements(console(), Measurements({"noise": (noise,)}))
    shown = " ".join(capsys.readouterr().out.split())
    assert "noise: -2e-08 ± 3e-08 at σ = 0.03, 0.0123 ± 0.004 at σ = 0.1" in shown
