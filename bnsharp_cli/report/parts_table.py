"""The parts of a value, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.report.layer_figures import bars_of, draw_layers
from bnsharp_cli.report.terminal import SpellingConsole

_MOST_ROWS, _MOST_BARS = 20, 30
_MEANINGS = {
    "slope": "{by}: its part of the value; the parts add up",
    "change": "{by}: the change of the loss where it alone is displaced, over δ; these do not add up to the value",
}


def print_parts(out: SpellingConsole, measurements: Sequence[Measurement]) -> None:
    """Print the largest parts of each measurement that has any."""
    for measurement in measurements:
        parts = measurement.details.get("parts")
        if parts:
            _print(out, measurement, parts)


def _print(out: SpellingConsole, measurement: Measurement, parts: Mapping[str, Any]) -> None:
    table, each = Table(box=None, pad_edge=False, header_style="bold"), parts["each"]
    known = measurement.details.get("population")
    table.add_column(f"{measurement.name}, δ = {measurement.details['delta']:g}, by {parts['by']}", overflow="fold")
    table.add_column("part", justify="right")
    table.add_column("share", justify="right")
    if known:
        table.add_column("on the whole split" if known["of"] == "split" else "on fresh data", justify="right")
    for part in each[:_MOST_ROWS]:
        more = [] if not known else ["" if part["population"] is None else f"{part['population']:.3g}"]
        table.add_row(part["name"], f"{part['value']:.3g}", f"{part['share']:.1%}".replace("%", " %"), *more)
    out.print()
    out.print(table)
    if len(each) > _MOST_ROWS:
        rest = sum(part["share"] for part in each[_MOST_ROWS:])
        out.say(f"and {len(each) - _MOST_ROWS:,} more with {rest:.1%} together".replace("%", " %"))
    out.say(_MEANINGS[parts["of"]].format(by=parts["by"]))


def print_shares(out: SpellingConsole, networks: Sequence[tuple[str, Sequence[Measurement]]]) -> None:
    """Print the share that each layer, or block, has in every network, the largest of the first network first.

    Only values that are divided in all networks, in the same way, can stand beside each other.

    Args:
        out: where it is printed.
        networks: names, and what was measured of each.
    """
    shares = [_shares(measurements) for _, measurements in networks]
    for kind in [kind for kind in shares[0] if all(kind in own for own in shares)]:
        measure, delta, by, of = kind
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column(f"{measure}, δ = {delta:g}, shares by {by}", overflow="fold")
        for name, _ in networks:
            table.add_column(name, justify="right", no_wrap=True)
        every = list(dict.fromkeys(part for own in shares for part in own[kind]))
        for part in every[:_MOST_ROWS]:
            table.add_row(part, *(f"{own[kind][part]:.1%}" if part in own[kind] else "–" for own in shares))
        out.print(table)
        if len(every) > _MOST_ROWS:
            out.say(f"and {len(every) - _MOST_ROWS:,} more")
        out.say(_MEANINGS[of].format(by=by))
        out.print()


def _shares(measurements: Sequence[Measurement]) -> dict[tuple[str, float, str, str], dict[str, float]]:
    """The shares by layer or block, the largest first, for each measure, radius and way of dividing."""
    divided = [(one, one.details["parts"]) for one in measurements if "parts" in one.details]
    return {
        (one.name, one.details["delta"], parts["by"], parts["of"]): {
            each["name"]: each["share"] for each in parts["each"]
        }
        for one, parts in divided
    }


def plot_parts(path: Path, measurement: Measurement, title: str) -> None:
    """Draw the largest parts as bars, with those of the population and their intervals where they are known.

    Args:
        path: where to write the picture.
        measurement: one with parts.
        title: above the picture.
    """
    bars = bars_of(measurement.details["parts"]["each"][:_MOST_BARS])
    draw_layers(path, {title: bars}, axis_of_parts(measurement), 7.0)


def axis_of_parts(measurement: Measurement) -> tuple[str, str]:
    """What the axis of a picture of parts shows, and of what a diamond is."""
    known = measurement.details.get("population")
    of = "" if not known else "the whole split" if known["of"] == "split" else "fresh data"
    of_what = f"{measurement.name} {measurement.value:.4g} at δ = {measurement.details['delta']:g}"
    return f"part of {of_what}", f"on {of} (line: 95 % interval)"
