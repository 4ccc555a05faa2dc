"""What an error says of arguments, files and values, and what never gets into its sentences."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from bnsharp_cli.cli.results import fail
from bnsharp_cli.cli.spelling import for_the_command
from bnsharp_cli.errors import BnsharpError, CheckpointRefusedError, SharedError, UsageError, named, shown, spelt
from bnsharp_cli.measurement.surface.processes import _fields

HOSTILE = "a\nb\x1b[31m\u202e\u2028\ue000\ue001\x9b\udcff"
ESCAPED = r"a\nb\x1b[31m\u202e\u2028\ue000\ue001\x9b\udcff"


def test_a_value_is_shown_with_escapes() -> None:
    assert shown(HOSTILE) == ESCAPED
    assert shown(Path("net.pt")) == "net.pt"
    assert shown("θ über 数 1e-3") == "θ über 数 1e-3"


@pytest.mark.parametrize(
    ("sentence", "printed"),
    [
        (f"Lower {named('batch_size')}{HOSTILE}.", f"Lower --batch-size{ESCAPED}."),
        ("\ue000not a name\ue001", r"\ue000not a name\ue001"),
        ("\ue000\x1b[31m\ue001", r"\ue000\x1b[31m\ue001"),
        ("\ue0001st\ue001", r"\ue0001st\ue001"),
        (f"\ue000{named('delta')}\ue001", r"\ue000--delta\ue001"),
    ],
)
def test_a_sentence_has_arguments_and_otherwise_what_can_be_printed(sentence: str, printed: str) -> None:
    assert for_the_command(sentence) == printed
    for error in (UsageError(sentence, "Mend it."), UsageError("No.", sentence)):
        assert str(error).isprintable()
        assert for_the_command(f"{error.marked_reason} {error.marked_remedy}").count(printed) == 1


def test_what_was_found_passes_for_no_argument() -> None:
    marked = named("delta")
    for found in (marked, Path(marked)):
        error = UsageError.of("arch", "a name", found, "Name one.")
        assert r"\ue000delta\ue001" in for_the_command(error.marked_reason)
        assert error.found == found


def test_the_file_stands_in_front_for_python_and_apart_for_who_prints_it() -> None:
    error = CheckpointRefusedError(f"it is empty, see {named('key')}.", "Copy it again.", path=Path(f"x{HOSTILE}"))
    assert error.reason == f"x{ESCAPED}: it is empty, see key."
    assert str(error) == f"{error.reason} Copy it again."
    assert spelt(error.marked_reason) == "it is empty, see key."


@pytest.mark.parametrize(
    ("checkpoint", "path", "line"),
    [
        (None, None, "bnsharp: is empty."),
        (None, "net.pt", "bnsharp: net.pt: is empty."),
        ("net.pt", None, "bnsharp: net.pt: is empty."),
        ("net.pt", "net.pt", "bnsharp: net.pt: is empty."),
        ("folder", "folder/net.pt", "bnsharp: folder: folder/net.pt: is empty."),
        ("a\nb", "a\nb", r"bnsharp: a\nb: is empty."),
    ],
)
def test_the_command_names_a_file_once(
    checkpoint: str | None, path: str | None, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = CheckpointRefusedError("is empty.", "Copy it again.", path=None if path is None else Path(path))
    fail(error, None if checkpoint is None else Path(checkpoint))
    assert capsys.readouterr().err == f"{line}\n         Copy it again.\n"


def test_the_fields_carry_over_to_another_error_and_to_another_process() -> None:
    error = CheckpointRefusedError("is empty.", "Copy.", argument="key", expected="bytes", found=0, path=Path("net.pt"))
    expected: dict[str, Any] = {"argument": "key", "expected": "bytes", "found": 0, "path": Path("net.pt")}
    assert error.fields == expected
    assert BnsharpError("other", "words", **error.fields).fields == expected
    told = SharedError(**pickle.loads(pickle.dumps(_fields(error))))
    assert told.fields == {**expected, "found": "0"}
    assert (str(told), told.exit_code) == (str(error), 3)
