"""The error family: what was wrong, as fields, and what the user can do about it.

Every refusal is a :class:`BnsharpError` with the fields ``argument``, ``expected``, ``found``, ``path`` and ``remedy``
and an exit code. Sentences name an argument through :func:`named`, so that Python prints ``batch_size`` where the
command prints ``--batch-size``; only ``cli`` knows how an option is spelt.

Names of files and other values come from strangers. :func:`shown` makes a value fit to stand in a sentence. An error
does the same to the whole of its sentences, so that a value that was forgotten cannot break the line or act on a
terminal either.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

_OPENING, _CLOSING = "\ue000", "\ue001"  # private characters, which shown() escapes in every value
_NAMED = re.compile(rf"{_OPENING}([^\W\d]\w*){_CLOSING}")
_UNSAID = object()


def named(argument: str) -> str:
    """The name of an argument inside a sentence of an error.

    >>> str(UsageError(f"{named('delta')} is too large.", "Lower it."))
    'delta is too large. Lower it.'
    """
    return f"{_OPENING}{argument}{_CLOSING}"


def shown(value: object) -> str:
    r"""A value inside a sentence of an error: each character that cannot be printed as an escape sequence.

    The answer is printable in the sense of :meth:`str.isprintable`. So it holds no line end, no terminal escape, no
    control of the writing direction, no byte that is no text, and no mark of :func:`named`.

    >>> shown("net\x1b.pt")
    'net\\x1b.pt'
    """
    try:
        text = f"{value}"
    except Exception:  # a user's object answers as it likes
        text = f"{indefinite(type(value).__name__)} that cannot be shown"
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def indefinite(noun: str) -> str:
    """A noun behind its article.

    >>> indefinite("int"), indefinite("Tensor")
    ('an int', 'a Tensor')
    """
    return f"{'an' if noun[:1].lower() in {*'aeiou'} or noun.startswith('nd') else 'a'} {noun}"


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "epoch"), counted(1200, "step")
    ('1 epoch', '1,200 steps')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def spelt(sentence: str, spelling: Callable[[str], str] = str) -> str:
    """``sentence`` with every argument in it, as :func:`named` marked them, spelt by ``spelling``.

    Everything else in it is printable in the answer, as :func:`shown` makes it.

    >>> spelt(f"Lower {named('batch_size')}.", lambda argument: "--" + argument.replace("_", "-"))
    'Lower --batch-size.'
    """
    parts = _NAMED.split(sentence)  # texts, and between them the names of arguments
    return "".join(spelling(part) if index % 2 else shown(part) for index, part in enumerate(parts))


class BnsharpError(Exception):
    """A failure with an exit code, a reason and a remedy.

    Args:
        reason: what is wrong, a sentence that does not begin with ``path``.
        remedy: what the user can do about it, a sentence.
        argument: the argument of the Python interface that it concerns, where there is one.
        expected: what was expected of it.
        found: what was found instead; the whole reason where this is left out.
        path: the file or folder that the reason is about; whoever prints the reason puts it in front. None where the
            reason itself names the file, and where there is none.
        subject: the file or folder that the reason itself names as what it is about; None where it names none.

    Attributes:
        exit_code: what the command exits with.
        marked_reason: the reason without ``path``, printable but for the marks of :func:`named`.
        marked_remedy: the remedy, in the same way.
    """

    exit_code: int = 4
    default_argument: ClassVar[str | None] = None
    default_expected: ClassVar[str] = "a result"

    def __init__(
        self,
        reason: str,
        remedy: str,
        *,
        argument: str | None = None,
        expected: str | None = None,
        found: object = _UNSAID,
        path: Path | None = None,
        subject: Path | None = None,
    ) -> None:
        self.path, self.subject = path, subject
        self.marked_reason, self.marked_remedy = spelt(reason, named), spelt(remedy, named)
        super().__init__(f"{self.reason} {self.remedy}")
        self.argument = argument or self.default_argument
        self.expected = spelt(expected or self.default_expected)
        self.found = self.reason if found is _UNSAID else found

    @classmethod
    def of(cls, argument: str, expected: str, found: object, remedy: str, **more: Any) -> Self:
        """The error of one argument, in the usual words.

        >>> UsageError.of("delta", "a positive number", -1, "For example 1e-3.").reason
        'delta: expected a positive number, found -1.'
        """
        quoted = f"'{shown(found)}'" if isinstance(found, str) else shown(found)
        reason = f"{named(argument)}: expected {expected}, found {quoted}."
        return cls(reason, remedy, argument=argument, expected=expected, found=found, **more)

    @classmethod
    def of_type(cls, argument: str, expected: str, found: object, remedy: str) -> Self:
        """The error of an argument of another type, which is named instead of the value.

        >>> UsageError.of_type("model", "a torch.nn.Module", None, "Pass a network.").reason
        'model: expected a torch.nn.Module, found a NoneType.'
        """
        reason = f"{named(argument)}: expected {expected}, found {indefinite(type(found).__name__)}."
        return cls(reason, remedy, argument=argument, expected=expected, found=found)

    @property
    def reason(self) -> str:
        """What is wrong, behind the file that it is about; arguments by their names in Python."""
        about = "" if self.path is None else f"{shown(self.path)}: "
        return about + spelt(self.marked_reason)

    @property
    def remedy(self) -> str:
        """What the user can do; arguments by their names in Python."""
        return spelt(self.marked_remedy)

    def renamed(self, argument: str, other: str) -> Self:
        """The same refusal of another argument that is read in the same way, which its sentences name instead.

        >>> UsageError.of("data", "a data set", "x", "Name one.").renamed("data", "test_data").reason
        "test_data: expected a data set, found 'x'."
        """
        reason, remedy = (
            text.replace(named(argument), named(other)) for text in (self.marked_reason, self.marked_remedy)
        )
        fields = {**self.fields, "argument": other if self.argument == argument else self.argument}
        return type(self)(reason, remedy, subject=self.subject, **fields)

    @property
    def fields(self) -> dict[str, Any]:
        """What the error says beside its sentences, for another one that carries it on in words of its own."""
        return {"argument": self.argument, "expected": self.expected, "found": self.found, "path": self.path}


class UsageError(BnsharpError):
    """An argument that has no meaning here (exit 2)."""

    exit_code = 2
    default_expected = "arguments that fit together"


class CheckpointRefusedError(BnsharpError):
    """A checkpoint that cannot or must not be opened (exit 3)."""

    exit_code = 3
    default_argument = "checkpoint"
    default_expected = "finite weights of one network, saved as plain tensors"


class DataRefusedError(BnsharpError):
    """A data set that cannot be used (exit 3)."""

    exit_code = 3
    default_argument = "data"
    default_expected = "examples that the network and the loss accept"


class NotMeasurableError(BnsharpError):
    """A computed value is not finite, or below the rounding floor where more is needed (exit 4)."""

    exit_code = 4
    default_expected = "a finite value above its rounding floor"


class UnfitMeasureError(NotMeasurableError):
    """A measure does not exist for this network, its loss or these options, while others do (exit 4)."""

    default_expected = "a measure that exists for the network and its loss"


class SharedError(BnsharpError):
    """What one of several processes failed with, known to all of them (exit as that one)."""

    def __init__(self, reason: str, remedy: str, exit_code: int, **fields: Any) -> None:
        super().__init__(reason, remedy, **fields)
        self.exit_code = exit_code


class LostProcessError(BnsharpError):
    """One of several processes ended or stopped answering (exit 4)."""

    exit_code = 4
    default_expected = "an answer from every process"


class InternalError(BnsharpError):
    """A failure that nobody foresaw (exit 4)."""

    exit_code = 4


def described(error: Exception) -> BnsharpError:
    """Any failure as one of the family."""
    if isinstance(error, BnsharpError):
        return error
    if isinstance(error, MemoryError):
        return NotMeasurableError("Out of memory.", f"Lower {named('batch_size')} or {named('samples')}.")
    first = (str(error).splitlines() or [""])[0]
    return InternalError(
        f"Internal error: {type(error).__name__}: {first}", f"Run again with {named('debug')} and report it."
    )
