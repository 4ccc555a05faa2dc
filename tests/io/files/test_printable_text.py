"""No untrusted text acts on a terminal, and none passes for an option in the sentence of an error."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bnsharp_cli.errors import CheckpointRefusedError, spelt
from bnsharp_cli.io.checkpoints.sound_weights import verify_state_dict
from bnsharp_cli.io.containers.read_container import read_container
from bnsharp_cli.io.files.printable_text import escaped, kind_and_line, one_line, printable, shown_path
from tests.hostile.forge import MARKED, opcodes, pickled, saved, tensor, text, zipped

SHOWN: dict[str, Callable[[str], str]] = {
    "one_line": one_line,
    "kind_and_line": lambda text: kind_and_line(KeyError(text)),
    "escaped": escaped,
    "shown_path": lambda text: shown_path(Path(text)),
    "printable": lambda text: "".join(printable({text: [text]})) + printable(text),
}


def as_option(argument: str) -> str:
    return f"--{argument}"


def test_the_marks_are_rendered_where_they_are_meant() -> None:
    assert spelt(f"Lower {MARKED}.", as_option) == "Lower --delta."


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
def test_a_name_between_marks_is_no_option(show: Callable[[str], str]) -> None:
    shown = show(f"a {MARKED} b")
    assert "delta" in shown
    assert shown.isprintable()
    assert spelt(shown, as_option) == shown


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
def test_whatever_is_shown_is_printable(show: Callable[[str], str]) -> None:
    for first in range(0, 0x110000, 64):
        characters = "".join(map(chr, range(first, first + 64)))
        assert show(f"a{characters}b").isprintable()


def test_a_long_text_keeps_its_beginning_and_a_long_path_its_end() -> None:
    assert one_line("a" * 300 + "b", 20) == "a" * 19 + "…"
    assert escaped("b" + "a" * 300, 20) == "…" + "a" * 19
    assert shown_path("b" + "a" * 300) == "b" + "a" * 300


def test_no_more_of_a_text_is_looked_at_than_can_be_shown() -> None:
    class Watched(str):
        """A text that tells how much of it was asked for."""

        asked = 0

        def __str__(self) -> str:
            return self

        def __getitem__(self, part: Any) -> str:
            Watched.asked = part.stop
            return str.__getitem__(self, part)

    text = Watched("ab\x85" * 100_000)
    assert one_line(text) == "ab"
    assert 0 < Watched.asked < 10_000


def test_entries_are_bounded() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert printable(10**5000) == f"(a number of {(10**5000).bit_length()} bits)"
    assert str(printable(endless)).count("[") == 8
    assert len(printable([0] * 10_000)) == 1000
    shared = [[[0] * 100] * 100] * 100
    for entry in (shared, {"a": shared, "b": shared}):
        assert len(str(printable(entry))) < 50_000


REFUSED = {
    "missing": None,
    "empty": b"",
    "of no format": b"junk",
    "of another format": b"GGUF",
    "no whole zip file": b"PK\x03\x04",
    "no whole safetensors file": struct.pack("<Q", 4) + b"{!!}",
    "names a global": zipped(opcodes(text("os"), text(MARKED), b"\x93")),
    "holds no dict": saved([1]),
    "no text": b"\x80\x02" + text(MARKED)[:-1] + b"\xff.",
    "a safetensors entry": struct.pack("<Q", len(f'{{"{MARKED}": 1}}'.encode())) + f'{{"{MARKED}": 1}}'.encode(),
    "a member": zipped(pickled({"w": tensor()}), others={f"net/{MARKED}": b"\0" * 2**21}),
    "a folder in a zip file": zipped(pickled({"w": tensor()}), others={f"{MARKED}/x": b""}),
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
def test_neither_a_files_name_nor_its_content_is_rendered_as_an_option(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / f"{MARKED}.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointRefusedError) as refused:
        read_container(path)
    require_no_option(refused.value)
    assert r"\ue000delta\ue001.pt" in refused.value.reason


def test_a_folders_name_is_not_rendered_as_an_option(tmp_path: Path) -> None:
    folder = tmp_path / MARKED
    folder.mkdir()
    for table in (None, zipped(b""), b"\x80\x02" + text(MARKED) + text(MARKED) + b"\x93."):
        if table is not None:
            (folder / ".metadata").write_bytes(table)
        with pytest.raises(CheckpointRefusedError) as refused:
            read_container(folder)
        require_no_option(refused.value)


def test_a_key_of_a_pickle_is_not_rendered_as_an_option(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({MARKED: torch.tensor([torch.nan])}, path)
    with pytest.raises(CheckpointRefusedError, match="NaN") as refused:
        verify_state_dict(path, read_container(path).content)
    require_no_option(refused.value)


def require_no_option(error: CheckpointRefusedError) -> None:
    for sentence in (error.marked_reason, error.marked_remedy):
        assert spelt(sentence, as_option) == sentence
        assert sentence.isprintable()
    assert str(error.found).isprintable()
