"""The command itself: help, version, streams, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bnsharp_cli import __version__
from tests.cli.helpers import bnsharp


def test_help_and_version_do_not_import_torch(tmp_path: Path) -> None:
    probe = (
        "import sys\n"
        "from bnsharp_cli.cli.main import app\n"
        "try:\n    app({arguments})\nexcept SystemExit: pass\n"
        "assert not {{'torch', 'scipy', 'pydantic'}} & {{*sys.modules}}, 'heavy import'\n"
    )
    for arguments in (["--help"], ["--version"], ["measure", "--help"], ["rescale-test", "-h"]):
        finished = subprocess.run(
            [sys.executable, "-c", probe.format(arguments=arguments)], capture_output=True, text=True, check=False
        )
        assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        ("bnsharp measure --se", {"--seeds", "--seed", "--search", "--search-nodes"}),
        ("bnsharp me", {"measure", "measures"}),
        ("bnsharp measure ", set()),  # the shell offers its files
        ("bnsharp measure --bn ", {"batch", "running"}),
        ("bnsharp measure --measure delta", {"delta-lp", "delta-linf"}),
        ("bnsharp check --search p", {"power", "paper"}),
        ("bnsharp check --max b", {"bn="}),
        ("bnsharp train --rule s", {"sgd", "sgds", "sam"}),
        ("bnsharp train --regulariser-gradient ex", {"exact", "exact-total"}),
        ("bnsharp train --data cifar", {"cifar10", "cifar100"}),
        ("bnsharp measure --arch vgg", {"vgg11-bn"}),
        ("bnsharp measure sample:cifar10-l", {"sample:cifar10-lenet"}),
        ("bnsharp rescale-test sample:cifar10-l", {"sample:cifar10-lenet"}),
        ("bnsharp reproduce t", {"table-1", "table-2"}),
        ("bnsharp reproduce --budget s", {"smoke"}),
    ],
)
def test_completion_offers_commands_options_and_values(
    words: str, offers: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_BNSHARP_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    assert set(bnsharp(folder=tmp_path).stdout.split()) == offers


def test_completion_does_not_import_torch(tmp_path: Path) -> None:
    probe = (
        "import sys\n"
        "from bnsharp_cli.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'scipy' not in sys.modules, 'heavy import'\n"
    )
    asked = {
        "_BNSHARP_COMPLETE": "complete_bash",
        "COMP_WORDS": "bnsharp measure sample:cifar10-l",
        "COMP_CWORD": "2",
    }
    finished = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False, env={**os.environ, **asked}
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == ["sample:cifar10-lenet"]


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bnsharp_cli", "--version"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert finished.stdout == f"bnsharp {__version__}\n"


def test_no_command_and_unknown_commands_exit_2(tmp_path: Path) -> None:
    finished = bnsharp(folder=tmp_path, expect=2)
    assert "Usage:" in finished.stdout + finished.stderr
    assert "No such command" in bnsharp("measur", folder=tmp_path, expect=2).stderr


@pytest.mark.parametrize(
    ("arguments", "reason", "remedy"),
    [
        (("train",), "--output is missing: expected a file.", "For example --output run.pt."),
        (("reproduce", "figure-1"), "--output is missing: expected a folder.", "For example --output figure-1."),
        (("measure", "x", "--batch-size", 0), "--batch-size: expected at least 1, found 0.", "For example 256."),
        (("check", "x", "--rtol", 2), "--rtol: expected a number in (0, 1), found 2.", "For example 1e-3."),
        (("check", "x", "--ball-samples", 1), "--ball-samples: expected at least 2, found 1.", "For example 32."),
        (
            ("rescale-test", "--uncertainty", "none"),
            "--uncertainty: expected one of cheap, full, found 'none'.",
            "For example cheap.",
        ),
        (("train", "--output", "x.pt", "--rho", 1), "--rho: --rule sgd has no such option.", "It is of sam, asam."),
    ],
)
def test_options_are_refused_in_two_lines_by_the_names_that_the_user_gave(
    tmp_path: Path, arguments: tuple[object, ...], reason: str, remedy: str
) -> None:
    finished = bnsharp(*arguments, folder=tmp_path, expect=2)
    assert finished.stderr == f"bnsharp: {reason}\n         {remedy}\n"
    assert finished.stdout == ""


def test_an_interrupt_is_130_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    code = "from bnsharp_cli.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", "--epochs", "100000", "--output", "net.pt"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background jobs of a shell ignore it
    )
    try:
        assert "gradients of 128 samples" in process.stderr.readline()
        figures = tmp_path / "net.metrics.jsonl"
        while not (figures.exists() and figures.read_bytes().count(b"\n") > 9):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130, errors
    assert "Interrupted" in errors
    assert "Traceback" not in errors
    assert {path.name for path in tmp_path.iterdir()} <= {"net.pt", "net.best.pt", "net.metrics.jsonl", "net.state"}
    bnsharp("inspect", "net.pt", folder=tmp_path)


@pytest.mark.parametrize("form", ["", "--json"])
def test_a_closed_pipe_is_no_error(tmp_path: Path, form: str) -> None:
    code = "from bnsharp_cli.cli.main import main; main()"
    command = f"{sys.executable} -c '{code}' measure sample:digits-small-batch --samples 256 --quiet {form} | true"
    finished = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
