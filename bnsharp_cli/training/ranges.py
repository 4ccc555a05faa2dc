"""Ranges of the numbers that training takes, with the words that an error has for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any, cast

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.option_records import OptionRecord, declared_fields

POSITIVE: Mapping[str, Any] = {"expected": "a positive number", "accept": lambda number: 0 < number < math.inf}
FROM_ZERO: Mapping[str, Any] = {"expected": "a number from 0 on", "accept": lambda number: 0 <= number < math.inf}
"""Arguments of :func:`~bnsharp_cli.option_records.option`."""


class RangedRecord(OptionRecord):
    """An option record that says ``0 is out of range`` of a number, and in the remedy what the range is."""

    def __post_init__(self) -> None:
        """Refuse values that are not among the choices or not in range.

        Raises:
            UsageError: naming the first such argument.
        """
        for one in declared_fields(cast(Hashable, type(self))):
            value = getattr(self, one.name)
            if one.item_type in {int, float} and (value is not None or not one.optional):
                require_range(one.name, value, one.declared.expected, one.declared.accept or (lambda _: True))
            else:
                one.require(value)


def require_range(argument: str, found: Any, expected: str, accept: Callable[[Any], bool]) -> None:
    """Refuse a number that is not in its range.

    Raises:
        UsageError: naming the argument, and the range in the remedy.
    """
    if not accept(found):
        reason = f"{named(argument)}: {found} is out of range."
        raise UsageError(reason, f"Give {expected}.", argument=argument, expected=expected, found=found)
