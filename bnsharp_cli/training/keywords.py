"""Written by ``python -m tests.generated`` from the option records; do not edit.

Keywords of the training rules for type checkers: a mistyped name is a type error.
"""

from __future__ import annotations

from typing import TypedDict


class SgdKeywords(TypedDict, total=False):
    """What every rule passes on to :class:`~bnsharp_cli.training.rules.TrainingRule`."""

    momentum: float
    weight_decay: float
    nesterov: bool
    clip_gradient: float | None
