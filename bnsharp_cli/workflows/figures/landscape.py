"""The loss in a plane through one network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bnsharp_cli.errors import counted
from bnsharp_cli.measurement.landscape.directions import SPANS, orthogonal_to
from bnsharp_cli.measurement.landscape.plane import Plane, plane_through
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.report.figure_values import write_values
from bnsharp_cli.report.landscape_figures import draw_plane
from bnsharp_cli.workflows.figure_options import FigureFiles, FigureOptions
from bnsharp_cli.workflows.figures.drawn_network import DrawnNetwork, about_the_sharpest, cost_of
from bnsharp_cli.workflows.figures.kind import FigureKind


def _draw_landscape(subjects: Sequence[DrawnNetwork], options: FigureOptions, files: FigureFiles) -> tuple[str, Cost]:
    """L in a plane through one network."""
    (subject,) = subjects
    around, first_of = subject.around, SPANS[options.span]
    first = first_of(around)
    second = orthogonal_to(around, first, 1)
    with around.surface.progress.stage(subject.name, Cost(forward=options.evaluations)):
        plane = plane_through(around, first, second, options.reach, options.evaluations)
    draw_plane(files.plot, subject.name, plane, files.width, options.scale)
    write_values(files.values, [*_places(subject.name, plane)])
    seed = around.options.seed + 1
    caption = (
        f"Loss in the plane of v ({first.name}) and w ({second.name}, seed {seed}) through θ (cross). "
        f"{subject.described} "
        f"{about_the_sharpest(first)} {counted(len(plane.places), 'evaluation')} at the white dots, "
        "straight lines between them."
    )
    return " ".join(caption.split()), cost_of(subjects)


def _places(name: str, plane: Plane) -> Iterator[Mapping[str, Any]]:
    for (s, t), loss in zip(plane.places, plane.losses, strict=True):
        yield {"network": name, "s": s, "t": t, "loss": loss}


LANDSCAPE_FIGURE = FigureKind(
    _draw_landscape,
    networks=1,
    refusal="A landscape shows one network.",
    remedy="Name one checkpoint; the kind profile shows several.",
)
