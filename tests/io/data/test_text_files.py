"""Files of text: what is in them, and one clear line for what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnsharp_cli.errors import DataRefusedError
from bnsharp_cli.io.data import text_files
from bnsharp_cli.io.data.text_files import read_texts
from bnsharp_cli.io.data.tokenizing import Text


def test_a_plain_file_is_one_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfOne.\r\n\n Tw\xc3\xb6.\n")
    (found,) = read_texts(tmp_path / "a.txt")
    assert (found.text, found.label) == (Text("One.\r\n\n Twö.\n"), None)


def test_each_line_of_objects_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "A.JSONL").write_text(
        '{"text": "One."}\n\n{"text": "Two.", "label": 3, "idx": [1]}\n'
        '{"text": "", "text_pair": "a\u2028b", "label": "bad"}\n{"text": "x", "text_pair": null}\n'
    )
    found = read_texts(tmp_path / "A.JSONL")
    texts = [Text("One."), Text("Two."), Text("", "a\u2028b"), Text("x")]
    assert [(one.text, one.label) for one in found] == [*zip(texts, [None, 3, "bad", None], strict=True)]
    assert [one.name.split(" of ")[0] for one in found] == ["line 1", "line 3", "line 4", "line 5"]


LINES = {
    "no JSON": (b"{", "line 1 is no JSON: Expecting property name"),
    "a list": (b"[]", "line 1 is no object"),
    "no text": (b'{"text": "a"}\n{"a\x1b": 1}', "line 2"),
    "a number": (b'{"text": 5}', "line 1 has a text that is no text"),
    "half a character": (b'{"text": "\\ud800"}', "line 1 has a text with a character that is none"),
    "half a pair": (b'{"text": "a", "text_pair": 1}', "line 1 has a text_pair that is no text"),
    "a label of truth": (b'{"text": "a", "label": true}', "line 1 has the label True, expected"),
    "a label of fractions": (b'{"text": "a", "label": 0.5}', "line 1 has the label 0.5, expected"),
    "two texts": (b'{"text": "a", "text": "b"}', "line 1 is no JSON: it names something twice"),
    "not a number": (b'{"text": "a", "label": NaN}', "line 1 is no JSON: it holds NaN"),
    "deep": (b'{"text": ' + b"[" * 100_000, "line 1 is no JSON"),
    "other bytes": (b'{"text": "a"}\n{"text": "\xff"}', "line 2 is no UTF-8 at byte 11"),
    "nothing": (b"", "has no text"),
    "empty texts": (b'{"text": ""}', "has no text"),
    "line ends": (b"\n\n", "has no text"),
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_that_is_no_text_is_refused(tmp_path: Path, name: str) -> None:
    content, says = LINES[name]
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(DataRefusedError) as refused:
        read_texts(tmp_path / "a.jsonl")
    assert says in refused.value.reason
    assert refused.value.reason.isprintable()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"", "has no text"),
        ("a.txt", b"\xef\xbb\xbf", "has no text"),
        ("a.txt", b"ab\xff", "is no UTF-8 at byte 3"),
        ("a.md", b"a", "is no file of text: expected a name that ends in .txt or .jsonl"),
        ("a.json", b"{}", "is no file of text"),
        ("b.txt", None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataRefusedError, match=says):
        read_texts(tmp_path / name)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("wb") as stream:
        stream.truncate(text_files.LARGEST + 1)
    with pytest.raises(DataRefusedError, match="has 16,777,217 bytes, at most 16,777,216 are a file of text"):
        read_texts(tmp_path / "a.txt")


def test_a_device_and_a_folder_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to("/dev/zero")
    (tmp_path / "b.txt").mkdir()
    for name in ("a.txt", "b.txt"):
        with pytest.raises(DataRefusedError, match="cannot be read"):
            read_texts(tmp_path / name)
