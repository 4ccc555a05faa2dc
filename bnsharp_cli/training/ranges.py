"""Ranges of the numbers that training takes, with the words for them in an error."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.option_records import OptionRecord, declared_fields

POSITIVE: Mapping[str, Any] = {"expected": "a positive number", "accept": lambda number: 0 < number < math.inf}
FROM_ZERO: Mapping[str, Any] = {"expected": "a number from 0 on", "accept": lambda number: 0 <= number < math.inf}
FRACTION: Mapping[str, Any] = {"expected": "a number in [0, 1)", "accept": lambda number: 0 <= number < 1}
LENGTH: Mapping[str, Any] = {"expected": "a positive number", "accept": lambda number: number > 0}  # inf: no limit
"""Arguments of :func:`~bnsharp_cli.option_records.option`, and the last two of the functions below."""


class RangedRecord(OptionRecord):
    """An option record that says ``0 is out of range`` of a number, and in the remedy what the range is.

    A field that declares its own example keeps the usual words.
    """

    def __post_init__(self) -> None:
        """Refuse values that are not among the choices or not in range.

        Raises:
            UsageError: naming the first such argument.
        """
        for one in declared_fields(type(self)):
            try:
                one.require(getattr(self, one.name))
            except UsageError as error:
                if one.item_type not in {int, float} or one.declared.example is not None:
                    raise
                raise _out_of_range(one.name, error.expected, error.found) from error


def require_range(argument: str, found: Any, expected: str, accept: Callable[[Any], bool]) -> None:
    """Refuse a number of a field without a declaration.

    Raises:
        UsageError: naming the argument, and the range in the remedy.
    """
    if not _is_number(found) or not accept(found):
        raise _out_of_range(argument, expected, found)


def require_number(argument: str, found: Any, expected: str, accept: Callable[[Any], bool]) -> None:
    """Refuse an argument of a function that is no number or out of range.

    Raises:
        UsageError: in the usual words.
    """
    if not _is_number(found) or not accept(found):
        raise UsageError.of(argument, expected, found, f"Change {named(argument)}.")


def _is_number(found: object) -> bool:
    return isinstance(found, numbers.Real) and not isinstance(found, bool)


def _out_of_range(argument: str, expected: str, found: object) -> UsageError:
    reason = f"{named(argument)}: {found} is out of range."
    return UsageError(reason, f"Give {expected}.", argument=argument, expected=expected, found=found)
