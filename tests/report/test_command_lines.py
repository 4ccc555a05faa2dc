"""The command that a page prints gives the numbers of the page again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnsharp_cli.report.pages.command_lines import command_line, lines_of
from tests.cli.helpers import bnsharp
from tests.report.reported import Document, checked, compared, measured, printed, rescaled, with_name

COMMANDS: dict[str, Callable[[], Document]] = {
    "measure": lambda: printed("measure", "sample:digits-small-batch", "--delta", "1e-3,1e-2", "--measure", "noise"),
    "options": lambda: printed(
        *("measure", "sample:digits-small-batch", "--sigma", "0.1,0.3", "--measure", "noise", "--measure", "bn"),
        *("--restarts", "1", "-p", "inf", "--partition", "filter", "--parameters", "conv*", "--seed", "3"),
        *("--bn", "running", "--split", "test", "--by", "layer", "--iterations", "3"),
    ),
    "compare": compared,
    "check": checked,
    "rescale-test": rescaled,
    "bound": lambda: printed("bound", "sample:digits-small-batch", "--kl", "50", "--confidence", "0.9"),
}
"""Documents of each command, whose own command line is read off the document and run again."""


@pytest.mark.parametrize("case", COMMANDS)
def test_the_printed_command_gives_the_same_document(case: str, tmp_path: Path) -> None:
    document = COMMANDS[case]()
    words = shlex.split(" ".join(line.removesuffix("\\") for line in lines_of(command_line(document))))
    assert words[0] == "bnsharp"
    again = json.loads(bnsharp(*words[1:], "--json", "--quiet", folder=tmp_path, expect=(0, 1)).stdout)
    assert without_time(again) == without_time(document)


def without_time(document: Any) -> Any:
    """A document without what belongs to the single run."""
    if isinstance(document, dict):
        return {key: without_time(value) for key, value in document.items() if key not in {"seconds", "key"}}
    return [without_time(one) for one in document] if isinstance(document, list) else document


def test_a_name_cannot_leave_its_word_of_the_command() -> None:
    words = command_line(with_name(measured(), "a'; rm -rf ~ #$(id)"))
    assert shlex.split(" ".join(words))[2] == "folder/a'; rm -rf ~ #$(id)"
