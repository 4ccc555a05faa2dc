"""Options from records: what typer sees, and what the command gets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import Context, copy_context
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from bnsharp_cli.cli.signature import Defaults, Fixed, starting, with_options
from bnsharp_cli.cli.spelling import for_the_command
from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.option_records import OptionField, OptionRecord, declared_fields, option, same_option


def read_pairs(pairs: list[str]) -> Mapping[str, str]:
    return dict(pair.split("=") for pair in pairs)


@dataclass(frozen=True)
class Shape(OptionRecord):
    side: Literal["left", "right"] = option("left", "Which side.")
    radius: float = option(
        1.5, f"Radius, of {named('lengths')}.", short="r", expected="positive", accept=lambda radius: radius > 0
    )
    lengths: tuple[int, ...] = option((1, 2), "Lengths.", flag="length")
    extra: Mapping[str, str] | None = option(None, "Extra.", read=read_pairs, repeatable=True)
    numbers: tuple[float, ...] | None = option(
        None, "Numbers.", read=lambda text: tuple(map(float, text.split(","))), shown_default="none"
    )
    count: int | None = option(7, "Count.", read=lambda text: None if text == "all" else int(text))
    places: int = option(3, "Places.", minimum=2)
    hidden: str = option("here", "Hidden.")
    seed: int = option(3, "Seed of the shape.")


@dataclass(frozen=True)
class Target(OptionRecord):
    lambda_: float = option(MISSING, "A number.", flag="lambda", expected="a number", example="For example 1.")
    overwrite: bool = option(False, "Overwrite.")
    folder: Path | None = option(None, "Folder.")
    seed: int = same_option(Shape, "seed")


@dataclass(frozen=True)
class Nested(OptionRecord):
    """A record with an option that is no field of it."""

    own: int = option(0, "Own.")
    particular: tuple[Any, ...] = ()

    @classmethod
    def flat_fields(cls) -> tuple[OptionField, ...]:
        return (*declared_fields(cls), *declared_fields(Extra))

    @classmethod
    def from_flat(cls, **flat: Any) -> Nested:
        return cls(flat["own"], (flat["more"],))


@dataclass(frozen=True)
class Extra(OptionRecord):
    more: int = option(5, "More.")


def run(*arguments: str, expect: int = 0) -> tuple[dict[str, Any], str]:
    """What a command of these records gets, and what it prints."""
    got: dict[str, Any] = {}

    def command(
        name: Annotated[str, typer.Argument(help="Name.")],
        shape: Annotated[Shape, Defaults(radius=2.5), Fixed(hidden="there")],
        target: Target,
        nested: Nested,
        loud: Annotated[bool, typer.Option("--loud", help="Loud.")] = False,
    ) -> None:
        """Do it."""
        got.update(name=name, shape=shape, target=target, nested=nested, loud=loud)

    app = typer.Typer(rich_markup_mode=None)
    app.command()(with_options(command))
    ended = CliRunner().invoke(app, [*arguments], catch_exceptions=expect != 1)
    assert ended.exit_code == expect, ended.output
    return got, ended.output


def test_values_come_back_as_records() -> None:
    given = ("x", "--side", "right", "-r", "4", "--length", "5", "--length", "6", "--extra", "a=b", "--extra", "c=d")
    more = ("--numbers", "1,2", "--count", "all", "--lambda", "0.5", "--overwrite", "--folder", "f", "--seed", "8")
    got, _ = run(*given, *more, "--own", "1", "--more", "2", "--loud")
    assert got == {
        "name": "x",
        "shape": Shape("right", 4.0, (5, 6), {"a": "b", "c": "d"}, (1.0, 2.0), None, 3, "there", 8),
        "target": Target(lambda_=0.5, overwrite=True, folder=Path("f"), seed=8),
        "nested": Nested(1, (2,)),
        "loud": True,
    }


def test_defaults_are_the_records_or_the_commands_own() -> None:
    got, _ = run("x", "--lambda", "1")
    assert got["shape"] == Shape(radius=2.5, hidden="there")
    assert got["target"] == Target(lambda_=1.0)
    assert got["nested"] == Nested(0, (5,))


def test_the_help_has_each_option_once_in_the_order_of_the_records() -> None:
    _, text = run("--help")
    flags = re.findall(r"^  (?:-\w, )?--([\w-]+)", text, re.MULTILINE)
    earlier = ["side", "radius", "length", "extra", "numbers", "count", "places", "seed"]
    expected = [*earlier, "lambda", "overwrite", "folder"]
    assert [flag for flag in flags if "completion" not in flag] == ["loud", *expected, "own", "more", "help"]
    told = " ".join(text.split())
    for words in (
        "--side [left|right] Which side. [default: left]",
        "-r, --radius <float> Radius, of --length. [default: 2.5]",
        "Numbers. [default: none]",
        "Count. [default: 7]",
        "Places. [default: 3; x>=2]",
        "A number. [required]",
        "Seed of the shape. [default: 3]",
    ):
        assert words in told
    assert "hidden" not in text
    assert "--no-overwrite" not in text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("x", "--lambda", "1", "--side", "up"), "--side: expected left or right, found 'up'."),
        (("x", "--lambda", "1", "--radius", "-1"), "--radius: expected positive, found -1."),
        (("x",), "--lambda is missing: expected a number."),
    ],
)
def test_what_a_record_refuses_is_spelt_as_on_the_command_line(arguments: tuple[str, ...], reason: str) -> None:
    def refused() -> str:
        with pytest.raises(UsageError) as caught:
            run(*arguments, expect=1)
        return for_the_command(caught.value.marked_reason)

    assert copy_context().run(refused) == reason


def test_arguments_are_spelt_by_the_flags_of_the_command_that_runs() -> None:
    def spelt() -> list[str]:
        run("x", "--lambda", "1")
        return [for_the_command(named(name)) for name in ("lengths", "lambda_", "name", "batch_size")]

    assert copy_context().run(spelt) == ["--length", "--lambda", "NAME", "--batch-size"]
    assert Context().run(for_the_command, named("lengths")) == "--lengths"


def test_a_number_that_is_none_is_refused_by_typer() -> None:
    _, text = run("x", "--lambda", "1", "--seed", "many", expect=2)
    assert "Invalid value for '--seed'" in text


def test_an_option_that_a_record_does_not_have_is_a_mistake_in_the_command() -> None:
    def command(shape: Annotated[Shape, Fixed(colour="red")]) -> None:
        """Do it."""

    with pytest.raises(AssertionError, match="Shape has no such options"):
        with_options(command)


def test_completion_offers_what_begins_with_the_word() -> None:
    assert starting(lambda _: ("bn", "delta-lp", "delta-linf"))("delta") == ["delta-lp", "delta-linf"]
