"""``bnsharp check`` as a gate: what it checks, what it refuses, how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.models import lenet_bn
from tests.cli.helpers import bnsharp, one_error

FAST = ("--samples", 256, "--batch-size", 64, "--quiet")
QUICK = (*FAST, "--skip", "invariance")
EXACT = ("--samples", "all")
SAMPLE = "sample:digits-small-batch"


def test_with_no_limit_it_checks_what_can_be_checked(tmp_path: Path) -> None:
    lines = bnsharp("check", SAMPLE, *FAST, folder=tmp_path).stdout.splitlines()
    assert lines[0].startswith("PASS  load")
    assert any(line.startswith("PASS  invariance") for line in lines)
    assert lines[-1] == "PASSED: all 3 checks"


def test_limits_that_hold(tmp_path: Path) -> None:
    limits = ("--max", "loss=0.1", "--min", "accuracy=90%", "--max", "noise=4.5", "--max", "dead-rows=0")
    finished = bnsharp("check", SAMPLE, *FAST, *limits, folder=tmp_path)
    assert finished.stdout.splitlines()[-1] == "PASSED: all 7 checks"


def test_one_limit_that_fails_is_exit_1_and_named_last(tmp_path: Path) -> None:
    finished = bnsharp("check", SAMPLE, *QUICK, "--max", "bn=1e-6", "--max", "loss=1", folder=tmp_path, expect=1)
    assert finished.stdout.splitlines()[-1] == "FAILED: bn"
    assert "PASS  loss" in finished.stdout
    finished = bnsharp("check", SAMPLE, *QUICK, "--max", "loss=1e-9", "--json", folder=tmp_path, expect=1)
    document = json.loads(finished.stdout)
    assert document["verdict"] == {"passed": False, "outcome": "fail", "sentence": "FAILED: loss"}
    assert [check["outcome"] for check in document["checks"]] == ["pass", "pass", "fail", "skip"]
    (loss,) = (check for check in document["checks"] if check["kind"] == "max")
    assert loss["value"] == loss["measured"] == document["loss"]
    assert 1e-9 == loss["limit"] < loss["low"] < loss["value"] < loss["high"]


def test_what_is_inconclusive_passes_unless_that_is_to_fail(tmp_path: Path) -> None:
    limit = ("--min", "critical-radius=1e-4")
    finished = bnsharp("check", SAMPLE, *QUICK, *limit, folder=tmp_path)
    assert finished.stdout.splitlines()[-1] == "INCONCLUSIVE: critical-radius"
    assert "--samples all would decide" in " ".join(finished.stdout.split())
    finished = bnsharp(
        "check", SAMPLE, *QUICK, *limit, "--fail-on", "inconclusive", "--json", folder=tmp_path, expect=1
    )
    verdict = json.loads(finished.stdout)["verdict"]
    assert (verdict["passed"], verdict["outcome"]) == (False, "inconclusive")


def test_what_a_sentence_advises_decides(tmp_path: Path) -> None:
    finished = bnsharp("check", SAMPLE, *QUICK, "--samples", "all", "--min", "critical-radius=1e-4", folder=tmp_path)
    assert finished.stdout.splitlines()[-1] == "PASSED: all 3 checks"


def test_each_radius_has_a_check_unless_a_limit_names_one(tmp_path: Path) -> None:
    radii = ("--delta", "1e-3,1e-2", "--json")
    finished = bnsharp("check", SAMPLE, *QUICK, *radii, "--max", "bn=9", "--min", "bn@1e-2=1e-9", folder=tmp_path)
    limited = [(check["name"], check["kind"]) for check in json.loads(finished.stdout)["checks"] if check["kind"]]
    assert limited == [("bn@0.001", "max"), ("bn@0.01", "max"), ("bn@0.01", "min")]


def test_a_share_is_that_of_the_layer(tmp_path: Path) -> None:
    arguments = (SAMPLE, *QUICK, "--samples", "all", "--json")
    finished = bnsharp("check", *arguments, "--max", "share:conv1=99%", folder=tmp_path)
    (check,) = (one for one in json.loads(finished.stdout)["checks"] if one["kind"])
    measured = bnsharp("measure", SAMPLE, "--samples", "all", *FAST[2:], "--by", "layer", "--json", folder=tmp_path)
    parts = {one["name"]: one["share"] for one in json.loads(measured.stdout)["measures"]["bn"]["parts"]["each"]}
    assert check["value"] == pytest.approx(parts["conv1"])
    assert check["outcome"] == "pass"
    refused = bnsharp("check", *arguments[:-1], "--max", "share:conv=1", folder=tmp_path, expect=2)
    assert "--max: expected a layer among" in one_error(refused)


def test_several_checkpoints_end_with_the_worst(tmp_path: Path) -> None:
    both = (SAMPLE, "sample:digits-large-batch")
    finished = bnsharp("check", *both, *QUICK, "--max", "loss=1", "--json", folder=tmp_path)
    assert [json.loads(line)["verdict"]["passed"] for line in finished.stdout.splitlines()] == [True, True]
    finished = bnsharp("check", *both, *QUICK, *EXACT, "--max", "loss=8e-4", "--json", folder=tmp_path, expect=1)
    assert [json.loads(line)["verdict"]["outcome"] for line in finished.stdout.splitlines()] == ["pass", "fail"]
    finished = bnsharp("check", SAMPLE, "none.pt", *QUICK, "--max", "loss=1e-9", folder=tmp_path, expect=3)
    assert finished.stdout.splitlines()[-1] == f"checkpoint {SAMPLE}: FAILED: loss"


def test_what_there_is_no_time_for_is_inconclusive(tmp_path: Path) -> None:
    arguments = ("--max", "noise=1", "--max", "loss=1", "--noise-draws", 100_000, "--max-seconds", 0.5)
    finished = bnsharp("check", SAMPLE, *FAST, *arguments, folder=tmp_path)
    assert finished.stdout.splitlines()[-1] == "INCONCLUSIVE: noise, invariance"
    assert "not known after 0.5 seconds: raise --max-seconds" in " ".join(finished.stdout.split())
    assert "PASS          loss" in finished.stdout


def test_a_measure_is_stopped_in_its_middle(tmp_path: Path) -> None:
    arguments = ("--max", "noise=1", "--noise-draws", 100_000, "--max-seconds", 15)
    finished = bnsharp("check", SAMPLE, *QUICK, *arguments, "--json", folder=tmp_path)
    document = json.loads(finished.stdout)
    assert document["verdict"]["outcome"] == "inconclusive"
    assert document["measures"] == {}
    assert document["cost"]["forward"] > 20, "it had begun"
    assert document["cost"]["seconds"] < 60


def test_a_network_without_norms_skips_what_is_theirs(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    torch.manual_seed(0)
    torch.save(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).state_dict(), tmp_path / "net.pt")
    finished = bnsharp("check", "net.pt", "--arch", "mine.py:net", "--data", "digits", *FAST, folder=tmp_path)
    assert "SKIP  invariance" in finished.stdout
    assert "SKIP  buffers" in finished.stdout
    assert finished.stdout.splitlines()[-1] == "PASSED: the only check"


def changed(folder: Path, sample_path: Path, name: str, change: object) -> Path:
    content = load_checkpoint(sample_path)
    state = {key: tensor.clone() for key, tensor in content.state_dict.items()}
    assert callable(change)
    change(state)
    torch.save(state, folder / name)
    return folder / name


def test_weights_and_buffers_that_are_unsound(tmp_path: Path, sample_path: Path) -> None:
    def spoil(state: dict[str, torch.Tensor]) -> None:
        state["conv1.weight"][:2] = 0
        state["norm1.running_var"][1] = 0
        state["norm2.running_mean"].zero_()
        state["norm2.running_var"].fill_(1)
        state["norm2.num_batches_tracked"].zero_()

    changed(tmp_path, sample_path, "net.pt", spoil)
    arguments = ("check", "net.pt", "--arch", "lenet-bn", "--data", "digits", *QUICK)
    finished = bnsharp(*arguments, "--max", "dead-rows=1", folder=tmp_path, expect=1)
    said = " ".join(finished.stdout.split())
    assert "FAIL buffers norm1: 1 of 6 running variances are not positive and 1 more" in said
    assert "FAIL dead-rows 2, at most 1 allowed (conv1.weight 2 of 6)" in said
    finished = bnsharp(*arguments, "--skip", "buffers", folder=tmp_path)
    assert "2 dead rows (conv1.weight 2 of 6)" in " ".join(finished.stdout.split())


REFUSED = [
    (("--max", "flatness=1"), "--max: expected one of loss, accuracy, dead-rows, test-loss,"),
    (("--max", "bn=low"), "--max: expected a number, or a share such as 40%, found 'low'"),
    (("--max", "bn=nan"), "--max: expected a number"),
    (("--max", "bn"), "--max: expected NAME=VALUE, found 'bn'"),
    (("--min", "accuracy"), "--min: expected NAME=VALUE"),
    (("--max", "bn=1", "--max", "bn=2"), "--max: bn has two limits"),
    (("--max", "critical-radius=1"), "--max: a large critical-radius is flat"),
    (("--max", "bn@0.5=1"), "--max: expected a radius among 0.001, found 'bn@0.5'"),
    (("--max", "loss@0.5=1"), "--max: expected loss, which has no radius"),
    (("--max-increase", "bn=0.1", "--baseline", "b.json"), "--max-increase: expected a share such as 10%"),
    (("--max-decrease", "bn=-1%", "--baseline", "b.json"), "--max-decrease: expected a share such as 10%"),
    (("--max-increase", "bn=10%"), "--max-increase needs --baseline"),
    (("--max-decrease", "bn=10%"), "--max-decrease needs --baseline"),
    (("--update-baseline",), "--update-baseline needs --baseline"),
    (("--max-seconds", 0), "--max-seconds: expected a positive number"),
    (("--skip", "loss"), "--skip: expected invariance or buffers"),
]


@pytest.mark.parametrize(("arguments", "says"), REFUSED, ids=lambda case: str(case)[:30])
def test_limits_that_cannot_be_meant_exit_2(arguments: tuple[object, ...], says: str, tmp_path: Path) -> None:
    assert says in one_error(bnsharp("check", SAMPLE, *FAST, *arguments, folder=tmp_path, expect=2))


def test_escapes_in_a_checkpoint_do_not_reach_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[31mred\nsecond"
    torch.save(
        {"format": "bnsharp/1", "state_dict": {"w": torch.ones(2)}, "architecture": "lenet-bn", "data": evil},
        tmp_path / "net.pt",
    )
    finished = bnsharp("check", "net.pt", "--arch", "lenet-bn", *FAST, folder=tmp_path, expect=3)
    assert "\x1b" not in finished.stderr
    metadata = {"architecture": "lenet-bn", "architecture_options": {evil: 1}}
    torch.save({"format": "bnsharp/1", "state_dict": {"w": torch.ones(2)}, **metadata}, tmp_path / "net.pt")
    finished = bnsharp("check", "net.pt", *FAST, folder=tmp_path, expect=3)
    assert "\x1b" not in finished.stderr
    assert "which a file may not decide" in one_error(finished)


def test_weights_that_are_not_finite_exit_3(tmp_path: Path) -> None:
    state = lenet_bn(1, 10, 8).state_dict()
    state["conv1.weight"][0] = float("inf")
    torch.save(state, tmp_path / "net.pt")
    finished = bnsharp("check", "net.pt", "--arch", "lenet-bn", *FAST, folder=tmp_path, expect=3)
    assert "NaN or infinite" in one_error(finished)


def test_the_gap_is_limited_with_the_error_of_both_samples(tmp_path: Path) -> None:
    arguments = (SAMPLE, *QUICK, *EXACT, "--test-data", "digits", "--json")
    limits = ("--max", "gap=9", "--max", "test-loss=9", "--min", "test-accuracy=50%", "--max", "accuracy-gap=40%")
    document = json.loads(bnsharp("check", *arguments, *limits, folder=tmp_path).stdout)
    found = {check["name"]: check for check in document["checks"] if check["kind"]}
    test = document["test"]
    assert [found[name]["value"] for name in ("gap", "test-loss", "test-accuracy", "accuracy-gap")] == (
        pytest.approx([test["gap"], test["loss"], test["accuracy"], test["accuracy_gap"]])
    )
    assert {check["outcome"] for check in found.values()} == {"pass"}
    assert found["gap"]["high"] - test["gap"] == pytest.approx(3 * 1.959964 * test["gap_error"], rel=1e-5)
    assert found["accuracy-gap"]["low"] < test["accuracy_gap"] < found["accuracy-gap"]["high"]
    refused = bnsharp("check", SAMPLE, *QUICK, "--max", "gap=1", folder=tmp_path, expect=2)
    assert "gap needs --test-data" in one_error(refused)
