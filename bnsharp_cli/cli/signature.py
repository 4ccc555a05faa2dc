"""The parameters that typer sees, from the option records that a command names in its own signature.

A command is a plain function of records, ``def measure(checkpoint: CheckpointArguments, data: …)``. What each
record declares becomes an option with its help, its default and its completion, and the values come back as a record.
"""

from __future__ import annotations

import functools
import inspect
import keyword
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import typer

from bnsharp_cli.cli.spelling import as_option, speak
from bnsharp_cli.errors import UsageError, named, spelt
from bnsharp_cli.option_records import OptionField, OptionRecord, bracketed

Command = Callable[..., None]
_TYPES = {bool, int, float, str, Path}
_WITHOUT_EXAMPLE = "See --help."


Instead = Callable[[Mapping[str, Any]], Callable[[], None] | None]


class CommandOption(NamedTuple):
    """An option of a command.

    Attributes:
        field: its declaration.
        default: what the command has for it; MISSING where it must be given.
    """

    field: OptionField
    default: Any


class Defaults(dict[str, Any]):
    """Defaults that a command has instead of the record's: ``Annotated[Data, Defaults(samples=1024)]``."""


class Fixed(dict[str, Any]):
    """Values that a command decides, so that it has no such options: ``Annotated[Output, Fixed(output=None)]``."""


def with_options(command: Command, *further: type[OptionRecord], instead: Instead | None = None) -> Command:
    """``command`` as typer registers it: with one parameter an option, in the order of the records.

    A record that declares an option with the flag of an earlier one, such as the seed, gets the same value.

    Args:
        command: a function of records.
        further: records of options that it has beside its own, and does not get.
        instead: from what the parser gave to what is done instead of the command; None where nothing is. What the
            command requires may be missing then.
    """
    hints, own = get_type_hints(command, include_extras=True), inspect.signature(command).parameters
    records = _records(command)
    ordinary = [_parameter(name, hints[name], own[name].default) for name in own if name not in records]
    flags = {parameter.name: parameter.name.upper() for parameter in ordinary}
    options: dict[str, inspect.Parameter] = {}
    for record in (*records.values(), *(_CommandRecord(one, {}, {}) for one in further)):
        for one in record.options:
            flags.setdefault(one.name, f"--{one.flag}")
            options.setdefault(_key(one), record.parameter(one))
    for parameter in options.values():
        _spell_help(parameter, flags)

    @functools.wraps(command)
    def run(**given: Any) -> None:
        speak(flags)
        done = None if instead is None else instead(given)
        if done is None:
            command(**{name: records[name].made(given) if name in records else given[name] for name in own})
            return
        for record in records.values():
            record.require(given)
        done()

    parameters = [*ordinary, *options.values()]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # a function has room for one
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def options_of(command: Command) -> dict[str, CommandOption]:
    """The options of a command by the names of their parameters, as it declares them."""
    options: dict[str, CommandOption] = {}
    for record in _records(command).values():
        for one in record.options:
            options.setdefault(_key(one), CommandOption(one, record.default(one)))
    return options


def _records(command: Command) -> dict[str, _CommandRecord]:
    hints = get_type_hints(command, include_extras=True)
    own = inspect.signature(command).parameters
    return {name: record for name in own if (record := _record(hints[name])) is not None}


@dataclass(frozen=True)
class _CommandRecord:
    """An option record of a command, with the defaults and values that the command has for it."""

    record: type[OptionRecord]
    defaults: Mapping[str, Any]
    fixed: Mapping[str, Any]

    @property
    def options(self) -> Iterator[OptionField]:
        """What its user can give."""
        return (one for one in self.record.flat_fields() if one.name not in self.fixed)

    def made(self, given: Mapping[str, Any]) -> OptionRecord:
        """The record of what was given.

        Raises:
            UsageError: an option that is missing, or out of its range.
        """
        values = {one.name: _value(one, given[_key(one)], self.default(one)) for one in self.options}
        return self.record.from_flat(**{**values, **self.fixed})

    def require(self, given: Mapping[str, Any]) -> None:
        """Refuse what was given as the record does, but not that something is missing.

        Raises:
            UsageError: an option that is out of its range.
        """
        if not any(given[_key(one)] is None and self.default(one) is MISSING for one in self.options):
            self.made(given)

    def parameter(self, one: OptionField) -> inspect.Parameter:
        """What typer sees of an option."""
        default = self.default(one)
        if default in (MISSING, None, ()) or one.repeatable:
            default = None
        elif one.declared.read:
            default = str(default)
        return _parameter(_key(one), _annotation(one, default), default)

    def default(self, one: OptionField) -> Any:
        """What the command has where it is not given."""
        return self.defaults.get(one.name, one.default)


def _record(hint: Any) -> _CommandRecord | None:
    """The record of an annotation; None for an ordinary parameter."""
    record, *said = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if not (isinstance(record, type) and issubclass(record, OptionRecord)):
        return None
    defaults = next((one for one in said if isinstance(one, Defaults)), Defaults())
    fixed = next((one for one in said if isinstance(one, Fixed)), Fixed())
    known = {one.name for one in record.flat_fields()}
    assert known >= {*defaults, *fixed}, f"{record.__name__} has no such options"
    return _CommandRecord(record, defaults, fixed)


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _key(one: OptionField) -> str:
    """The name of the parameter that typer sees: one for each flag."""
    name = one.flag.replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


def _annotation(one: OptionField, default: Any) -> Any:
    declared = one.declared
    names = [f"--{one.flag}", *([f"-{declared.short}"] if declared.short else [])]
    stated = _stated(one, default)
    shown = typer.Option(
        *names,
        help=declared.help + stated,
        metavar=declared.metavar or (bracketed(one.choices) if one.choices else None),
        show_default=not stated,
        autocompletion=_completion(one),
        readable=False,  # typer does not look into files; what opens them says why it cannot
    )
    return Annotated[_typed(one), shown]


def _stated(one: OptionField, default: Any) -> str:
    """What the help says of an option's default and range; empty where typer says it."""
    if one.required:
        return "  [required]"
    limits = _limits(one)
    if one.declared.shown_default:
        default = one.declared.shown_default
    elif not limits:
        return ""
    parts = [*([f"default: {default}"] if default is not None else []), *([limits] if limits else [])]
    return f"  [{'; '.join(parts)}]"


def _limits(one: OptionField) -> str:
    """``x>=1``, ``x<=9`` or ``1<=x<=9``; empty where neither end is declared."""
    low, high = one.declared.minimum, one.declared.maximum
    if low is None:
        return "" if high is None else f"x<={high}"
    return f"x>={low}" if high is None else f"{low}<=x<={high}"


def _spell_help(parameter: inspect.Parameter, flags: Mapping[str, str]) -> None:
    """Other options that a help names are spelt as this command spells them."""
    (option,) = parameter.annotation.__metadata__
    option.help = spelt(option.help, lambda argument: flags.get(argument, as_option(argument)))


def _typed(one: OptionField) -> Any:
    """The type that typer converts to; choices, and what the record reads itself, stay texts."""
    plain: Any = one.item_type if one.item_type in _TYPES and one.declared.read is None else str
    if one.repeatable:
        return list[plain] | None
    return plain if plain is bool else plain | None


def _completion(one: OptionField) -> Callable[[str], list[str]] | None:
    if one.declared.complete is not None:
        return starting(one.declared.complete)
    return starting(lambda _: one.choices) if one.choices else None


def starting(offered: Callable[[str], Iterable[str]]) -> Callable[[str], list[str]]:
    """What completes a word in the shell: those on offer that begin with it."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in offered(incomplete) if word.startswith(incomplete)]

    return complete


def _value(one: OptionField, given: Any, default: Any) -> Any:
    """What the record gets for what typer gives."""
    if one.repeatable and not given:
        given = None
    if given is None:
        if default is MISSING:
            raise _missing(one)
        return default
    if one.declared.read is not None:
        return one.declared.read(given)
    return tuple(given) if isinstance(given, Sequence) and one.several else given


def _missing(one: OptionField) -> UsageError:
    expected = one.declared.expected
    what = one.declared.missing or (f"expected {expected}" if expected else "")
    reason = f"{named(one.name)} is missing" + (f": {what}." if what else ".")
    return UsageError(reason, one.declared.example or _WITHOUT_EXAMPLE, argument=one.name, expected=expected or None)
