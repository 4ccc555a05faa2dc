"""What was measured of networks, and how sure that is: values, profiles over δ and σ, and layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bnsharp_cli.measurement.measures.measurement import Measurement, Status
from bnsharp_cli.measurement.measures.registry import entry_of
from bnsharp_cli.report.pages.inline_svg import inline
from bnsharp_cli.report.pages.page import (
    PageBlock,
    PageCell,
    PageColumn,
    PageFigure,
    PageGallery,
    PageHeading,
    PageTable,
    Tone,
)
from bnsharp_cli.report.pages.page_figures import NetworkCurve, draw_curves
from bnsharp_cli.report.pages.reported import ReportedNetwork, is_several
from bnsharp_cli.report.pages.wording import NO_NUMBER, interval_cell, number_cell, radius_cell

MOST_ROWS = 120
_MOST_LAYERS, _MOST_NETWORKS, _MOST_CURVES = 40, 6, 4
_LINEAR = 0.01
_OF_BN = " A level line means a gradient, a rise in proportion to δ curvature."
_COLUMNS = (
    PageColumn("δ", numeric=True),
    PageColumn("value", numeric=True),
    PageColumn("95 % interval", numeric=True),
    PageColumn("± computed", numeric=True),
    PageColumn("regime"),
    PageColumn("status"),
    PageColumn("passes"),
)


def value_blocks(networks: Sequence[ReportedNetwork]) -> list[PageBlock]:
    """The values of all networks, then the pictures of those that were measured at several radii, then the layers."""
    measured = [one for one in networks if one.measured]
    if not measured:
        return []
    figures = [*_over_radii(measured), *_over_noise(measured)]
    return [_values(measured), *([PageGallery(figures)] if figures else []), *_layers(measured)]


def _values(networks: Sequence[ReportedNetwork]) -> PageTable:
    several = is_several(networks)
    rows = [
        [PageCell(one.name), PageCell(found.name), *_cells(one, found)]
        if several
        else [PageCell(found.name), *_cells(one, found)]
        for one in networks
        for found in one.measured
    ]
    columns = [*([PageColumn("network")] if several else []), PageColumn("measure"), *_COLUMNS]
    split = "on the whole split, or on fresh data where the size of the split is not known"
    notes = (
        f"95 % interval: what the value may be {split}; {NO_NUMBER} where none is known.",
        "± computed: the largest error of the computation, of quadrature, rounding or random draws.",
        "passes: forwards (F) and backwards (B) over all samples.",
    )
    return PageTable.cut("Values, with what is known of their errors", columns, rows, MOST_ROWS, notes)


def _cells(network: ReportedNetwork, found: Measurement) -> list[PageCell]:
    delta = found.details.get("delta")
    interval = network.interval(found.name, delta)
    ends = (None, None) if interval is None else (interval.low, interval.high)
    return [
        radius_cell(delta),
        number_cell(found.value),
        interval_cell(*ends),
        number_cell(computation_error(found), 2),
        PageCell(regime_word(found)),
        PageCell(found.status.value, tone=_tone(found.status)),
        PageCell(found.cost.passes, found.cost.forward + found.cost.backward),
    ]


def _tone(status: Status) -> Tone:
    return "unsure" if status in {Status.ITERATION_LIMIT, Status.BELOW_RESOLUTION} else ""


def computation_error(found: Measurement) -> float | None:
    """The larger error of quadrature, rounding, bracket and random draws, without what more samples would change."""
    own = vars(found.uncertainty)
    kinds = [own["quadrature"], own["rounding"], own["bracket"]]
    kinds += [own["sampling"]] if found.status is Status.SAMPLED else []
    return max((error for error in kinds if error is not None), default=None)


def regime_word(found: Measurement) -> str:
    """Whether a value comes from the slope or from curvature; a dash for what has no such regime."""
    ratio = found.details.get("limit_ratio")
    if ratio is None or found.status is Status.BELOW_RESOLUTION:
        return NO_NUMBER
    return "linear" if abs(ratio - 1) <= _LINEAR else "curved"


def _over_radii(networks: Sequence[ReportedNetwork]) -> Iterator[PageFigure]:
    """A picture for each measure that was taken at several radii."""
    names = dict.fromkeys(found.name for one in networks for found in one.measured if "delta" in found.details)
    drawn = [(name, curves) for name in names if (curves := _curves(networks, name))]
    for number, (name, curves) in enumerate(drawn[:_MOST_CURVES], 1):
        title = f"{name} against δ"
        said = "; ".join(f"{one.label}: {_points(one)}" for one in curves)
        said_of_bn = _OF_BN if name.startswith("bn") else ""
        yield PageFigure(
            inline(draw_curves(curves, "δ", name), f"radii-{number}", title, said),
            title,
            said,
            f"{title}. Bars are 95 % intervals where known, and else errors of the computation.{said_of_bn}",
        )


def _curves(networks: Sequence[ReportedNetwork], name: str) -> list[NetworkCurve]:
    curves = []
    for network in networks:
        own = [found for found in network.measured if found.name == name and found.value == found.value]
        points = sorted((*_point(network, found),) for found in own)
        if len(points) > 1:
            curves.append(NetworkCurve(network.name, tuple(points)))
    return curves[:_MOST_NETWORKS]


def _point(network: ReportedNetwork, found: Measurement) -> tuple[float, float, float, float]:
    """δ, the value, and the ends of its interval or of what its errors leave."""
    delta, value = float(found.details["delta"]), found.value
    interval = network.interval(found.name, delta)
    if interval is not None and interval.low is not None and interval.high is not None:
        return delta, value, min(interval.low, value), max(interval.high, value)
    error = computation_error(found) or 0.0
    return delta, value, value - error, value + error


def _points(curve: NetworkCurve) -> str:
    return ", ".join(f"{value:.3g} at {place:g}" for place, value, _, _ in curve.points)


def _over_noise(networks: Sequence[ReportedNetwork]) -> Iterator[PageFigure]:
    curves = [
        NetworkCurve(
            network.name,
            tuple(
                (one["sigma"], one["value"], one["value"] - one["sampling"], one["value"] + one["sampling"])
                for one in found.details["by_sigma"]
            ),
        )
        for network in networks
        for found in network.measured
        if len(found.details.get("by_sigma", ())) > 1
    ][:_MOST_NETWORKS]
    if curves:
        said = "; ".join(f"{one.label}: {_points(one)}" for one in curves)
        title = "noise against σ"
        caption = f"{title}: the mean change of the loss by random noise of the size σ, with its standard error."
        svg = inline(draw_curves(curves, "σ", "mean change of the loss"), "noise", title, said)
        yield PageFigure(svg, title, said, caption)


def _layers(networks: Sequence[ReportedNetwork]) -> Iterator[PageBlock]:
    divided = [(network, found) for network in networks for found in network.measured if found.details.get("parts")]
    if divided:
        yield PageHeading("Where it sits")
    for network, found in divided[: 2 * _MOST_NETWORKS]:
        parts, known = found.details["parts"], found.details.get("population")
        columns = [PageColumn(parts["by"]), PageColumn("part", numeric=True), PageColumn("share", numeric=True)]
        if known:
            columns.append(
                PageColumn("on the whole split" if known["of"] == "split" else "on fresh data", numeric=True)
            )
        rows = [
            [
                PageCell(part["name"]),
                number_cell(part["value"], 3),
                PageCell(f"{100 * part['share']:.1f} %", part["share"], share=min(max(part["share"], 0.0), 1.0)),
                *([number_cell(part["population"], 3)] if known else []),
            ]
            for part in parts["each"]
        ]
        of = f" of {network.name}" if is_several(networks) else ""
        caption = f"{found.name}{of} at δ = {found.details['delta']:g}, by {parts['by']}"
        yield PageTable.cut(caption, columns, rows, _MOST_LAYERS, (_of_parts(parts["of"], parts["by"]),))


def _of_parts(of: str, by: str) -> str:
    if of == "slope":
        return f"part: what the {by} adds to the value; the parts add up to it."
    return f"part: the change of the loss where the {by} alone is displaced, over δ; these do not add up to the value."


def is_sharpness(name: str) -> bool:
    """Whether a measure says how sharp a minimum is, and is no control."""
    return entry_of(name).large_is_sharp is not None
