"""Draws where sharpness sits, by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import counted, shown
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.report.layer_figures import LayerBar, bars_of, draw_layers
from bnsharp_cli.report.parts_table import axis_of_parts
from bnsharp_cli.workflows.figure_options import FigureOptions
from bnsharp_cli.workflows.figures.measured import FigureRow, MeasuredKind, MeasuredNetworks

_MOST = 60
"""Rows of a picture: as many as a page holds."""

_SLOPE = "slope"


def _parts(measured: Measurement) -> Mapping[str, Any]:
    parts: Mapping[str, Any] = measured.details["parts"]
    return parts


def _divided(found: MeasuredNetworks) -> list[Measurement]:
    return found.records("parts", "a value that is divided by layer, as measure does with --by layer")


def _picture(path: Path, found: MeasuredNetworks, options: FigureOptions, width: float) -> None:
    divided = _divided(found)
    bars = {name: bars_of(_parts(one)["each"]) for name, one in zip(found.names, divided, strict=True)}
    draw_layers(path, _largest(bars), _words(found, divided), width, options.scale)


def _words(found: MeasuredNetworks, divided: Sequence[Measurement]) -> tuple[str, str]:
    axis, diamond = axis_of_parts(divided[0])
    one = divided[0]
    where = f"at δ = {one.details['delta']:g}"
    if any(_parts(each)["of"] != _SLOPE for each in divided):
        return f"|ΔL| / δ of the layer alone, {where}", diamond
    return (axis if len(found.names) == 1 else f"part of {one.name} {where}"), diamond


def _largest(bars: Mapping[str, Sequence[LayerBar]]) -> dict[str, list[LayerBar]]:
    """The largest parts of the first network, and the sum of all others, where a page cannot hold all."""
    first = next(iter(bars.values()))
    if len(first) <= _MOST:
        return {name: [*own] for name, own in bars.items()}
    kept = {bar.name for bar in first[: _MOST - 1]}
    rest = f"{len(first) - len(kept)} others"
    return {
        name: [
            *(bar for bar in own if bar.name in kept),
            LayerBar(rest, math.fsum(bar.value for bar in own if bar.name not in kept)),
        ]
        for name, own in bars.items()
    }


def _rows(found: MeasuredNetworks) -> list[FigureRow]:
    return [
        {
            "network": name,
            "layer": part["name"],
            "value": part["value"],
            "share": part["share"],
            "population": part["population"],
            "low": part.get("low"),
            "high": part.get("high"),
        }
        for name, one in zip(found.names, _divided(found), strict=True)
        for part in _parts(one)["each"]
    ]


def _caption(found: MeasuredNetworks) -> str:
    divided = _divided(found)
    sentences = [f"Where the value sits, by {_parts(divided[0])['by']}: {found.described}"]
    for name, one in zip(found.names, divided, strict=True):
        kind, error = one.largest_error or ("", 0.0)
        sentences.append(
            f"{shown(name)}: {one.name} = {one.value:.4g} ± {error:.2g} {kind} at δ = {one.details['delta']:g} "
            f"({one.status.value}), {counted(len(_parts(one)['each']), 'part')}; {_of(one)}."
        )
    if any(part.get("low") is not None for one in divided for part in _parts(one)["each"]):
        sentences.append("Lines: 95 % intervals, where one is known.")
    return " ".join(sentences)


def _of(measured: Measurement) -> str:
    """What the parts of a value are."""
    if _parts(measured)["of"] != _SLOPE:
        return "a bar is the change of the loss where that layer alone is displaced, over δ: bars do not add up"
    known = measured.details.get("population")
    where = (
        "" if not known else "; diamonds: on the whole split" if known["of"] == "split" else "; diamonds: on fresh data"
    )
    return f"the bars add up to the value{where}"


LAYERS_FIGURE = MeasuredKind(_picture, _rows, _caption)
