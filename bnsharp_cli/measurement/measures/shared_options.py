"""Options that several records declare alike; nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.measurement.surface.settings import (
    EVERY_PARAMETER,
    SMALL_MEMORY,
    TRAINED_PARAMETERS,
    MemorySetting,
)
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


Precision = Literal["auto", "float32", "float64", "bfloat16"]
"""The arithmetic of the network."""


@dataclass(frozen=True)
class Arithmetic(OptionRecord):
    """In which numbers the network is computed, and in how much memory.

    Attributes:
        precision: as :class:`~bnsharp_cli.measurement.measures.options.MeasureOptions` has it.
        memory: likewise.
    """

    precision: Precision = option(
        "auto", f"Arithmetic of the network: auto, float32 or float64; or bfloat16, with {named('memory')} small."
    )
    memory: MemorySetting = option(
        "ample",
        "Memory beside the weights: ample; or small, for noise and critical-radius of large models without a second "
        "copy of them.",
    )


def require_arithmetic(precision: str, memory: str) -> None:
    """Refuse bfloat16 where weights are rounded to the precision of the network.

    Raises:
        UsageError: it is.
    """
    if precision == "bfloat16" and memory != SMALL_MEMORY:
        expected = f"auto, float32 or float64, unless {named('memory')} is {SMALL_MEMORY}"
        raise UsageError.of("precision", expected, precision, "For example float32.")


def require_ample(memory: str) -> None:
    """Refuse little memory for what holds several vectors of the size of the network whatever it measures.

    Raises:
        UsageError: it is asked for.
    """
    if memory == SMALL_MEMORY:
        remedy = f"Only measures take {SMALL_MEMORY}: leave {named('memory')} out."
        raise UsageError.of("memory", "ample", memory, remedy)


def require_known(given: Mapping[str, Any], known: list[str]) -> None:
    """Refuse options that do not exist.

    Raises:
        UsageError: naming them.
    """
    unknown = [name for name in given if name not in known]
    if unknown:
        raise UsageError(
            f"There is no option {', '.join(map(str, unknown))}.",
            f"Options: {', '.join(known)}.",
            argument=str(unknown[0]),
            expected="the name of an option",
            found=unknown[0],
        )
