"""The manual page is one that man reads, with every command and every option, and the wheel puts it where man looks."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib

import pytest

from tests.documents import COMMANDS, ROOT, help_of, options_of
from tests.manual import MANUAL, written

MACROS = {".TH", ".SH", ".SS", ".PP", ".TP", ".B"}


def sections() -> dict[str, str]:
    """The text below each heading, without what troff needs."""
    plain = MANUAL.read_text().replace("\\-", "-").replace("\\(aq", "'").replace("\\&", "")
    parts = re.split(r"^\.S[HS] (.*)$", plain, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_only_macros_that_man_has() -> None:
    begun = {line.split()[0] for line in MANUAL.read_text().splitlines() if line.startswith(".")}
    assert begun - {'.\\"'} == MACROS


def test_troff_takes_nothing_of_a_text_for_a_command() -> None:
    assert written(r".SH \fB") == r"\&.SH \efB"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_all_its_options_with_their_meaning(command: str) -> None:
    text = sections()[f"bnsharp {command}"]
    named = {word.strip(",") for line in re.findall(r"^\.B (.*)$", text, re.MULTILINE) for word in line.split()}
    assert options_of(command) - named <= {"--help"} | {word for word in options_of(command) if word in text}
    first = next(line.strip() for line in help_of(command).splitlines()[1:] if line.strip())
    assert " ".join(first.split()[:6]) in text


def test_the_exit_status_is_that_of_the_documents() -> None:
    assert re.findall(r"^\.B (\d+)$", sections()["EXIT STATUS"], re.MULTILINE) == ["0", "1", "2", "3", "4", "130"]
    assert "BNSHARP_TIME_LIMIT" in sections()["ENVIRONMENT"]


def test_the_wheel_installs_it() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["shared-data"] == {"man/bnsharp.1": "share/man/man1/bnsharp.1"}


@pytest.mark.skipif(not shutil.which("mandoc"), reason="mandoc is not installed")
def test_mandoc_finds_nothing_to_complain_of() -> None:
    finished = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", str(MANUAL)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in finished.stdout.splitlines() if "missing date" not in line]
    assert complaints == []
