"""``figure --results``: an interrupted figure goes on where it ended, and its numbers are those of one that was not."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cli.helpers import bnsharp

SMALL, LARGE = "sample:digits-small-batch", "sample:digits-large-batch"
FAST = ("--samples", 64, "--batch-size", 32)
KINDS = {
    "landscape": ("landscape", SMALL, "--evaluations", 120),
    "profile": ("profile", SMALL, "--random", 3, "--accuracy"),
    "between": ("between", SMALL, LARGE, "--bend", 0),
}


def drawn(folder: Path, kind: str, *more: object, expect: int = 0) -> tuple[list[dict[str, str]], str, float]:
    """The numbers of a figure, what was told, and its forward passes."""
    arguments = (*KINDS[kind], *FAST, "--plot", "f.png", "--values", "f.csv", *more)
    finished = bnsharp("figure", *arguments, folder=folder, expect=expect)
    if expect:
        return [], finished.stderr, 0.0
    passes = re.search(r"^([\d.]+)F", finished.stdout, re.MULTILINE)
    assert passes
    return [*csv.DictReader((folder / "f.csv").read_text().splitlines())], finished.stderr, float(passes[1])


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_figure_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    expected, _, whole = drawn(tmp_path, kind)
    calls: list[int] = []
    wanted = LossSurface.evaluated if kind == "profile" else LossSurface.batch_losses

    def interrupted(self: LossSurface, *arguments: object) -> object:
        calls.append(1)
        if len(calls) == (70 if kind == "profile" else calls_before + 2):
            raise KeyboardInterrupt
        return wanted(self, *arguments)  # type: ignore[operator]

    calls_before = {"landscape": 4, "between": 0}.get(kind, 0)
    monkeypatch.setattr(LossSurface, wanted.__name__, interrupted)
    drawn(tmp_path, kind, "--results", "kept", expect=130)
    monkeypatch.undo()
    (kept,) = (tmp_path / "kept").glob("*.losses")
    assert kept.stat().st_size > 100
    found, told, passes = drawn(tmp_path, kind, "--results", "kept")
    assert found == expected
    assert re.search(rf"\d+ evaluations known from kept/{kind}-", told)
    assert passes < whole
    again, _, none = drawn(tmp_path, kind, "--results", "kept")
    assert again == expected
    assert none < passes


def test_other_options_know_nothing_of_it(tmp_path: Path) -> None:
    drawn(tmp_path, "between", "--results", "kept")
    for option in (("--seed", 1), ("--samples", 96), ("--precision", "float64")):
        _, told, _ = drawn(tmp_path, "between", "--results", "kept", *option)
        assert "known from" not in told


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda text: "{",
        lambda text: "[" * 10**6,
        lambda text: text.replace("key", "lock"),
        lambda text: re.sub(r"\[[^]]*\]", "[1.0]", text),
        lambda text: re.sub(r"\[[^]]*\]", '["1.0"]', text),
        lambda text: re.sub(r"\[[^]]*\]", "{}", text),
        lambda text: re.sub(r"\[[^]]*\]", "[]", text),
        lambda text: text.replace('"losses": {', '"losses": {"x\\u001b[31m": [1], '),
    ],
)
def test_a_spoiled_file_is_told_and_changes_nothing(tmp_path: Path, spoiled) -> None:
    expected, *_ = drawn(tmp_path, "between", "--results", "kept")
    (kept,) = (tmp_path / "kept").glob("*.losses")
    kept.write_text(spoiled(kept.read_text()))
    found, told, _ = drawn(tmp_path, "between", "--results", "kept")
    assert found == expected
    assert "\x1b" not in told


def test_what_was_measured_for_a_figure_takes_no_pass_again(tmp_path: Path) -> None:
    arguments = ("figure", "delta", SMALL, *FAST, "--delta", "1e-3,1e-2", "--plot", "f.png", "--results", "kept")
    first, again = (bnsharp(*arguments, folder=tmp_path).stdout for _ in range(2))
    assert first.splitlines()[-1].split("F")[0].replace(".", "").isdigit()
    assert "0F + 0B" in again.splitlines()[-1]
