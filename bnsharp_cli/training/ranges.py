"""Ranges of the numbers that training takes, with the words for them in an error."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.option_records import shortest

POSITIVE: Mapping[str, Any] = {"expected": "a positive number", "accept": lambda number: 0 < number < math.inf}
FROM_ZERO: Mapping[str, Any] = {"expected": "a number from 0 on", "accept": lambda number: 0 <= number < math.inf}
FRACTION: Mapping[str, Any] = {"expected": "a number in [0, 1)", "accept": lambda number: 0 <= number < 1}
LENGTH: Mapping[str, Any] = {"expected": "a positive number", "accept": lambda number: number > 0}  # inf: no limit
"""Arguments of :func:`~bnsharp_cli.option_records.option` and of :func:`require_number`."""


def require_number(argument: str, found: Any, expected: str, accept: Callable[[Any], bool]) -> None:
    """Refuse an argument that no option record declares, and that is no number or out of range.

    Raises:
        UsageError: in the usual words.
    """
    if not isinstance(found, numbers.Real) or isinstance(found, bool):
        raise UsageError.of_type(argument, expected, found, f"Change {named(argument)}.")
    if not accept(found):
        raise UsageError.of(argument, expected, shortest(found), f"Change {named(argument)}.")
