"""What a user can get wrong: one clear line and exit 2 or 3, never an internal error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from tests.cli.helpers import bnsharp, one_error

SAMPLE = "sample:digits-small-batch"
FAST = ("--samples", 256, "--batch-size", 128, "--quiet")
PIXELS = np.zeros((8, 1, 8, 8), dtype=np.uint8)
CLASSES = np.arange(8)


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (PIXELS, CLASSES.astype(np.float32), "labels are float32 of shape (N), expected integers of shape (N)"),
        (PIXELS, CLASSES[:, None], "labels are int64 of shape (N, 1), expected integers of shape (N)"),
        (np.zeros((8, 1, 12, 12), dtype=np.uint8), CLASSES, "does not accept inputs of (1, 12, 12): RuntimeError"),
    ],
    ids=["float", "column", "size"],
)
def test_data_that_the_network_cannot_take_exits_3(tmp_path: Path, x: np.ndarray, y: np.ndarray, says: str) -> None:
    np.savez(tmp_path / "data.npz", x=x, y=y)
    arguments = ("--data", "npz:data.npz", "--batch-size", 4, "--quiet")
    assert says in one_error(bnsharp("measure", SAMPLE, *arguments, folder=tmp_path, expect=3))


def test_a_single_array_given_as_an_archive_exits_3(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", PIXELS)
    finished = bnsharp("measure", SAMPLE, "--data", "npz:data.npy", "--quiet", folder=tmp_path, expect=3)
    assert "Cannot read x, y from data.npy" in one_error(finished)


@pytest.mark.parametrize(
    ("mean", "says"),
    [
        (10**400, "'preprocessing.mean.0' is a builtins.int"),
        (float("nan"), "'preprocessing' entry is not"),
        ("0.5", "'preprocessing' entry is not"),
    ],
    ids=["huge", "nan", "text"],
)
def test_preprocessing_that_is_no_number_exits_3(tmp_path: Path, sample_path: Path, mean: object, says: str) -> None:
    sample = load_checkpoint(sample_path)
    preprocessing = {"image_size": None, "mean": [mean], "std": [1.0]}
    save_checkpoint(tmp_path / "net.pt", sample.state_dict, **{**sample.metadata, "preprocessing": preprocessing})
    finished = bnsharp("measure", "net.pt", *FAST, folder=tmp_path, expect=3)
    assert says in one_error(finished)


@pytest.mark.parametrize(
    ("code", "exit_code", "says"),
    [
        ("def data(split): raise KeyError('images')", 2, "'mine.py:data' failed: KeyError: 'images'"),
        ("def data(split): raise SystemExit(0)", 2, "'mine.py:data' failed: SystemExit: 0"),
        ("raise SystemExit", 2, "Cannot import 'mine.py:data': SystemExit"),
        (
            "def data(split): return [{}]",
            3,
            "Cannot read mine.py:data example 0: expected one entry with an image",
        ),
        (
            "def data(split): return [(None, 0)]",
            3,
            "Cannot read mine.py:data example 0: expected an image or a tensor as the input, found None",
        ),
    ],
)
def test_a_data_factory_that_fails(tmp_path: Path, code: str, exit_code: int, says: str) -> None:
    (tmp_path / "mine.py").write_text(code)
    arguments = ("--data", "mine.py:data", "--batch-size", 1, "--quiet")
    finished = bnsharp("measure", SAMPLE, *arguments, folder=tmp_path, expect=exit_code)
    assert says in one_error(finished)


def test_a_network_factory_that_ends_the_process_exits_2(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def net(): raise SystemExit(0)")
    finished = bnsharp("measure", SAMPLE, "--arch", "mine.py:net", *FAST, folder=tmp_path, expect=2)
    assert "'mine.py:net' failed: SystemExit: 0" in one_error(finished)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("measure", SAMPLE, "--seed", 2**64), "--seed: expected a number of at most 62 bits"),
        (("check", SAMPLE, "--seed", -(2**70)), "--seed: expected a number of at most 62 bits"),
        (("train", "--output", "net.pt", "--seed", 2**64), "--seed: expected a number of at most 62 bits"),
        (("measure", SAMPLE, "--device", "meta"), "--device: expected auto, cpu or cuda, found 'meta'"),
        (("measure", SAMPLE, "--device", "mps"), "--device: expected auto, cpu or cuda, found 'mps'"),
        (("measure", SAMPLE, "--measure", "delta-lp", "-p", "inf"), "--measure delta-lp needs a finite --power"),
        (("check", SAMPLE, "--max", "delta-lp=1", "-p", "inf"), "--max delta-lp needs a finite --power"),
        (("train", "--output", "net.pt", "--arch", "vgg11-bn"), "vgg11-bn does not accept images of (1, 8, 8)"),
        (("train", "--output", "net.pt", "--arch-option", "in_channels=3"), "does not accept images of (1, 8, 8)"),
        (("train", "--output", "net.pt", "--arch-option", "image_size=12"), "does not accept images of (1, 8, 8)"),
        (("train", "--output", "net.pt", "--arch-option", "depth=3"), "lenet-bn has no option depth"),
    ],
)
def test_options_that_cannot_be_meant_exit_2(tmp_path: Path, arguments: tuple[object, ...], says: str) -> None:
    assert says in one_error(bnsharp(*arguments, "--quiet", folder=tmp_path, expect=2))
    assert not list(tmp_path.iterdir())


def test_training_for_too_few_classes_exits_3(tmp_path: Path) -> None:
    arguments = ("train", "--output", "net.pt", "--arch-option", "classes=5")
    finished = bnsharp(*arguments, folder=tmp_path, expect=3)
    assert "The labels lie in 0 … 9, the network has 5 classes" in one_error(finished)


@pytest.mark.parametrize(
    ("command", "option"),
    [("measure", "--output"), ("measure", "--plot"), ("check", "--output"), ("rescale-test", "--save-copies")],
)
def test_a_place_that_cannot_be_written_is_refused_before_the_checkpoint_is_opened(
    tmp_path: Path, command: str, option: str
) -> None:
    (tmp_path / "file").touch()
    finished = bnsharp(command, "missing.pt", option, "file/result.png", folder=tmp_path, expect=2)
    assert "Cannot write" in one_error(finished)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_training_refuses_a_place_that_cannot_be_written_before_the_data_is_opened(tmp_path: Path) -> None:
    finished = bnsharp("train", "--output", "no/net.pt", "--data", "npz:missing.npz", folder=tmp_path, expect=2)
    assert "Cannot write" in one_error(finished)


def test_what_the_users_code_prints_goes_to_stderr(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "print('importing')\n"
        "from bnsharp_cli.models import lenet_bn\n"
        "from bnsharp_cli.io.data.sources import open_digits\n"
        "def net():\n"
        "    print('building')\n"
        "    network = lenet_bn(1, 10, 8)\n"
        "    network.register_forward_pre_hook(lambda *_: print('running'))\n"
        "    return network\n"
        "def data(split):\n"
        "    print('opening')\n"
        "    whole = open_digits(split)\n"
        "    return list(zip(whole.images, whole.labels))\n"
    )
    arguments = ("--arch", "mine.py:net", "--data", "mine.py:data", *FAST, "--json")
    finished = bnsharp("measure", SAMPLE, *arguments, folder=tmp_path)
    assert json.loads(finished.stdout)["command"] == "measure"
    assert {"importing", "building", "running", "opening"} == set(finished.stderr.splitlines())


LONG = pytest.mark.slow(
    reason="measures in a process of its own",
    quick="tests/cli/test_bad_inputs.py::test_streams_that_are_closed_or_full",
)


@pytest.mark.parametrize(("redirection", "code"), [(">&-", 2), pytest.param("2>&-", 0, marks=LONG), (">/dev/full", 4)])
def test_streams_that_are_closed_or_full(tmp_path: Path, redirection: str, code: int) -> None:
    command = f"{sys.executable} -m bnsharp_cli measure {SAMPLE} --samples 64 --batch-size 64 --json {redirection}"
    finished = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.returncode == code, finished.stderr
    if code:
        assert "stdout" in one_line_of_two(finished.stderr)
    else:
        assert json.loads(finished.stdout)["command"] == "measure"


def one_line_of_two(errors: str) -> str:
    reason, _ = errors.splitlines()
    return reason
