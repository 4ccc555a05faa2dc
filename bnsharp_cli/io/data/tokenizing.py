"""Texts as numbers of tokens, by a ``tokenizer.json`` that may be a stranger's.

The library that reads it is not asked in this process: a tokenizer holds regular expressions that can take for ever,
replacements that swell a text, and whatever makes Rust panic. A limited process reads it, and what that says is checked
here like any bytes of a stranger.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bnsharp_cli.errors import CheckpointRefusedError, UsageError
from bnsharp_cli.io.containers.limited_process import NoLimitsError, limited_answer
from bnsharp_cli.io.data.tokenizer_child import REFUSAL, TOKENS
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.io.files.printable_text import escaped, shown_path

_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from bnsharp_cli.io.data.tokenizer_child import main; main()"
_SECONDS, _SECONDS_FOR_TEXT, _SECONDS_FOR_TOKENIZER = 20, 8 / 2**20, 1 / 2**20
"""Seconds of processor time: to begin with, and for each byte; the library takes a tenth of that for a text."""

_MEMORY, _MEMORY_FOR_TEXT, _MEMORY_FOR_TOKENIZER = 2**29, 256, 48
"""Bytes of memory likewise; the library takes about half of that."""

_WAITS = 8
"""Times the processor time after which a process that does not end is given up."""

_MOST_FOR_TEXT, _MOST_FOR_EACH = 16, 64
"""Tokens in an answer: for each character and for each text, special ones included."""

_HEAD, _LONGEST_REASON = 2, 4096
_REMEDY = "Write it again with tokenizer.save_pretrained, or use another tokenizer.json of this network."


@dataclass(frozen=True)
class Text:
    """A text, or two that belong together.

    Attributes:
        first: the text.
        second: what it is paired with; None for nothing.
    """

    first: str
    second: str | None = None

    def __len__(self) -> int:
        return len(self.first) + len(self.second or "")


@dataclass(frozen=True)
class Tokens:
    """Texts in tokens.

    Attributes:
        numbers: of all texts, one after the other, int32.
        kinds: of each token: 0 for the first of two texts that belong together, 1 for the second; uint8.
        counts: how many tokens each text has.
        cut: how many texts are longer than they may be, and were cut.
    """

    numbers: Tensor
    kinds: Tensor
    counts: tuple[int, ...]
    cut: int


def tokenized(path: Path, tokenizer: bytes, texts: Sequence[Text], *, longest: int | None = None) -> Tokens:
    """Texts in tokens, special ones as the tokenizer itself adds them.

    Args:
        path: of the tokenizer, for the messages.
        tokenizer: what is in ``tokenizer.json``.
        texts: at least one.
        longest: tokens that a text has at most, special ones included; None for any number.

    Raises:
        UsageError: tokenizers is not installed.
        CheckpointRefusedError: no tokenizer, or one that takes more time or memory than any.
    """
    size = sum(map(len, texts))
    seconds = round(_SECONDS + _SECONDS_FOR_TEXT * size + _SECONDS_FOR_TOKENIZER * len(tokenizer))
    request = {
        "packages": _packages(),
        "seconds": seconds,
        "memory": _MEMORY + _MEMORY_FOR_TEXT * size + _MEMORY_FOR_TOKENIZER * len(tokenizer),
        "texts": [one.first if one.second is None else [one.first, one.second] for one in texts],
        "longest": longest,
    }
    most = 5 * (_MOST_FOR_TEXT * size + _MOST_FOR_EACH * len(texts)) + 4 * len(texts) + 8 * _HEAD
    try:
        kind, content = limited_answer(
            _PROGRAM, json.dumps(request).encode() + b"\n" + tokenizer, most, _WAITS * seconds
        )
    except NoLimitsError as error:
        why = "this system starts no process with limits, in which a tokenizer is read"
        raise _refusal(path, why, "Use Linux or macOS, and Python's own interpreter.") from error
    if kind == REFUSAL:
        raise _refusal(path, _reason(content))
    if kind != TOKENS or len(content) > most:
        raise _refusal(path, "it takes more time or memory than any tokenizer of such texts")
    try:
        return _checked(content, len(texts))
    except ValueError as error:
        raise _refusal(path, "what was read of it contradicts itself") from error


def _packages() -> str:
    """The folder that the library is installed in."""
    with importing_libraries():
        found = find_spec("tokenizers")
    if found is None or found.origin is None:
        raise UsageError(
            "tokenizers is not installed.",
            "Install it: pip install 'bnsharp[huggingface]'.",
            argument="data",
            expected="the library that reads tokenizer.json",
            found="nothing",
        )
    return str(Path(found.origin).parents[1])


def _checked(content: bytes, texts: int) -> Tokens:
    """The tokens of an answer.

    Raises:
        ValueError: it is of another length than it says, or has numbers that no token has.
    """
    head = np.frombuffer(content[: 8 * _HEAD], np.int64)
    if len(head) != _HEAD or head[0] != texts or not 0 <= head[1] <= texts:
        raise ValueError("a head that is none")
    rest = content[8 * _HEAD :]
    counts = np.frombuffer(rest[: 4 * texts], np.int32)
    total = int(counts.astype(np.int64).sum())
    if len(counts) != texts or bool((counts < 0).any()) or len(rest) != 4 * texts + 5 * total:
        raise ValueError("another length than it says")
    numbers = np.frombuffer(rest, np.int32, total, 4 * texts).copy()
    kinds = np.frombuffer(rest, np.uint8, total, 4 * (texts + total)).copy()
    if bool((numbers < 0).any()):
        raise ValueError("a number below zero")
    return Tokens(torch.from_numpy(numbers), torch.from_numpy(kinds), tuple(counts.tolist()), int(head[1]))


def _reason(content: bytes) -> str:
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        said = "it cannot be read"
    return escaped(said if isinstance(said, str) else "it cannot be read", _LONGEST_REASON).rstrip(".")


def _refusal(path: Path, why: str, remedy: str = _REMEDY) -> CheckpointRefusedError:
    return CheckpointRefusedError(
        f"{shown_path(path)} is not read: {why}.", remedy, expected="a fast tokenizer", found=why, subject=path
    )
