"""What to say of data that is named in a way that nothing here has."""

from __future__ import annotations

import os
import shlex
from difflib import get_close_matches

from bnsharp_cli.errors import UsageError, named, shown
from bnsharp_cli.io.data.forms import ALL_DATA_FORMS, DATA_KINDS, DATA_NAMES

_LIKENESS = 0.7
_FILES = {".npz": "npz", ".txt": "text", ".jsonl": "text"}
_OF_FOLDERS = frozenset({"dir", "directory", "dataset", "folders", "image", "imagefolder", "images", "imgs", "path"})


def require_known_form(spec: str) -> None:
    """Refuse data whose kind does not go with what it names: an archive as a folder, a folder behind another word.

    Raises:
        UsageError: with the option to give.
    """
    kind, _, argument = spec.partition(":")
    right = _form_of(argument)
    if not right or kind == right:
        return
    may_be_function = argument.isidentifier() and kind.casefold() not in _OF_FOLDERS
    if kind in DATA_KINDS or not may_be_function:
        raise _unknown(spec, f"{right}:{argument}")


def unknown(spec: str) -> UsageError:
    """The refusal of data that has no kind, with what was probably meant."""
    form = _form_of(spec)
    if form:
        return _unknown(spec, f"{form}:{spec}")
    plain = "".join(character for character in spec.casefold() if character.isalnum())
    return _unknown(spec, *get_close_matches(plain, DATA_NAMES, 1, _LIKENESS))


def _form_of(path: str) -> str:
    """How a path that exists is named as data; empty for what is no data."""
    if os.path.isdir(path):  # noqa: PTH112  # which answers for any text, where Path raises for some
        return "folder"
    kind = next((_FILES[end] for end in _FILES if path.casefold().endswith(end)), "")
    return kind if kind and os.path.isfile(path) else ""  # noqa: PTH113  # likewise


def _unknown(spec: str, meant: str = "") -> UsageError:
    remedy = f"Use one of: {ALL_DATA_FORMS}."
    if meant:
        remedy = f"Did you mean this: {named('data')} {shlex.quote(shown(meant))}"
    return UsageError(f"Unknown data '{shown(spec)}'.", remedy, argument="data", expected=ALL_DATA_FORMS, found=spec)
