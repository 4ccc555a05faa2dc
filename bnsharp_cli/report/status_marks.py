"""Signs before values that are not what they seem, for tables that have no room for the status."""

from __future__ import annotations

from collections.abc import Iterable

from bnsharp_cli.measurement.measures.measurement import Status

STATUS_MARKS = {Status.ITERATION_LIMIT: "≥", Status.BELOW_RESOLUTION: "~"}
"""What stands before a value of that status."""

_MEANINGS = {
    Status.ITERATION_LIMIT: "a lower bound: the search was still climbing",
    Status.BELOW_RESOLUTION: "no more than rounding",
}


def meanings_of_marks(statuses: Iterable[Status]) -> list[str]:
    """A line for each sign that stands before a value of one of these.

    >>> meanings_of_marks([Status.SAMPLED, Status.ITERATION_LIMIT])
    ['≥: a lower bound: the search was still climbing']
    """
    used = {*statuses}
    return [f"{mark}: {_MEANINGS[status]}" for status, mark in STATUS_MARKS.items() if status in used]
