"""Commands whose options may stand in a file too: a flag wins over the file, the file over the default."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import MISSING, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from bnsharp_cli.cli import results
from bnsharp_cli.cli.one_source import OneSourceCommand
from bnsharp_cli.cli.signature import Command, CommandOption, options_of, with_options
from bnsharp_cli.cli.streams import say
from bnsharp_cli.errors import UsageError, named, shown, spelt
from bnsharp_cli.option_records import OptionField, never
from bnsharp_cli.workflows.configuration import Configuration, ConfigurationOptions, read_configuration
from bnsharp_cli.workflows.configured_values import as_given, toml
from bnsharp_cli.workflows.input_files import require_no_input

_LINE = 32
"""Columns before it is said where a value comes from."""

_QUIET, _SHOW = "quiet", "show_config"


@dataclass(frozen=True)
class _Origins:
    """The origin of each option of the running command.

    Attributes:
        command: its name.
        options: what it has.
        typed: parameters that the command line gave.
        configuration: the file; None for none.
        read: what the file says, by parameter, where the command line says nothing.
    """

    command: str
    options: Mapping[str, CommandOption]
    typed: frozenset[str]
    configuration: Configuration | None = None
    read: Mapping[str, Any] = field(default_factory=dict)

    def of(self, key: str) -> str:
        """The origin of one, in words."""
        if key in self.typed:
            return "command line"
        return shown(self.configuration.path) if self.configuration and key in self.read else "default"


_commands: dict[str, Command] = {}
_origins: ContextVar[_Origins] = ContextVar("origins")


@cache
def options_of_command(name: str) -> Mapping[str, CommandOption]:
    """The options of a command by its name; found when they are asked for, because that takes time."""
    return options_of(_commands[name])


def options_by_command() -> Mapping[str, Mapping[str, CommandOption]]:
    """The options of every command."""
    return {name: options_of_command(name) for name in _commands}


class ConfiguredCommand(OneSourceCommand):
    """A command that takes from a file what the command line does not give."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as typer does, and read the file.

        Raises:
            UsageError: the file cannot be used.
        """
        _, _, order = self.make_parser(ctx).parse_args(args=[*args])
        typed = frozenset(one.name for one in order)
        with _without_requirements(self, _SHOW in typed):
            rest = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            self._configure(ctx.params, typed)
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command. An error of a value that the file gave names the file.

        Raises:
            UsageError: as the command does.
        """
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise _of_the_file(error, _origins.get()) from error

    def _configure(self, parameters: dict[str, Any], typed: frozenset[str]) -> None:
        """Put what the file says where typer put defaults."""
        command = str(self.name)
        options = options_of_command(command)
        _origins.set(_Origins(command, options, typed))
        asked = ConfigurationOptions(**{name: parameters[name] for name in ("config", "no_config", _SHOW)})
        configuration = read_configuration(asked, _flags_by_command)
        if configuration is None:
            return
        stated = configuration.tables.get(command, {})
        flags = {key: one.field.flag for key, one in options.items() if key not in typed}
        read = {key: stated[flag] for key, flag in flags.items() if flag in stated}
        origins = _Origins(command, options, typed, configuration, read)
        _origins.set(origins)
        try:
            for key, value in read.items():
                parameters[key] = _taken(options[key].field, value, configuration)
            _require_apart(parameters, origins)
        except UsageError as error:
            raise _of_the_file(error, origins) from error
        if read and not typed & {_QUIET, _SHOW}:
            say(f"bnsharp: options from {shown(configuration.path)}: {', '.join(flags[key] for key in read)}")


def _flags_by_command() -> Mapping[str, Sequence[str]]:
    return {name: [one.field.flag for one in every.values()] for name, every in options_by_command().items()}


def configured(command: Command, name: str) -> Command:
    """``command`` with the options of a configuration file, as typer registers it by this name."""
    _commands[name] = command
    return with_options(command, ConfigurationOptions, instead=_shown_instead)


def _shown_instead(given: Mapping[str, Any]) -> Callable[[], None] | None:
    return (lambda: _show(given)) if given[_SHOW] else None


def _show(given: Mapping[str, Any]) -> None:
    """Print every option as a table of TOML, and behind each where it comes from."""
    origins = _origins.get()
    lines = [_line(one, given[key], origins.read.get(key), origins.of(key)) for key, one in origins.options.items()]
    with results.on_stdout():
        results.print_text("\n".join([f"[{origins.command}]", *lines]))


def _line(option: CommandOption, given: Any, written: Any, origin: str) -> str:
    """An option as a line of TOML.

    Args:
        option: its declaration and default.
        given: what the command gets; None or empty for the default.
        written: in the file, for values that are read from texts, which look better there.
        origin: where it comes from.
    """
    declared, flag = option.field.declared, option.field.flag
    value = option.default if given in (None, []) else given
    if value in (None, MISSING, ()):
        instead = f": {declared.shown_default}" if declared.shown_default else ""
        return f"# {flag} is not set{instead}"
    if written is not None and declared.read is not None:
        value = written
    return f"{f'{flag} = {toml(value)}':{_LINE}}  # {origin}"


def _taken(one: OptionField, value: Any, configuration: Configuration) -> Any:
    """A value of the file, unless only a file that the user named may have it.

    Raises:
        UsageError: it has none of the option's types, or is not harmless.
    """
    given = as_given(one, value, configuration.path.parent)
    harmless = one.declared.harmless
    if configuration.is_named or harmless is None or value is False or harmless(value):
        return given
    raise UsageError(
        f"{named(one.name)}: it makes the command write, fetch or run code, which a file that nobody named may not ask "
        "for.",
        f"If the file is yours, name it: {named('config')} {shown(configuration.path)}.",
        argument=one.name,
        expected="an option that only reads",
        found=shown(value),
    )


def _require_apart(parameters: Mapping[str, Any], origins: _Origins) -> None:
    """Refuse to write over the file itself.

    Raises:
        UsageError: an option names it as what is written.
    """
    assert origins.configuration is not None
    for key, one in origins.options.items():
        path = parameters[key]
        if one.field.declared.harmless is never and isinstance(path, Path):
            require_no_input(path, one.field.name, [origins.configuration.path])


def _of_the_file(error: UsageError, origins: _Origins) -> UsageError:
    """An error about a value of the file, which then names the file and spells the option as the file does."""
    by_name = {origins.options[key].field.name: origins.options[key].field.flag for key in origins.read}
    configuration = origins.configuration
    if error.argument not in by_name or configuration is None or error.path is not None:
        return error
    key = configuration.key(origins.command, by_name[error.argument])

    def spelling(argument: str) -> str:
        return key if argument == error.argument else named(argument)

    fields = {**error.fields, "path": configuration.path}
    return UsageError(spelt(error.marked_reason, spelling), spelt(error.marked_remedy, spelling), **fields)


@contextmanager
def _without_requirements(command: TyperCommand, asked: bool) -> Iterator[None]:
    """Let arguments be missing meanwhile, if that is asked for."""
    required = [one for one in command.params if asked and one.required]
    for one in required:
        one.required = False
    try:
        yield
    finally:
        for one in required:
            one.required = True
