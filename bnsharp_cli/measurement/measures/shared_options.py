"""Options that several records declare alike; nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.surface.settings import EVERY_PARAMETER, TRAINED_PARAMETERS
from bnsharp_cli.option_records import OptionRecord, option

ParameterSelection = str | tuple[str, ...] | list[str]
"""Which parameters are varied; one word or several."""

_SEED_BITS = 62
"""A generator takes 64 bits, and training counts on from the seed given."""

SEED_HELP = "Seed of the batches and of everything random."


def read_numbers(texts: Sequence[str], argument: str, expected: str, remedy: str) -> tuple[float, ...]:
    """The numbers of all texts, several in one with commas between.

    >>> read_numbers(["1e-3,1e-2", "0.1"], "delta", "positive numbers", "For example 1e-3.")
    (0.001, 0.01, 0.1)

    Raises:
        UsageError: a text that is no number.
    """
    try:
        return tuple(float(number) for text in texts for number in text.split(","))
    except ValueError as error:
        raise UsageError.of(argument, expected, ", ".join(texts), remedy) from error


def seed_option(help: str = SEED_HELP) -> Any:  # noqa: A002 - typer's and argparse's word for it
    """A seed of a command or of training."""
    return option(
        0,
        help,
        expected=f"a number of at most {_SEED_BITS} bits",
        accept=lambda seed: int(seed).bit_length() <= _SEED_BITS,
    )


@dataclass(frozen=True)
class VariedParameters(OptionRecord):
    """The parameters that the loss is a function of, the others being constants.

    Attributes:
        parameters: ``all``, ``trainable`` or globs of names.
    """

    parameters: ParameterSelection = option(
        (EVERY_PARAMETER,),
        f"Parameters that are varied, the others being constants: {EVERY_PARAMETER}, {TRAINED_PARAMETERS} "
        "(requires_grad) or a glob such as 'head.*'; repeatable.",
        metavar=f"{EVERY_PARAMETER}|{TRAINED_PARAMETERS}|GLOB",
        shown_default=EVERY_PARAMETER,
        expected=f"{EVERY_PARAMETER}, {TRAINED_PARAMETERS} or globs of names",
        accept=lambda words: bool(words) and all(words),
        example=f"For example {TRAINED_PARAMETERS}.",
        complete=lambda _: (EVERY_PARAMETER, TRAINED_PARAMETERS),
    )
