"""What ``bnsharp check`` prints and writes for other programs."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from junitparser import Error, Failure, JUnitXml

from bnsharp_cli.report.check_formats import FORMATS_OF_CHECKS
from tests.cli.helpers import bnsharp
from tests.report.test_check_formats import runner_reads

SAMPLE = "sample:digits-small-batch"
FAST = ("--samples", 64, "--batch-size", 32, "--quiet")
FAILING = (*FAST, "--max", "loss=1e-9")


def test_the_format_json_is_that_of_the_flag(tmp_path: Path) -> None:
    first, second = (
        json.loads(bnsharp("check", SAMPLE, *FAST, *words, folder=tmp_path).stdout)
        for words in (("--json",), ("--format", "json"))
    )
    assert {**first, "cost": 0} == {**second, "cost": 0}
    for words in (("--format", "json"), ("--format=json",), ("--json",)):
        document = json.loads(bnsharp("check", "no.pt", *words, folder=tmp_path, expect=3).stdout)
        assert document["error"]["exit_code"] == 3
        document = json.loads(bnsharp("check", SAMPLE, "--delta", "x", *words, folder=tmp_path, expect=2).stdout)
        assert document["error"]["argument"] == "delta"
    finished = bnsharp("check", SAMPLE, "--json", "--format", "junit", folder=tmp_path, expect=2)
    assert finished.stderr.startswith("bnsharp: --json and --format junit ask for two formats.\n")


@pytest.mark.parametrize(("form", "ending"), [("junit", ".XML"), ("markdown", ".md"), ("json", "")])
def test_a_file_gets_the_format_of_its_ending(form: str, ending: str, tmp_path: Path) -> None:
    name = f"found{ending}"
    text = bnsharp("check", SAMPLE, *FAILING, "--output", name, folder=tmp_path, expect=1).stdout
    assert text.splitlines()[0].startswith("PASS  load")
    written = (tmp_path / name).read_text()
    printed = bnsharp("check", SAMPLE, *FAILING, "--format", form, folder=tmp_path, expect=1).stdout
    without_times = (re.sub(r'time="[^"]*"|"seconds": [\d.]*', "", one) for one in (written, printed))
    assert next(without_times) == next(without_times)


def test_the_words_are_the_same_in_every_format(tmp_path: Path) -> None:
    document = json.loads(bnsharp("check", SAMPLE, *FAILING, "--json", folder=tmp_path, expect=1).stdout)
    sentences = [check["sentence"] for check in document["checks"]]
    (suite,) = JUnitXml.fromstring(
        bnsharp("check", SAMPLE, *FAILING, "--format", "junit", folder=tmp_path, expect=1).stdout.encode()
    )
    assert [case.name for case in suite] == [check["name"] for check in document["checks"]]
    said = [case.result[0].message if case.result else case.system_out for case in suite]
    assert said == sentences
    markdown = bnsharp("check", SAMPLE, *FAILING, "--format", "markdown", folder=tmp_path, expect=1).stdout
    assert re.findall(r"\*\*fail\*\* \| (\S+) \|", markdown) == ["loss"]


def test_a_checkpoint_that_cannot_be_checked_is_an_error_in_every_format(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"no weights")
    for form in FORMATS_OF_CHECKS:
        printed = bnsharp("check", "net.pt", *FAST, "--format", form, folder=tmp_path, expect=3).stdout
        assert "net.pt" in printed
        assert "exit code 3" in printed or form == "junit"
    bnsharp("check", "net.pt", *FAST, "--output", "found.xml", folder=tmp_path, expect=3)
    ((case,),) = JUnitXml.fromfile(str(tmp_path / "found.xml"))
    assert [type(one) for one in case.result] == [Error]
    lines = bnsharp("check", "net.pt", *FAST, "--format", "github", folder=tmp_path, expect=3).stdout.splitlines()
    kind, properties, message = runner_reads(lines[0])
    assert (kind, properties["file"]) == ("error", "net.pt")
    assert message == case.result[0].message


def test_several_checkpoints_are_in_one_file(tmp_path: Path) -> None:
    names = (SAMPLE, "no.pt", "sample:digits-large-batch")
    finished = bnsharp("check", *names, *FAILING, "--output", "found.xml", folder=tmp_path, expect=3)
    assert "no.pt" in finished.stderr
    suites = [*JUnitXml.fromfile(str(tmp_path / "found.xml"))]
    assert [suite.name for suite in suites] == [*names]
    kinds = [{type(one) for case in suite for one in case.result} & {Error, Failure} for suite in suites]
    assert kinds == [{Failure}, {Error}, {Failure}]
    printed = bnsharp("check", *names, *FAILING, "--format", "markdown", folder=tmp_path, expect=3).stdout
    assert printed.count("### bnsharp check: ") == 3


def test_github_gets_annotations_and_the_summary_of_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "summary.md").write_text("earlier\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    printed = bnsharp("check", SAMPLE, *FAILING, "--format", "github", folder=tmp_path, expect=1).stdout
    read = [command for line in printed.splitlines() if (command := runner_reads(line)) is not None]
    assert [command[0] for command in read] == ["stop-commands", read[0][2], "error", "notice"]
    assert len(read[0][2]) == 32
    markdown = bnsharp("check", SAMPLE, *FAILING, "--format", "markdown", folder=tmp_path, expect=1).stdout
    assert (tmp_path / "summary.md").read_text() == f"earlier\n{markdown}"
    again = bnsharp("check", SAMPLE, *FAILING, "--format", "github", folder=tmp_path, expect=1).stdout
    assert again.splitlines()[0] != printed.splitlines()[0]  # nobody can know the word


@pytest.mark.parametrize("form", ["text", "json", "markdown", "junit"])
def test_no_other_format_appends_a_summary(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    bnsharp("check", SAMPLE, *FAST, "--format", form, folder=tmp_path)
    assert not (tmp_path / "summary.md").exists()


@pytest.mark.parametrize("kind", ["link", "folder", "nowhere", "pipe"])
def test_a_summary_that_cannot_be_written_loses_no_verdict(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ("nowhere/summary.md" if kind == "nowhere" else "summary.md")
    if kind == "link":
        path.symlink_to("theirs")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    finished = bnsharp("check", SAMPLE, *FAST, "--format", "github", folder=tmp_path)
    assert f"bnsharp: no step summary, since {path} cannot be written to: " in finished.stderr
    assert not (tmp_path / "theirs").exists()


def test_no_line_of_a_log_begins_with_the_name_of_a_file(tmp_path: Path, sample_path: Path) -> None:
    """A log of GitHub's would take it for a command."""
    name = "::error::owned.pt"
    shutil.copy(sample_path, tmp_path / name)
    finished = bnsharp("check", name, name, *FAST, folder=tmp_path)
    assert name in finished.stdout
    assert not any(line.strip().startswith("::") for line in (finished.stdout + finished.stderr).splitlines())


@pytest.mark.parametrize("form", ["text", "markdown", "junit", "github"])
def test_a_hostile_file_name_gives_no_command_and_no_markup(form: str, tmp_path: Path) -> None:
    name = "::error::owned\n::warning::too <img src=x>|`\x1b[31m.pt"
    (tmp_path / name).write_bytes(b"no weights")
    finished = bnsharp(
        "check", f"./{name}", "sample:digits-small-batch", *FAST, "--format", form, folder=tmp_path, expect=3
    )
    assert "\x1b" not in finished.stdout + finished.stderr
    assert not any(line.startswith(("::error::owned", "::warning::too")) for line in finished.stdout.splitlines())
    if form == "junit":
        assert next(suite.name for suite in JUnitXml.fromstring(finished.stdout.encode())).startswith(
            "::error::owned\\n"
        )
    if form == "markdown":
        assert "<img" not in finished.stdout.replace("\\<img", "")
