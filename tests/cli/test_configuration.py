"""Options in a file: found or named, below the flags, and harmless where nobody named the file."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from bnsharp_cli.cli.configured import options_by_command, options_of_command
from tests.cli.helpers import bnsharp, one_error
from tests.documents import ROOT

SAMPLE = "sample:digits-small-batch"


def configure(folder: Path, text: str, name: str = "bnsharp.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def shown(*arguments: object, folder: Path) -> dict[str, tuple[Any, str]]:
    """Each option that is set, and where it comes from."""
    printed = bnsharp(*arguments, "--show-config", folder=folder).stdout
    ((_, values),) = tomllib.loads(printed).items()
    origins = dict(line.partition("  # ")[::2] for line in printed.splitlines())
    where = {line.partition(" = ")[0]: origin for line, origin in origins.items()}
    return {name: (value, where[name]) for name, value in values.items()}


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    configure(tmp_path, '[check]\nsamples = 512\nbatch-size = 64\nmax = {bn = 4.5}\n[measure]\nsamples = "all"\n')
    options = shown("check", "--batch-size", 32, folder=tmp_path)
    assert options["samples"] == (512, "bnsharp.toml")
    assert options["batch-size"] == (32, "command line")
    assert options["max"] == ({"bn": 4.5}, "bnsharp.toml")
    assert options["seed"] == (0, "default")
    assert shown("measure", folder=tmp_path)["samples"] == ("all", "bnsharp.toml")
    assert shown("compare", folder=tmp_path)["samples"] == ("2048", "default")


def test_the_file_decides_what_is_measured_and_says_so(tmp_path: Path) -> None:
    configure(tmp_path, "[check]\nsamples = 64\nbatch-size = 32\nmax = {loss = 1e-9}\njson = true\n")
    finished = bnsharp("check", SAMPLE, folder=tmp_path, expect=1)
    document = json.loads(finished.stdout)
    assert document["data"]["samples"] == 64
    assert "bnsharp: options from bnsharp.toml: samples, batch-size, max, json\n" in finished.stderr
    same = ("--samples", 64, "--batch-size", 32, "--max", "loss=1e-9", "--json", "--quiet", "--no-config")
    flags = json.loads(bnsharp("check", SAMPLE, *same, folder=tmp_path, expect=1).stdout)
    assert {**document, "cost": 0} == {**flags, "cost": 0}


def test_a_file_cannot_silence_what_is_said_of_it(tmp_path: Path) -> None:
    configure(tmp_path, "[inspect]\nquiet = true\n")
    assert "options from bnsharp.toml: quiet" in bnsharp("inspect", SAMPLE, folder=tmp_path).stderr
    assert bnsharp("inspect", SAMPLE, "--quiet", folder=tmp_path).stderr == ""


def test_what_is_shown_is_a_file_that_says_the_same(tmp_path: Path) -> None:
    given = (
        "--delta",
        0.1,
        "--mean",
        "0.5,0.25",
        "--arch-option",
        "norm='1'",
        "--max",
        "share:conv1=inf",
        "--max-increase",
        "noise=10%",
        "--max-decrease",
        "bn@0.01=0.3abs",
        "--key",
        'a"\\\x1b',
    )
    first = bnsharp("check", *given, "--max", "bn=2", "--data", "folder:x", "--show-config", folder=tmp_path).stdout
    configure(tmp_path, first, "again.toml")
    second = bnsharp("check", "--config", "again.toml", "--show-config", folder=tmp_path).stdout
    assert tomllib.loads(first) == tomllib.loads(second)
    assert "\x1b" not in first
    assert {line.rpartition("  # ")[2] for line in second.splitlines() if " = " in line} == {"again.toml"}


@pytest.mark.parametrize("command", options_by_command())
def test_every_command_shows_every_option(command: str, tmp_path: Path) -> None:
    printed = bnsharp(command, "--show-config", folder=tmp_path).stdout
    for one in options_of_command(command).values():
        assert f"\n{one.field.flag} = " in printed or f"\n# {one.field.flag} is not set" in printed


def test_the_nearest_file_of_the_repository_counts(tmp_path: Path) -> None:
    here = tmp_path / "top/middle/here"
    here.mkdir(parents=True)
    configure(tmp_path, "[check]\nseed = 1\n")
    assert shown("check", folder=here)["seed"] == (0, "default")  # no repository: nothing above is read
    (tmp_path / "top/.git").mkdir()
    assert shown("check", folder=here)["seed"] == (0, "default")  # and nothing above a repository
    configure(tmp_path / "top", "[tool.bnsharp.check]\nseed = 2\n", "pyproject.toml")
    assert shown("check", folder=here)["seed"] == (2, "../../pyproject.toml")
    configure(tmp_path / "top", "[check]\nseed = 3\n")
    assert shown("check", folder=here)["seed"] == (3, "../../bnsharp.toml")
    configure(tmp_path / "top/middle", "[tool.other]\nbnsharp = 1\n", "pyproject.toml")
    assert shown("check", folder=here)["seed"] == (3, "../../bnsharp.toml")
    configure(here, "not = toml = at = all", "pyproject.toml")
    assert shown("check", folder=here)["seed"] == (3, "../../bnsharp.toml")
    configure(here, "")
    assert shown("check", folder=here)["seed"] == (0, "default")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    lines = ('data = "folder:images"', 'arch = "mine.py:net"', 'output = "a.json"', 'data-root = "/data"')
    configure(tmp_path / "ci", "[check]\n" + "\n".join(lines))
    options = shown("check", "--config", "ci/bnsharp.toml", folder=tmp_path)
    found = {name: value for name, (value, origin) in options.items() if origin == "ci/bnsharp.toml"}
    assert found == {"data": "folder:ci/images", "arch": "ci/mine.py:net", "output": "ci/a.json", "data-root": "/data"}
    (tmp_path / "mine.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    torch.save(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).state_dict(), tmp_path / "net.pt")
    configure(tmp_path, '[inspect]\narch = "mine.py:net"\n')
    (tmp_path / "below").mkdir()
    bnsharp("inspect", "../net.pt", "--config", "../bnsharp.toml", folder=tmp_path / "below")


UNUSABLE = {
    "[chek]": "chek: expected a table for a command, found 'chek'",
    "samples = 3": "samples: expected a table for a command",
    "check = 3": "check: expected a table, found a number",
    "[check]\nfail_on = 3": "check.fail_on: expected an option of check, found 'fail_on'",
    "[check]\nconfig = 'a.toml'": "check.config: expected an option of check",
    "[measure]\nnothing = 3": "measure.nothing: expected an option of measure",  # of another command
    "[check]\nmax-seconds = '3'": "check.max-seconds: expected a positive number, found a str",
    "[check]\nmax-seconds = nan": "check.max-seconds: expected a positive number, found nan",
    "[check]\nmax-seconds = [3]": "check.max-seconds: expected a positive number, found a list",
    "[check]\nmin = {accuracy = 'high'}": "check.min: expected a number, or a share such as 40%, found 'high'",
    "[check]\nbatch-size = true": "check.batch-size: expected a whole number, found a bool",
    "[check]\nbatch-size = 0": "check.batch-size: expected at least 1, found 0",
    "[check]\nbatch-size = {a = 1}": "check.batch-size: expected a whole number, found a dict",
    "[check]\nsamples = true": "check.samples: expected a positive number or all, found a boolean",
    "[check]\nsamples = 1979-05-27": "check.samples: expected a positive number or all, found a date or time",
    "[check]\nsamples = 2.5": "check.samples: expected a positive number or all, found '2.5'",
    "[check]\nquiet = 1": "check.quiet: expected true or false, found a number",
    "[check]\ndata-root = 1": "check.data-root: expected a path, found a number",
    "[check]\nmean = {r = 1}": "check.mean: expected a value, found a table",
    "[check]\nmean = []": "check.mean: expected something, found an empty array",
    "[check]\nsplit = 'validation'": "check.split: expected train or test, found 'validation'",
    "[check]\nmax = {flatness = 1}": "check.max: expected one of loss,",
    "[check]\nmax = {bn = [1]}": "check.max: expected values by the names of what is limited, found an array",
    "[check]\nmax = ['bn=1', 'bn=2']": "check.max: bn has two limits",
    "[check]\nsamples = ": "it is no TOML: ",
    "[check]\nseed = 1\nseed = 2": "it is no TOML: ",
    "check = " + "[" * 10_000: "it is no TOML: ",
    "a = " + "9" * 10_000: "it is no TOML: ",
    "\0": "it is no TOML: ",
    "# " + "." * 200 + "\n[check]\nseed = 'x'": "check.seed: expected a whole number, found a str",
    ".".join("a" * 200) + " = 1": "line 1 has more than 100 points",
    "# " + "x" * 2**19: "it has 524,290 bytes, at most 524,288 are a file of options",
}


@pytest.mark.parametrize("text", UNUSABLE, ids=[str(number) for number in range(len(UNUSABLE))])
def test_a_file_that_cannot_be_meant_is_exit_2_and_named(text: str, tmp_path: Path) -> None:
    configure(tmp_path, text)
    finished = bnsharp("check", SAMPLE, folder=tmp_path, expect=2)
    lines = [line for line in finished.stderr.splitlines() if "options from" not in line]
    assert lines[0].startswith(f"bnsharp: bnsharp.toml: {UNUSABLE[text]}")
    assert len(lines) == 2
    bnsharp("inspect", SAMPLE, "--no-config", "--quiet", folder=tmp_path)


def test_options_of_a_file_that_do_not_fit_the_command_line_name_the_file(tmp_path: Path) -> None:
    configure(tmp_path, "[check]\nmax = {delta-lp = 1}\n")
    finished = bnsharp("check", SAMPLE, "--power", "inf", folder=tmp_path, expect=2)
    assert "--power" in finished.stderr  # blames what was typed
    configure(tmp_path, "[train]\nresume = true\noverwrite = true\n")
    finished = bnsharp("train", "--output", "a.pt", "--config", "bnsharp.toml", folder=tmp_path, expect=2)
    assert "bnsharp.toml: train.overwrite loses the run that --resume goes on with." in finished.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("samples = 9", "unknown"),
        ("[chek]", "check"),
        ("[check]\nmax-second = 1", "max-seconds"),
        ("[check]\nSEED=1", "seed"),
    ],
)
def test_the_nearest_name_is_offered(text: str, says: str, tmp_path: Path) -> None:
    configure(tmp_path, text)
    printed = bnsharp("check", SAMPLE, folder=tmp_path, expect=2).stderr
    assert f"Did you mean {says}?" in printed or (says == "unknown" and "Known are audit, " in printed)


def test_a_named_file_must_be_there_and_have_options(tmp_path: Path) -> None:
    missing = one_error(bnsharp("check", SAMPLE, "--config", "no.toml", folder=tmp_path, expect=2))
    assert missing == "bnsharp: no.toml: it cannot be read: No such file or directory."
    configure(tmp_path, "[tool.ruff]\n", "pyproject.toml")
    without = one_error(bnsharp("check", SAMPLE, "--config", "pyproject.toml", folder=tmp_path, expect=2))
    assert without == "bnsharp: pyproject.toml: it has no table [tool.bnsharp]."
    configure(tmp_path, "[tool]\nbnsharp = 3\n", "pyproject.toml")
    assert "expected a table tool.bnsharp, found a number" in one_error(
        bnsharp("check", SAMPLE, folder=tmp_path, expect=2)
    )
    both = ("--config", "pyproject.toml", "--no-config")
    assert "leaves unread" in one_error(bnsharp("check", SAMPLE, *both, folder=tmp_path, expect=2))
    (tmp_path / "pyproject.toml").unlink()
    os.mkfifo(tmp_path / "bnsharp.toml")
    assert "not a regular file" in one_error(bnsharp("check", SAMPLE, folder=tmp_path, expect=2))


def test_a_checkpoint_is_needed_unless_options_are_shown(tmp_path: Path) -> None:
    assert "--samples" not in bnsharp("check", "--show-config", folder=tmp_path).stderr
    assert "Missing argument" in bnsharp("check", folder=tmp_path, expect=2).stderr
    configure(tmp_path, "[check]\nsamples = 0\n")
    assert "check.samples: expected a positive number or all" in one_error(
        bnsharp("check", "--show-config", folder=tmp_path, expect=2)
    )


def test_the_file_of_the_page_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/cli.md").read_text(), re.DOTALL)
    configure(tmp_path, text)
    options = shown("check", folder=tmp_path)
    assert options["max"] == ({"loss": 0.1, "bn": 4.5, "noise": 2}, "bnsharp.toml")
    assert shown("measure", folder=tmp_path)["delta"] == ([1e-3, 1e-2], "bnsharp.toml")
