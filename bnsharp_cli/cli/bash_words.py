"""Words with a colon or an equals sign in them, which bash takes apart before it asks what completes them.

bash asks with ``torchvision``, ``:`` and ``resn`` as three words, and puts what it is given in place of the last one.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, redirect_stdout

_ASKED, _BY_BASH = "_BNSHARP_COMPLETE", "complete_bash"
_WORDS, _NUMBER = "COMP_WORDS", "COMP_CWORD"
_BREAKS = (":", "=")


@contextmanager
def whole_words(environment: MutableMapping[str, str] = os.environ) -> Iterator[None]:
    """Let what answers bash see whole words, and bash see the rest of what it asked for."""
    words, number = environment.get(_WORDS, "").split("\n"), environment.get(_NUMBER, "")
    if environment.get(_ASKED) != _BY_BASH or not number.isdecimal() or not 0 < int(number) < len(words):
        yield
        return
    asked = int(number)
    whole = _joined(words[: asked + 1])
    environment[_WORDS], environment[_NUMBER] = "\n".join(whole), str(len(whole) - 1)
    cut = _said_already(whole[-1]) if whole[-1] != words[asked] else 0
    answer = io.StringIO()
    try:
        with redirect_stdout(answer):
            yield
    finally:
        sys.stdout.write("".join(line[cut:] for line in answer.getvalue().splitlines(keepends=True)))


def _joined(words: list[str]) -> list[str]:
    """The words, with what bash took apart put together."""
    whole: list[str] = []
    for index, word in enumerate(words):
        if index > 1 and (word in _BREAKS or words[index - 1] in _BREAKS):
            whole[-1] += word
        else:
            whole.append(word)
    return whole


def _said_already(word: str) -> int:
    """How many characters of a value bash keeps; an option's name before it is no part of an answer."""
    value = word.partition("=")[2] if word.startswith("--") else word
    return max(value.rfind(each) for each in _BREAKS) + 1
