"""The density of the Hessian's eigenvalues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bnsharp_cli.errors import counted, shown
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.report.spectrum_figures import Spectrum, draw_spectra
from bnsharp_cli.workflows.figure_options import FigureOptions
from bnsharp_cli.workflows.figures.measured import FigureRow, MeasuredKind, MeasuredNetworks

_SURE = 0.1
"""A Ritz value is marked where its residual is at most this share of it."""


def _measured(found: MeasuredNetworks) -> list[Measurement]:
    return found.records("density", "the density of eigenvalues, as measure finds it with --measure hessian")


def _marked(measured: Measurement) -> list[dict[str, float]]:
    """The largest eigenvalues that the Lanczos run has found."""
    own = [{"value": measured.value, "residual": measured.details["residual"]}]
    told = measured.details.get("largest") or own
    return [one for one in told if one["residual"] <= _SURE * abs(one["value"])]


def _picture(path: Path, found: MeasuredNetworks, options: FigureOptions, width: float) -> None:
    spectra = [_spectrum(name, one) for name, one in zip(found.names, _measured(found), strict=True)]
    draw_spectra(path, spectra, width, options.scale)


def _spectrum(name: str, measured: Measurement) -> Spectrum:
    density = measured.details["density"]
    return Spectrum(
        name,
        tuple(density["eigenvalues"]),
        tuple(density["density"]),
        tuple(density.get("error") or ()),
        tuple(one["value"] for one in _marked(measured)),
        float(measured.details["smallest"]),
    )


def _rows(found: MeasuredNetworks) -> list[FigureRow]:
    return [row for name, one in zip(found.names, _measured(found), strict=True) for row in _of(name, one)]


def _of(name: str, measured: Measurement) -> list[FigureRow]:
    """The density, a row for each place, and the largest eigenvalues, whose error is their residual."""
    density: dict[str, Any] = measured.details["density"]
    errors = density.get("error") or [None] * len(density["density"])
    places = zip(density["eigenvalues"], density["density"], errors, strict=True)
    rows: list[FigureRow] = [
        {"network": name, "what": "density", "eigenvalue": place, "density": height, "error": error}
        for place, height, error in places
    ]
    told = measured.details.get("largest") or [{"value": measured.value, "residual": measured.details["residual"]}]
    rows += [
        {"network": name, "what": "eigenvalue", "eigenvalue": one["value"], "density": None, "error": one["residual"]}
        for one in told
    ]
    return rows


def _caption(found: MeasuredNetworks) -> str:
    return " ".join(
        [
            f"Density of the eigenvalues of D H D, the Hessian between the blocks' radii: {found.described}",
            *(_sentence(name, one) for name, one in zip(found.names, _measured(found), strict=True)),
        ]
    )


def _sentence(name: str, measured: Measurement) -> str:
    density, details = measured.details["density"], measured.details
    runs = density.get("runs", 1)
    error = "" if runs == 1 else " (band: ± a standard error)"
    broadened = f", each eigenvalue broadened by {density['broadening']:.3g}" if "broadening" in density else ""
    kind, worst = measured.largest_error or ("", 0.0)
    marked = counted(len(_marked(measured)), "largest eigenvalue")
    trace_error = "" if details["trace_error"] is None else f" ± {details['trace_error']:.2g}"
    return (
        f"{shown(name)}: {counted(runs, 'Lanczos run')} from random vectors{error}{broadened}; λ_max = "
        f"{measured.value:.4g} ± {worst:.2g} {kind} ({measured.status.value}), "
        f"trace {details['trace']:.4g}{trace_error}; "
        f"triangles: the {marked} with a residual of at most {_SURE:.0%} of it."
    )


SPECTRUM_FIGURE = MeasuredKind(_picture, _rows, _caption)
