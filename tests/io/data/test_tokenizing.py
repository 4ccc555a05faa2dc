"""Texts in tokens: the library's own, from a process that may do nothing else, and no word of which is believed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnsharp_cli.errors import CheckpointRefusedError, UsageError
from bnsharp_cli.io.data import tokenizing
from bnsharp_cli.io.data.tokenizing import Text, Tokens, tokenized
from tests.io.data.texts import sentences, tokenizer, tokenizers
from tests.io.loaded_modules import loaded_modules

PATH = Path("tokenizer.json")
LONG = Text("a" * 60 + "!")


def tokens_of(made: Any, texts: list[Text], **how: Any) -> Tokens:
    return tokenized(PATH, made.to_str().encode(), texts, **how)


def split(found: Tokens) -> list[list[int]]:
    return [part.tolist() for part in found.numbers.split(list(found.counts))]


def refusal(content: bytes, texts: list[Text] | None = None) -> str:
    with pytest.raises(CheckpointRefusedError) as refused:
        tokenized(PATH, content, texts or [LONG])
    assert refused.value.reason.isprintable()
    return refused.value.reason


@pytest.mark.parametrize("special", [False, True])
def test_the_numbers_are_those_of_the_library(special: bool) -> None:
    made, texts = tokenizer(special=special), sentences(100)
    found = tokens_of(made, [Text(text) for text in texts])
    assert split(found) == [made.encode(text).ids for text in texts]
    assert found.cut == 0
    assert not found.kinds.any()


def test_pairs_have_kinds_and_long_texts_are_cut_as_the_library_cuts_them() -> None:
    made, texts = tokenizer(special=True), [*zip(sentences(40), sentences(40, 1), strict=True)]
    found = tokens_of(made, [Text(*pair) for pair in texts], longest=10)
    whole = [made.encode(*pair).ids for pair in texts]
    made.enable_truncation(10)
    encoded = [made.encode(*pair) for pair in texts]
    assert split(found) == [one.ids for one in encoded]
    assert found.kinds.tolist() == [kind for one in encoded for kind in one.type_ids]
    assert found.cut == sum(len(ids) > 10 for ids in whole) > 0


def test_padding_and_truncation_of_the_file_do_not_count() -> None:
    made, (text,) = tokenizer(), sentences(1, longest=12)
    plain = made.encode(text).ids
    made.enable_truncation(2)
    made.enable_padding(length=40)
    assert split(tokens_of(made, [Text(text)])) == [plain]


def test_a_tokenizer_that_drops_merges_at_random_drops_none() -> None:
    made = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "aa": 1}, [("a", "a")], dropout=0.5))
    assert split(tokens_of(made, [Text("a" * 50)])) == [[1] * 25]


def changed(**entries: Any) -> bytes:
    return json.dumps({**json.loads(tokenizer().to_str()), **entries}).encode()


def swelling(factor: int, times: int) -> bytes:
    replace = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * factor}
    return changed(normalizer={"type": "Sequence", "normalizers": [replace] * times})


def parted(pattern: str) -> bytes:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return changed(pre_tokenizer=split)


def words(vocabulary: dict[str, int], unknown: str = "a") -> bytes:
    return changed(model={"type": "WordLevel", "unk_token": unknown, "vocab": vocabulary}, added_tokens=[])


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "Expecting value"),
    "no JSON": (lambda: b"{", "Expecting property name"),
    "bytes": (lambda: bytes(range(256)), "codec can't decode"),
    "a list": (lambda: b"[]", "no table with a model"),
    "no model": (lambda: b"{}", "no table with a model"),
    "an unknown model": (lambda: changed(model={"type": "Evil\x1b[31m\u202e"}), "Cannot instantiate Tokenizer"),
    "names twice": (lambda: b'{"model": {}, "model": {}}', "names something twice"),
    "deep": (lambda: b'{"model": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}", "recursion"),
    "too many entries": (lambda: b'{"model": [' + b"1," * (2**22 + 1) + b"1]}", "more entries than any network"),
    "numbers below zero": (lambda: words({"a": -5}), "expected u32"),
    "numbers beyond all": (lambda: words({"a": 2**32 - 1}), "greater than maximum"),
    "an unknown token": (lambda: words({"b": 0}, "\x1b[31mred\u202e"), "Missing [UNK] token"),
    "a pattern that takes for ever": (lambda: parted("(a+a+)+b"), "retry-limit-in-match"),
    "a pattern that is none": (lambda: parted("(("), "Cannot instantiate Tokenizer"),
    "a text that swells": (lambda: swelling(10_000, 4), "more time or memory"),
    "a text that swells again and again": (lambda: swelling(2, 1000), "more time or memory"),
    "a panic": (
        lambda: changed(normalizer={"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAA="}),
        "index out of bounds",
    ),
    "a template of many parts": (
        lambda: changed(
            post_processor={
                "type": "TemplateProcessing",
                "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 100_000,
                "pair": [],
                "special_tokens": {},
            }
        ),
        "more time or memory",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_tokenizer_is_refused_in_one_line(name: str) -> None:
    make, says = HOSTILE[name]
    reason = refusal(make())
    assert reason.startswith("tokenizer.json is not read: ")
    assert says in reason, reason


def saying(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let the process run another program after it has limited itself."""
    begun = f"""
import sys; sys.path.append(sys.argv[1])
from bnsharp_cli.io.data import tokenizer_child
def cut(tokenizer, request): {program}
tokenizer_child._cut = cut
tokenizer_child.main()
"""
    monkeypatch.setattr(tokenizing, "_PROGRAM", begun)


@pytest.mark.parametrize(
    "attempt",
    ["open('/etc/hostname')", "__import__('socket').socket()", "open('/tmp/x', 'w')", "__import__('os').pipe()"],
)
def test_the_process_opens_nothing(monkeypatch: pytest.MonkeyPatch, attempt: str) -> None:
    saying(monkeypatch, attempt)
    assert "Too many open files" in refusal(tokenizer().to_str().encode())


def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizing, "_SECONDS", 1)
    saying(monkeypatch, "\n while True: pass")
    assert "more time or memory" in refusal(tokenizer().to_str().encode())


HEAD = "__import__('array').array('q', [1, 0]).tobytes()"


@pytest.mark.parametrize(
    "said",
    [
        "b''",
        "b'1234'",
        HEAD,
        f"{HEAD} + b'1234'",
        f"{HEAD} + (3).to_bytes(4, 'little') + bytes(14)",
        f"{HEAD} + (3).to_bytes(4, 'little') + bytes(16)",
        f"{HEAD} + b'\\xff' * 4",
        f"{HEAD} + (1).to_bytes(4, 'little') + b'\\xff' * 4 + bytes(1)",
        f"{HEAD.replace('[1,', '[2,')} + bytes(4)",
    ],
)
def test_what_the_process_says_is_not_believed(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    saying(monkeypatch, f"return [b'T', {said}]")
    assert "contradicts itself" in refusal(tokenizer().to_str().encode())


def test_more_tokens_than_a_text_can_have_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, "return [b'T', bytes(10_000_000)]")
    assert "more time or memory" in refusal(tokenizer().to_str().encode())


def test_a_reason_cannot_forge_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, r"raise ValueError('bad\nbnsharp: \x1b[31mall is well \ue000delta\ue001')")
    assert refusal(tokenizer().to_str().encode()) == "tokenizer.json is not read: bad."


@pytest.mark.parametrize("said", ["1", '["a"]', "no JSON", '"\\u001b[31m\\n\\ue000"'])
def test_a_refusal_that_the_process_makes_up_is_shown_fit_to_print(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    saying(monkeypatch, f"return [b'R', {said!r}.encode()]")
    assert "\x1b" not in refusal(tokenizer().to_str().encode())


def test_the_process_loads_nothing_of_torch() -> None:
    loaded = loaded_modules("bnsharp_cli.io.data.tokenizer_child")
    assert {"torch", "numpy", "tokenizers", "typer", "rich"}.isdisjoint(loaded)


def test_without_a_limited_process_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    content = tokenizer().to_str().encode()
    monkeypatch.setattr(sys, "executable", "")
    assert "starts no process with limits" in refusal(content)


def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizing, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"tokenizers is not installed.*pip install 'bnsharp\[huggingface\]'"):
        tokenized(PATH, b"{}", [LONG])
