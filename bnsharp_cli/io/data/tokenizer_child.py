"""What runs in the limited process that cuts texts into tokens: it limits itself, reads a tokenizer, and answers.

It is started by ``tokenizing.py`` as an interpreter of its own that loads nothing but this package, the standard
library and ``tokenizers``, whose Rust code reads what a stranger wrote. Whatever that does with time and memory, or by
a panic, ends here.
"""

from __future__ import annotations

import json
import os
import sys
from array import array
from collections.abc import Iterator, Mapping
from typing import Any

from bnsharp_cli.io.containers.bounded_json import bounded_json
from bnsharp_cli.io.containers.limited_child import limit_this_process
from bnsharp_cli.io.files.printable_text import one_line

READY, TOKENS, REFUSAL = b"!", b"T", b"R"
"""The first byte says that the limits hold; the second says what the rest of the answer is."""

_MOST_MARKS = {b"{": 2**20, b"[": 2**21, b",": 2**22}
"""Merges of a large vocabulary are pairs, and there are half a million of them."""

_AT_ONCE = 64
"""Texts that are cut together; of long ones, one takes most of the time anyway."""


def main() -> None:
    """Answer the one request on standard input: a line of JSON, then the tokenizer."""
    request = json.loads(sys.stdin.buffer.readline())
    text = sys.stdin.buffer.read()
    os.close(0)
    sys.path.append(request["packages"])
    import tokenizers

    limit_this_process(request["seconds"], request["memory"])
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    for part in _answer(tokenizers, request, text):
        sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()
    os._exit(0)


def _answer(tokenizers: Any, request: Mapping[str, Any], text: bytes) -> Iterator[bytes]:
    try:
        found = _cut(_opened(tokenizers, text, request["longest"]), request)
    except MemoryError:
        os._exit(1)
    except BaseException as error:  # a panic of Rust is no Exception; whatever it is, it is the tokenizer's fault
        yield REFUSAL + json.dumps(one_line(error) or type(error).__name__).encode()
        return
    yield from found


def _opened(tokenizers: Any, text: bytes, longest: int | None) -> Any:
    """The tokenizer, without what is random in it, and with no padding and no length but ``longest``."""
    entries = bounded_json(text, _MOST_MARKS)
    if not isinstance(entries, dict) or not isinstance(entries.get("model"), dict):
        raise ValueError("it is no table with a model")
    if entries["model"].get("dropout"):
        entries["model"]["dropout"] = None
        text = json.dumps(entries, ensure_ascii=False).encode()
    del entries
    tokenizer = tokenizers.Tokenizer.from_buffer(text)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if longest is not None:
        tokenizer.enable_truncation(longest)
    return tokenizer


def _cut(tokenizer: Any, request: Mapping[str, Any]) -> list[bytes]:
    """The answer: how many texts there are and were cut, their lengths, the numbers of tokens, their kinds."""
    numbers, kinds, counts, cut = array("i"), bytearray(), array("i"), 0
    texts = [tuple(one) if isinstance(one, list) else one for one in request["texts"]]
    for first in range(0, len(texts), _AT_ONCE):
        for encoding in tokenizer.encode_batch_fast(texts[first : first + _AT_ONCE]):
            numbers.extend(encoding.ids)
            kinds.extend(min(kind, 255) for kind in encoding.type_ids)
            counts.append(len(encoding.ids))
            cut += bool(encoding.overflowing)
    head = array("q", [len(counts), cut])
    return [TOKENS, head.tobytes(), counts.tobytes(), numbers.tobytes(), bytes(kinds)]
