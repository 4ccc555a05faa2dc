"""The README cannot drift: every command's help stands in it, word for word, and its two commands are real.

``python -m tests.test_docs`` writes the help of today into the README.
"""

from __future__ import annotations

import re
import tempfile
import tomllib
from pathlib import Path

import pytest

import bnsharp_cli
from tests.cli.helpers import bnsharp

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
COMMANDS = ("measure", "rescale-test", "check", "inspect", "bound", "train", "reproduce")
SECTION = re.compile(r"(<!-- help: ([\w-]+) -->\n```text\n)(.*?)(```\n)", re.DOTALL)


def help_of(command: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        printed = bnsharp(command, "--help", folder=Path(folder)).stdout
    return "\n".join(line.rstrip() for line in printed.splitlines()) + "\n"


def test_every_command_has_a_section_and_the_reverse() -> None:
    with tempfile.TemporaryDirectory() as folder:
        listed = bnsharp("--help", folder=Path(folder)).stdout.partition("Commands:")[2]
    names = {line.split()[0] for line in listed.splitlines() if re.match(r"  [a-z]", line)}
    assert names == set(COMMANDS)
    assert [name for _, name, _, _ in SECTION.findall(README.read_text())] == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_in_the_readme_is_the_commands_own(command: str) -> None:
    written = {name: text for _, name, text, _ in SECTION.findall(README.read_text())}
    assert written[command] == help_of(command)
    assert all(len(line) <= 80 for line in written[command].splitlines())


def test_every_option_in_the_readme_exists() -> None:
    known = set(re.findall(r"--[a-z][\w-]*", "".join(help_of(command) for command in COMMANDS)))
    with tempfile.TemporaryDirectory() as folder:
        known |= set(re.findall(r"--[a-z][\w-]*", bnsharp("--help", folder=Path(folder)).stdout))
    known |= {"--nproc-per-node"}  # torchrun's
    prose = SECTION.sub("", README.read_text())
    assert set(re.findall(r"--[a-z][\w-]*", prose)) <= known


def test_the_two_commands_stand_in_the_readme() -> None:
    text = README.read_text()
    assert "pip install . && bnsharp rescale-test\n" in text
    assert "pip install '.[test]' && pytest\n" in text


def test_the_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == bnsharp_cli.__version__
    assert f"## {bnsharp_cli.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_constraints_pin_every_dependency_and_no_location() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    pinned = set(re.findall(r"^([\w.-]+)==", text, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    assert {re.match(r"[\w-]+", name)[0] for name in names} <= pinned


def rewrite() -> None:
    """Write the help of today into the README."""
    text = SECTION.sub(lambda match: match[1] + help_of(match[2]) + match[4], README.read_text())
    README.write_text(text)


if __name__ == "__main__":
    rewrite()
