"""What a terminal shows: sentences name arguments as the command spells them, and every measure has a meaning."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bnsharp_cli.errors import named
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.report.terminal import console, meaning, print_checks, print_subject, print_verdict


def test_arguments_are_spelt_as_the_command_spells_them(capsys: pytest.CaptureFixture[str]) -> None:
    print_subject(console(lambda argument: f"--{argument}"), [f"see {named('every')}"])
    print_subject(console(), [f"see {named('every')}", "[bold] of a user"])
    assert capsys.readouterr().out == "see --every\n\nsee every\n[bold] of a user\n\n"


def test_checks_say_how_they_ended(capsys: pytest.CaptureFixture[str]) -> None:
    checks = [("loads", True, "yes"), ("invariance", None, f"skipped, see {named('max')}"), ("finite", False, "no")]
    print_checks(console(str.upper), checks)
    print_verdict(console(str.upper), "1 of 2 failed", passed=False)
    lines = ["PASS  loads       yes", "SKIP  invariance  skipped, see MAX", "FAIL  finite      no", "1 of 2 failed"]
    assert capsys.readouterr().out.splitlines() == lines


def test_a_measure_that_is_new_is_explained_by_its_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(meaning(name) for name in MEASURES)
    monkeypatch.setitem(MEASURES, "mine", replace(MEASURES["bn"], name="mine", summary="something new"))
    assert meaning("mine") == "something new"
