"""Data are named once: of several ``--data`` the parser would take the last, which is not what was meant."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from bnsharp_cli.errors import UsageError, named

_DATA = ("data", "test_data")


class OneSourceCommand(TyperCommand):
    """A command that refuses several data."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as typer does.

        Raises:
            UsageError: data are named several times.
        """
        rest = super().parse_args(ctx, [*args])
        _, _, order = self.make_parser(ctx).parse_args(args=[*args])
        for data in _DATA:
            times = sum(one.name == data for one in order)
            if times > 1 and not ctx.resilient_parsing:
                raise UsageError(
                    f"{named(data)} is given {times} times, and data are read from one place.",
                    f"Measure one after the other, each with its own {named(data)}; or make one folder, in whose class "
                    "folders are links to the images of all.",
                    argument=data,
                    expected="one source",
                    found=f"{times}",
                )
        return rest
