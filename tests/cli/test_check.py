"""``bnsharp check`` as a gate."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from bnsharp_cli.models import lenet_bn
from tests.cli.helpers import bnsharp, one_error

FAST = ("--samples", 256, "--batch-size", 128, "--quiet")
SAMPLE = "sample:digits-small-batch"


def test_with_no_threshold_it_checks_what_can_be_checked(tmp_path: Path) -> None:
    lines = bnsharp("check", SAMPLE, *FAST, folder=tmp_path).stdout.splitlines()
    assert lines[0].startswith("PASS  load")
    assert any(line.startswith("PASS  invariance") for line in lines)
    assert lines[-1] == "PASSED: all 2 checks"


def test_thresholds_that_hold(tmp_path: Path) -> None:
    arguments = ("--max-loss", 0.1, "--min-accuracy", 0.9, "--max", "bn=4.5", "--max", "delta-linf=1")
    finished = bnsharp("check", SAMPLE, *FAST, *arguments, folder=tmp_path)
    assert finished.stdout.splitlines()[-1] == "PASSED: all 6 checks"


def test_one_threshold_that_fails_is_exit_1_and_named_last(tmp_path: Path) -> None:
    finished = bnsharp("check", SAMPLE, *FAST, "--max", "bn=1e-6", "--max-loss", 1, folder=tmp_path, expect=1)
    assert finished.stdout.splitlines()[-1] == "FAILED: bn"
    assert "PASS  loss" in finished.stdout
    finished = bnsharp("check", SAMPLE, *FAST, "--max-loss", 1e-9, "--json", folder=tmp_path, expect=1)
    document = json.loads(finished.stdout)
    assert document["verdict"] == {"passed": False}
    assert [check["outcome"] for check in document["checks"]] == ["pass", "fail", "pass"]


def test_a_network_without_norms_skips_the_invariance(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    torch.manual_seed(0)
    torch.save(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).state_dict(), tmp_path / "net.pt")
    finished = bnsharp("check", "net.pt", "--arch", "mine.py:net", "--data", "digits", *FAST, folder=tmp_path)
    assert "SKIP  invariance" in finished.stdout
    assert finished.stdout.splitlines()[-1] == "PASSED: the only check"


def test_limits_that_cannot_be_meant_exit_2(tmp_path: Path) -> None:
    for limit, says in (("flatness=1", "--max: expected one of bn,"), ("bn=low", "--max: expected MEASURE=NUMBER")):
        assert says in one_error(bnsharp("check", SAMPLE, *FAST, "--max", limit, folder=tmp_path, expect=2))


def test_thresholds_that_cannot_be_meant_exit_2(tmp_path: Path) -> None:
    for arguments, says in (
        (("--min-accuracy", 95), "--min-accuracy: expected a number in [0, 1]"),
        (("--max-loss", "nan"), "--max-loss: expected a number"),
        (("--max", "bn=1", "--max", "bn=2"), "--max: bn has two limits"),
    ):
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
