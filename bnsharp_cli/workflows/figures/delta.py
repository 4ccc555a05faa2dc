"""Values against δ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from bnsharp_cli.errors import shown
from bnsharp_cli.measurement.comparison.value_interval import ValueInterval
from bnsharp_cli.measurement.measures.measurement import Measurement, Status
from bnsharp_cli.report.profile_figures import NetworkProfile, ProfilePoint, draw_profiles_of_networks
from bnsharp_cli.report.terminal import is_linear
from bnsharp_cli.workflows.figure_options import FigureOptions
from bnsharp_cli.workflows.figures.measured import FigureRow, MeasuredKind, MeasuredNetworks

_Found = tuple[str, Measurement, ValueInterval]
"""A network, one value of it, and the interval of that."""


def _each(found: MeasuredNetworks) -> Iterator[_Found]:
    """Every measure that has a radius, of every network, by ascending δ."""
    for name, result, values in zip(found.names, found.results, found.values, strict=True):
        intervals = {(one.measure, one.delta): one for one in values if one.delta is not None}
        for measure, profile in result.measured.profiles.items():
            for one in sorted(profile, key=lambda one: one.details.get("delta", 0.0)):
                interval = intervals.get((measure, one.details.get("delta", 0.0)))
                if interval is not None:
                    yield name, one, interval


def _picture(path: Path, found: MeasuredNetworks, options: FigureOptions, width: float) -> None:
    grouped = groupby(_each(found), key=lambda each: (each[0], each[2].measure))
    profiles = [NetworkProfile(*key, tuple(_point(*each[1:]) for each in own)) for key, own in grouped]
    draw_profiles_of_networks(path, profiles, width, options.scale)


def _point(measured: Measurement, interval: ValueInterval) -> ProfilePoint:
    """A value with its interval; with the errors of its computation where no interval is known."""
    if interval.low is None or interval.high is None:
        error = _computed(measured)
        interval = replace(interval, low=interval.value - error, high=interval.value + error)
    return ProfilePoint(interval, is_linear(measured), measured.details.get("limit"))


def _computed(measured: Measurement) -> float:
    """What the computation leaves open: the integral, rounding and brackets."""
    errors = measured.uncertainty
    return sum(abs(error) for error in (errors.quadrature, errors.rounding, errors.bracket) if error)


def _rows(found: MeasuredNetworks) -> list[FigureRow]:
    return [_row(*each) for each in _each(found)]


def _row(name: str, measured: Measurement, interval: ValueInterval) -> FigureRow:
    linear = is_linear(measured)
    return {
        "network": name,
        "measure": interval.measure,
        "delta": interval.delta,
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "error": _computed(measured),
        "regime": None if linear is None else "linear" if linear else "beyond",
        "limit": measured.details.get("limit"),
        "status": measured.status.value,
    }


def _caption(found: MeasuredNetworks) -> str:
    names = ", ".join(shown(name) for name in found.names)
    sentences = [f"Values against δ of {names}: {found.described}", found.about_bars(one for *_, one in _each(found))]
    each = [(measured, is_linear(measured)) for _, measured, _ in _each(found)]
    if any(linear is not None for _, linear in each):
        sentences.append(
            "Filled marks: linear regime, limit/value within 1 % of one, where the value is the block-scaled gradient "
            "norm; dotted: the limit for δ → 0. Open marks: curvature speaks."
        )
    if any(measured.status is Status.BELOW_RESOLUTION for measured, _ in each):
        sentences.append("Crosses: no more than rounding.")
    climbing = {measured.details["delta"] for measured, _ in each if measured.status is Status.ITERATION_LIMIT}
    if climbing:
        radii = ", ".join(f"{radius:g}" for radius in sorted(climbing))
        sentences.append(f"At δ = {radii} a search was still climbing: a value may be short there.")
    return " ".join(sentences)


DELTA_FIGURE = MeasuredKind(_picture, _rows, _caption)
