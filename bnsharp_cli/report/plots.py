"""Pictures, drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bnsharp_cli.errors import UsageError
from bnsharp_cli.figures import LINE_COLOURS, Curve, columns, label_segment, new_axes
from bnsharp_cli.io.files.atomic_writing import write_atomically

_FORMATS = ("png", "svg", "pdf")
_STYLES = ("-", "--", ":", "-.")


def require_format(path: Path) -> None:
    """Refuse a picture format before anything is measured.

    Raises:
        UsageError: an ending that is none of .png, .svg, .pdf.
    """
    if path.suffix.lower().removeprefix(".") not in _FORMATS:
        raise UsageError.of("plot", "a file ending in .png, .svg or .pdf", path.name, "Rename it.")


@dataclass(frozen=True)
class SegmentCurve:
    """The loss change along the direction of one measurement.

    Attributes:
        measure: its name, such as ``bn``.
        delta: δ.
        curve: pairs (t, ΔL) for t from −δ to δ.
        nodes: those that the value was computed from; empty for a measure without any.
    """

    measure: str
    delta: float
    curve: Curve
    nodes: Curve


def plot_segments(path: Path, segments: Sequence[SegmentCurve], title: str) -> None:
    """Draw the loss change along the direction of each measurement, with the nodes that its value was computed from.

    Of several radii the changes are divided by δ, which BN-Sharpness does too, so that all can be seen on one scale.

    Args:
        path: where to write the picture.
        segments: at least one; a colour stands for a measure, a style of line for a radius.
        title: above the picture.
    """
    figure, axes = new_axes(title)
    radii = list(dict.fromkeys(one.delta for one in segments))
    measures = list(dict.fromkeys(one.measure for one in segments))
    label_segment(axes, radii)
    for one in segments:
        divisor = one.delta if len(radii) > 1 else 1.0
        colour = LINE_COLOURS[measures.index(one.measure) % len(LINE_COLOURS)]
        style = _STYLES[radii.index(one.delta) % len(_STYLES)]
        label = one.measure if len(radii) == 1 else f"{one.measure}, δ = {one.delta:g}"
        axes.plot(*columns(one.curve, one.delta, divisor), color=colour, ls=style, lw=1.6, label=label)
        if one.nodes:
            axes.plot(*columns(one.nodes, one.delta, divisor), "o", color=colour, ms=4)
    axes.legend(frameon=False)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a picture in the format that its name ends in, the same bytes each time."""
    FigureCanvasAgg(figure)
    kind = path.suffix.lower().removeprefix(".")
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    write_atomically(path, lambda stream: figure.savefig(stream, format=kind, metadata=metadata), "plot")
