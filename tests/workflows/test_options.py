"""Options of the workflows: what they refuse, and how the command line's texts are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.checkpoints.samples import EMBEDDED, checkpoint_path, embedded_checkpoint
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.selection import Selection
from bnsharp_cli.workflows.completion import offered_checkpoints
from bnsharp_cli.workflows.options import Data, read_deviation, read_mean, read_pairs, read_samples
from bnsharp_cli.workflows.thresholds import (
    Change,
    Thresholds,
    read_decreases,
    read_increases,
    read_least,
    read_limits,
)
from bnsharp_cli.workflows.training_options import TrainingRunOptions


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"split": "validation"}, "split: expected train or test, found 'validation'"),
        ({"samples": 0}, "samples: expected a positive number or all, found 0"),
        ({"batch_size": 0}, "batch_size: expected at least 1, found 0"),
        ({"seed": 2**62}, "seed: expected a number of at most 62 bits"),
        ({"bn": "none"}, "bn: expected batch or running, found 'none'"),
    ],
)
def test_data_options_out_of_range_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        Data(**wrong)
    assert refused.value.reason.startswith(says)
    assert refused.value.argument == next(iter(wrong))


def test_texts_of_the_command_line() -> None:
    assert read_samples("all") is None
    assert read_samples("64") == 64
    assert read_mean("0.5,1") == (0.5, 1.0)
    assert dict(read_pairs(["classes=10", "kind=deep", "empty="])) == {"classes": 10, "kind": "deep", "empty": ""}
    assert dict(read_limits(["bn=4", "keskar=1e3"])) == {"bn": "4", "keskar": "1e3"}
    thresholds = Thresholds(
        limits={"bn@1e-2": "4", "share:conv1": "40%"}, max_increase={"noise": "10%"}, max_decrease={"bn": "0.3abs"}
    )
    assert thresholds.limits == {"bn@0.01": 4.0, "share:conv1": 0.4}
    assert (thresholds.max_increase, thresholds.max_decrease) == (
        {"noise": Change(0.1, absolute=False)},
        {"bn": Change(0.3, absolute=True)},
    )


@pytest.mark.parametrize(
    ("read", "text", "argument"),
    [
        (read_samples, "1.5", "samples"),
        (read_mean, "a", "mean"),
        (read_deviation, "", "std"),
        (read_pairs, ["classes"], "arch_option"),
        (read_limits, ["bn=1", "bn=2"], "limits"),
        (read_limits, ["bn"], "limits"),
        (read_least, ["=1"], "least"),
        (read_increases, ["bn"], "max_increase"),
        (read_decreases, ["bn"], "max_decrease"),
    ],
)
def test_texts_in_another_form_are_refused(read: Any, text: Any, argument: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(text)
    assert refused.value.argument == argument


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"measure_every": -1}, "measure_every: expected at least 0, found -1. 0 for never."),
        ({"measure_samples": 1}, "measure_samples: expected at least 2, found 1. For example 1024."),
    ],
)
def test_a_refusal_says_what_to_give_instead(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        TrainingRunOptions(output=Path("net.pt"), **wrong)
    assert str(refused.value) == says


FLAT = {"bn": 1.0, "pac-bayes-sigma": 0.5}
"""The second would let the sharpest networks pass."""


def test_thresholds_from_python_are_checked_too() -> None:
    for wrong in (
        *({"limits": {"loss": float("nan")}}, {"least": {"accuracy": "high"}}, {"limits": {"flat": 1.0}}),
        *({"limits": FLAT}, {"limits": 4.5}, {"limits": {"bn": True}}, {"max_increase": {"bn": 0.1}}),
        *({"max_decrease": {"loss": "-5%"}}, {"max_increase": FLAT}, {"limits": {"loss@0.1": 1}}),
        *({"limits": {"share:": 0.4}}, {"limits": {"bn@0": 4}}, {"limits": {"bn@1e-2": 4, "bn@0.01": 5}}),
    ):
        with pytest.raises(UsageError) as refused:
            Thresholds(**wrong)  # type: ignore[arg-type]  # one after the other
        assert refused.value.argument == next(iter(wrong))


def test_a_selection_is_every_measure_at_every_radius() -> None:
    assert Selection(("all",)).names == (
        *("bn", "delta-lp", "delta-linf", "keskar"),
        *("noise", "critical-radius", "pac-bayes-sigma", "adaptive", "hessian"),
        *("relative-flatness", "gradient-norm", "weight-norm", "loss", "margin", "entropy", "random"),
    )
    runs = Selection(delta=(1e-3, 1e-2)).runs(MeasureOptions(power=1.0))
    assert [(run.delta, run.power) for run in runs] == [(1e-3, 1.0), (1e-2, 1.0)]
    with pytest.raises(UsageError, match="measure: expected one of bn, "):
        Selection(("flatness",))
    with pytest.raises(UsageError, match="measure delta-lp needs a finite power"):
        Selection(("delta-lp",)).runs(MeasureOptions(power=float("inf")))
    with pytest.raises(UsageError, match="delta: expected a positive number"):
        Selection(delta=(0.0,)).runs(MeasureOptions())


def test_samples_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkpoint_path(None) == embedded_checkpoint(EMBEDDED) == checkpoint_path(Path(f"sample:{EMBEDDED}"))
    assert checkpoint_path(Path("net.pt")) == Path("net.pt")
    with pytest.raises(UsageError, match="There is no sample checkpoint 'none'"):
        checkpoint_path(Path("sample:none"))
    (tmp_path / "nets").mkdir()
    (tmp_path / "net.pt").touch()
    monkeypatch.chdir(tmp_path)
    assert offered_checkpoints("") == [], "the shell offers its files"
    assert offered_checkpoints("ne") == ["net.pt", "nets/"]
    assert f"sample:{EMBEDDED}" in offered_checkpoints("sample:dig")
    assert all(word.startswith("sample:digits-small") for word in offered_checkpoints("sample:digits-small"))
