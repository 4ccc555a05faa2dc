"""Options are declared once: a frozen record whose fields carry their help, their range and how a command spells them.

The Python interface, the commands, the JSON document and the configuration of ``check`` all read the same records. This
module and the records import nothing heavy, so that ``--help`` and completion stay fast.

>>> @dataclass(frozen=True)
... class Radius(OptionRecord):
...     delta: float = option(1e-3, "Radius.", expected="a positive number", accept=lambda delta: delta > 0)
...     side: Literal["both", "one"] = option("both", "Which side.")
>>> Radius(delta=0.1)
Radius(delta=0.1, side='both')
>>> Radius(delta=-1)
Traceback (most recent call last):
bnsharp_cli.errors.UsageError: delta: expected a positive number, found -1. For example 0.001.
"""

from __future__ import annotations

import numbers
import types
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self, Union, cast, get_args, get_origin, get_type_hints

from bnsharp_cli.errors import UsageError, named

_KEY = "bnsharp"

_TYPES: dict[Any, tuple[type, str]] = {
    bool: (bool, "True or False"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    str: (str, "a text"),
}
"""What counts as a value of a type, numpy's scalars included, and how an error calls it."""

_LONG = 1e15
"""From here on a float is shorter with its exponent."""


@dataclass(frozen=True)
class Declared:
    """What a field of a record says beside its type and default.

    Attributes:
        help: one sentence, as ``--help`` shows it; other options in it are marked by ``errors.named``.
        flag: the option's name on the command line, if it is not the field's: ``bn`` for ``--bn``.
        short: a single letter, such as ``p``.
        metavar: what the help shows for its value.
        expected: the range or the choices in words, for the error.
        accept: whether a value is in range.
        minimum: the smallest whole number, which the help shows; ``expected`` and ``accept`` follow from it.
        maximum: a number that no use needs to exceed, which the help shows: what is larger would run for days.
        example: what to do instead, for the error; the default where this is left out.
        missing: what a required option is, for the error where it is left out; ``expected`` if this is left out.
        shown_default: the default in words, where the value itself says too little.
        complete: from the beginning of a word to values to offer in the shell, where the type does not list them;
            those that do not begin so are passed over.
        read: makes the value from the text on the command line, or from all texts of a ``repeatable`` option; for
            values that are written otherwise than Python does, such as ``0.5,0.5``.
        repeatable: whether an option with ``read`` may be given several times.
        python_only: whether commands leave it at its default.
        harmless: whether a value makes the command neither write, fetch nor run code; None where every value is.
        located: a text that can name a file in a folder, as it is from here; from the folder and the text.
    """

    help: str
    flag: str | None = None
    short: str | None = None
    metavar: str | None = None
    expected: str = ""
    accept: Callable[[Any], bool] | None = None
    minimum: int | None = None
    maximum: int | None = None
    example: str | None = None
    missing: str | None = None
    shown_default: str | None = None
    complete: Callable[[str], Iterable[str]] | None = None
    read: Callable[[Any], Any] | None = None
    repeatable: bool = False
    python_only: bool = False
    harmless: Callable[[Any], bool] | None = None
    located: Callable[[Path, str], str] | None = None


def never(_: object) -> bool:
    """No value is harmless."""
    return False


def option(default: Any, help: str, **more: Any) -> Any:  # noqa: A002 - typer's and argparse's word for it
    """A field of an option record; ``MISSING`` is the default of a required one, ``more`` are fields of Declared."""
    declared = Declared(help, **{**_from(more.get("minimum")), **more})
    if isinstance(default, list | dict | set):
        raise TypeError("the default of an option must not change")
    return field(default=default, metadata={_KEY: declared}, kw_only=default is MISSING)


def _from(minimum: int | None) -> dict[str, Any]:
    """The words and the check of a range that has only a smallest number."""
    if minimum is None:
        return {}
    return {"expected": f"at least {minimum}", "accept": lambda value: value >= minimum}


def same_option(record: type[OptionRecord], name: str) -> Any:
    """A field that is declared as the field ``name`` of another record is."""
    (own,) = (one for one in fields(cast(Any, record)) if one.name == name)
    return field(default=own.default, metadata=own.metadata)


def bracketed(words: Iterable[str]) -> str:
    """The words of a choice as the help shows them.

    >>> bracketed(["batch", "running"])
    '[batch|running]'
    """
    return f"[{'|'.join(words)}]"


def shortest(number: Any) -> Any:
    """A number as it is usually typed: whole ones without a point. Anything else stays as it is.

    >>> shortest(2.0), shortest(0.5), shortest("2.0")
    (2, 0.5, '2.0')
    """
    whole = isinstance(number, float) and number.is_integer() and abs(number) < _LONG
    return int(number) if whole else number


class OptionRecord:
    """Checks every field against its declaration when a record is made."""

    def __post_init__(self) -> None:
        """Refuse values that are not among the choices or not in range, and keep numbers as Python's own.

        Raises:
            UsageError: naming the first such argument.
        """
        for one in declared_fields(type(self)):
            value = one.plain(getattr(self, one.name))
            one.require(value)
            object.__setattr__(self, one.name, value)  # the record is frozen for everybody else

    @classmethod
    def flat_fields(cls) -> tuple[OptionField, ...]:
        """All options by name, at one level; a record with options in a record of their own has more than fields."""
        return declared_fields(cls)

    @classmethod
    def from_flat(cls, **flat: Any) -> Self:
        """The record from the names of :meth:`flat_fields`."""
        return cls(**flat)


@dataclass(frozen=True)
class OptionField:
    """One option: a field of a record with its type and declaration resolved."""

    name: str
    annotation: Any
    default: Any
    declared: Declared

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is MISSING

    @property
    def optional(self) -> bool:
        """Whether None stands for "not given"."""
        return type(None) in get_args(self.annotation)

    @property
    def item_type(self) -> Any:
        """The type of the value, or of its items where it takes several; without None."""
        bare = (
            next((part for part in get_args(self.annotation) if part is not type(None)), self.annotation)
            if self._union
            else self.annotation
        )
        return get_args(bare)[0] if get_origin(bare) in {tuple, list} else bare

    @property
    def several(self) -> bool:
        """Whether the option may be repeated."""
        parts = get_args(self.annotation) if self._union else (self.annotation,)
        return any(get_origin(part) in {tuple, list} for part in parts)

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed words of a ``Literal``; empty for anything else."""
        return get_args(self.item_type) if get_origin(self.item_type) is Literal else ()

    @property
    def flag(self) -> str:
        """Its name on the command line, without dashes."""
        return self.declared.flag or self.name.replace("_", "-")

    @property
    def repeatable(self) -> bool:
        """Whether the command line may give it several times."""
        return self.declared.repeatable if self.declared.read else self.several

    def plain(self, value: Any) -> Any:
        """``value`` with numbers of other libraries as Python's, and 4.0 as 4 where a whole number is meant."""
        if self.several and isinstance(value, tuple | list):
            return tuple(self._plain_number(one) for one in value)
        return self._plain_number(value)

    def _plain_number(self, value: Any) -> Any:
        if self.item_type not in {int, float} or not _is_number(value):
            return value
        if isinstance(value, numbers.Integral):
            return int(value)
        if not _fits_float(value):
            return value
        number = float(value)
        return int(number) if self.item_type is int and number.is_integer() else number

    def require(self, value: Any) -> None:
        """Refuse a value that the declaration does not allow."""
        if value is None and self.optional:
            return
        if self.several and not isinstance(value, tuple | list):
            raise UsageError.of(self.name, self.declared.expected or "a tuple", value, self._remedy(None))
        for one in value if self.several else (value,):
            self._require_type(one)
        if self.declared.accept is not None and not _accepts(self.declared.accept, value):
            raise UsageError.of(self.name, self.declared.expected, shortest(value), self._remedy(None))
        if self.declared.maximum is not None and value > self.declared.maximum:
            raise UsageError.of(self.name, f"at most {self.declared.maximum}", value, self._remedy(None))

    def _require_type(self, value: Any) -> None:
        """Refuse what is none of the choices, or of another type."""
        if self.choices:
            if not any(isinstance(value, type(choice)) and value == choice for choice in self.choices):
                expected = self.declared.expected or _listed(self.choices)
                raise UsageError.of(self.name, expected, value, self._remedy(self.choices[0]))
            return
        kind, words = _TYPES.get(self.item_type, (object, ""))
        number = _is_number(value)
        meant = (number or self.item_type not in {int, float}) and (self.item_type is not float or _fits_float(value))
        if isinstance(value, kind) and meant:
            return
        refused = UsageError.of if number or value is None else UsageError.of_type
        expected = words if self.item_type is int else self.declared.expected or words
        raise refused(self.name, expected, value, self._remedy(None))

    def _remedy(self, choice: str | None) -> str:
        if self.declared.example is not None:
            return self.declared.example
        if choice is None and _is_number(self.default):
            choice = str(shortest(self.default))
        return f"For example {choice}." if choice else f"Change {named(self.name)}."

    @property
    def _union(self) -> bool:
        return get_origin(self.annotation) in {Union, types.UnionType}


def declared_fields(record: type[Any]) -> tuple[OptionField, ...]:
    """The options of a record, in their order; fields without a declaration are none."""
    return _resolved(cast(Hashable, record))


@cache
def _resolved(record: type[Any]) -> tuple[OptionField, ...]:
    hints = get_type_hints(record)
    return tuple(OptionField(one.name, hints[one.name], one.default, one.metadata[_KEY]) for one in _declared(record))


def _declared(record: type) -> Iterator[Field[Any]]:
    return (one for one in fields(cast(Any, record)) if _KEY in one.metadata)


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _accepts(accept: Callable[[Any], bool], value: Any) -> bool:
    try:
        return bool(accept(value))
    except TypeError:  # a value of another type, such as a text where a number belongs
        return False


def _fits_float(value: Any) -> bool:
    try:
        float(value)
    except OverflowError:  # a whole number beyond the range of floats
        return False
    return True


def _listed(words: tuple[str, ...]) -> str:
    return " or ".join(words) if len(words) == 2 else f"one of {', '.join(words)}"
