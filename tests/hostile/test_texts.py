"""Hostile tokenizers and files of text beside a sound network: exit 3, one clear line, no code run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.executed import MARKER
from tests.hostile.harness import Harness
from tests.io.data.texts import sentences, tokenizer, write_lines, write_network

DATA, MEASURE = ("--data", "text:a.jsonl"), ("--measure", "loss", "--quiet")
MOST_MEMORY = 2**30
"""Bytes, those of the process that reads the tokenizer included."""


def tokenizer_with(**entries: Any) -> Callable[[Path], object]:
    made = {**json.loads(tokenizer().to_str()), **entries}
    return lambda folder: (folder / "net" / "tokenizer.json").write_text(json.dumps(made))


def settings(text: str) -> Callable[[Path], object]:
    """A ``tokenizer_config.json``, of which nothing is needed."""
    return lambda folder: (folder / "net" / "tokenizer_config.json").write_text(text)


def lines(*written: object) -> Callable[[Path], object]:
    return lambda folder: write_lines(folder / "a.jsonl", [*written])


def text(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "a.jsonl").write_bytes(content)


def instead(name: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    """Something else in the place of a file."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return spoil


def both(*spoils: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: [spoil(folder) for spoil in spoils]


def hollow(path: Path) -> None:
    """A file of 80 MiB that takes no room."""
    with path.open("wb") as stream:
        stream.truncate(80 * 2**20)


REPLACE = {"type": "Replace", "pattern": {"String": "t"}, "content": "t" * 10_000}
SLOW = {"type": "Split", "pattern": {"Regex": "([a-z ]+[a-z ]+)+!"}, "behavior": "Isolated", "invert": False}
CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a tokenizer that swells": (
        both(tokenizer_with(normalizer={"type": "Sequence", "normalizers": [REPLACE] * 4}), lines({"text": "t" * 60})),
        "it takes more time or memory",
    ),
    "a tokenizer that takes for ever": (tokenizer_with(pre_tokenizer=SLOW), "retry-limit-in-match over"),
    "a tokenizer that panics": (
        tokenizer_with(normalizer={"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAA="}),
        "index out of bounds",
    ),
    "a tokenizer of another network": (
        tokenizer_with(model={"type": "WordLevel", "unk_token": "a", "vocab": {"a": 900_000}}, added_tokens=[]),
        "makes token 900,000, the network has 19",
    ),
    "a tokenizer with a name on the terminal": (
        tokenizer_with(model={"type": "\x1b]0;evil\x07\u202e"}),
        "Cannot instantiate Tokenizer",
    ),
    "no tokenizer": (instead("net/tokenizer.json", lambda path: path.write_bytes(b"")), "tokenizer.json is empty"),
    "a large tokenizer": (instead("net/tokenizer.json", hollow), "tokenizer.json is larger than 64 MiB"),
    "a tokenizer elsewhere": (instead("net/tokenizer.json", lambda path: path.symlink_to("/etc/passwd")), "leads out"),
    "a pipe for a tokenizer": (instead("net/tokenizer.json", os.mkfifo), "is not a regular file"),
    "a large text": (instead("a.jsonl", hollow), "has 83,886,080 bytes, at most 16,777,216"),
    "a pipe for a text": (instead("a.jsonl", os.mkfifo), "a.jsonl cannot be read"),
    "a device for a text": (instead("a.jsonl", lambda path: path.symlink_to("/dev/zero")), "a.jsonl cannot be read"),
    "a deep line": (text(b'{"text": ' + b"[" * 500_000), "line 1 is no JSON"),
    "a line of numbers": (text(b'{"text": "a", "label": ' + b"9" * 100_000 + b"}"), "line 1 is no JSON"),
    "a name on the terminal": (lines({"\x1b[31m\n\u202e": 1}), "line 1 has no text among"),
    "half a character": (text(b'{"text": "\\ud83d"}'), "line 1 has a text with a character that is none"),
    "other bytes": (text(bytes(range(256))), "a.jsonl, line 1 is no JSON"),
}  # fmt: skip


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("sound") / "net")


@pytest.fixture
def folder(tmp_path: Path, network: Path) -> Path:
    """The network, whose weights are shared, and a sound file of text."""
    (tmp_path / "net").mkdir()
    for path in network.iterdir():
        (tmp_path / "net" / path.name).write_bytes(path.read_bytes())
    write_lines(tmp_path / "a.jsonl", [{"text": one} for one in sentences(9)])
    return tmp_path


@pytest.mark.parametrize("name", CASES)
def test_what_is_hostile_is_refused_in_one_line(command: Harness, folder: Path, name: str) -> None:
    spoil, says = CASES[name]
    spoil(folder)
    finished = command("measure", "net", *DATA, *MEASURE, folder=folder)
    assert (finished.code, finished.stdout) == (3, ""), finished
    reason, remedy = finished.stderr.splitlines()
    assert reason.startswith("bnsharp: ")
    assert remedy.startswith("         ")
    assert reason.isprintable()
    assert remedy.isprintable()
    assert says in reason, reason
    assert finished.memory < MOST_MEMORY
    assert not [*folder.rglob(MARKER)]


@pytest.mark.parametrize(
    "written",
    [
        "{",
        "[]",
        '{"auto_map": {"AutoTokenizer": ["evil.Evil", null]}, "tokenizer_class": "Evil"}',
        '{"pad_token": {"content": ["a"]}, "model_max_length": "all"}',
        '{"pad_token": "\\ud800", "model_max_length": -1}',
        '{"model_max_length": 1e300}',
    ],
)
def test_settings_of_a_tokenizer_are_data_or_nothing(command: Harness, folder: Path, written: str) -> None:
    marker = f"open({str(folder / MARKER)!r}, 'w')"
    (folder / "net" / "evil.py").write_text(f"{marker}\nclass Evil: pass")
    settings(written)(folder)
    finished = command("measure", "net", *DATA, *MEASURE, folder=folder)
    assert finished.code == 0, finished
    assert not [*folder.rglob(MARKER)]
