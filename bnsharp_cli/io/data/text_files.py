"""Files of text: one text as a whole (.txt), or one JSON object a line (.jsonl), with or without labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import shown
from bnsharp_cli.io.containers.bounded_json import bounded_json
from bnsharp_cli.io.data.naming import NamedDataError
from bnsharp_cli.io.data.tokenizing import Text
from bnsharp_cli.io.files.printable_text import one_line, shown_path
from bnsharp_cli.io.files.regular_files import read_whole

LARGEST = 16 * 2**20
"""Bytes of a file, which its tokenizer turns into hundreds of times as many for a while."""

_PLAIN, _LINES = ".txt", ".jsonl"
_A_LINE = 'Write one object a line, such as {"text": "a sentence", "label": 1}; "text_pair" and "label" may be missing.'
_SHOWN = 40


@dataclass(frozen=True)
class LabelledText:
    """One text of a file.

    Attributes:
        text: itself, and what it is paired with.
        label: the number or the name of its class; None where there is none.
        name: of the text, for messages.
    """

    text: Text
    label: int | str | None
    name: str


def read_texts(path: Path) -> list[LabelledText]:
    """The texts of a file, at least one.

    Args:
        path: a file ``.txt``, which is one text, or ``.jsonl``.

    Raises:
        NamedDataError: another kind of file, too large, not UTF-8, without text, or with a line that is no such object.
    """
    kind = path.suffix.casefold()
    if kind not in {_PLAIN, _LINES}:
        raise NamedDataError(
            f"{shown_path(path)} is no file of text: expected a name that ends in {_PLAIN} or {_LINES}.",
            f"Rename it: {_PLAIN} for one text, {_LINES} for one JSON object a line.",
            expected=f"{_PLAIN} or {_LINES}",
            found=kind,
        )
    raw = read_whole(path, LARGEST, "a file of text", lambda why: _refused(path, why))
    texts = [*_lines(path, raw)] if kind == _LINES else [_whole(path, raw)]
    if not any(one.text.first for one in texts):
        raise _refused(path, "has no text")
    return texts


def _whole(path: Path, raw: bytes) -> LabelledText:
    return LabelledText(Text(_decoded(path, raw, "")), None, shown_path(path))


def _lines(path: Path, raw: bytes) -> Iterator[LabelledText]:
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        if line.strip():
            yield _of_line(path, line, number)


def _of_line(path: Path, line: bytes, number: int) -> LabelledText:
    where = f", line {number}"
    _decoded(path, line, where)
    try:
        entries = bounded_json(line)
    except (ValueError, RecursionError) as error:
        raise _refused(path, f"is no JSON: {one_line(error)}", where) from error
    if not isinstance(entries, dict):
        raise _refused(path, "is no object", where)
    first, second = _text(path, entries, "text", where), None
    if entries.get("text_pair") is not None:
        second = _text(path, entries, "text_pair", where)
    return LabelledText(Text(first, second), _label(path, entries, where), f"line {number} of {shown_path(path)}")


def _text(path: Path, entries: Mapping[str, Any], key: str, where: str) -> str:
    text = entries.get(key)
    if not isinstance(text, str):
        names = ", ".join(one_line(name, _SHOWN) for name in [*entries][:_SHOWN])
        found = f"no {key} among {names or 'nothing'}" if text is None else f"a {key} that is no text"
        raise _refused(path, f"has {found}", where)
    try:
        text.encode()
    except UnicodeEncodeError as error:  # half of a pair of surrogates, which JSON can spell
        raise _refused(path, f"has a {key} with a character that is none", where) from error
    return text


def _label(path: Path, entries: Mapping[str, Any], where: str) -> int | str | None:
    label = entries.get("label")
    if label is None or type(label) in {int, str}:
        return label
    raise _refused(path, f"has the label {shown(label)[:_SHOWN]}, expected the number or the name of a class", where)


def _decoded(path: Path, raw: bytes, where: str) -> str:
    try:
        return raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refused(path, f"is no UTF-8 at byte {error.start + 1}", where, "Convert it to UTF-8.") from error


def _refused(path: Path, why: str, where: str = "", remedy: str = _A_LINE) -> NamedDataError:
    remedy = remedy if where or remedy is not _A_LINE else f"Use a file of text of at most {LARGEST // 2**20} MiB."
    return NamedDataError(f"{shown_path(path)}{where} {why}.", remedy, expected="text", found=why)
