"""Pictures, drawn without a display."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bnsharp_cli.errors import UsageError
from bnsharp_cli.figures import BALL, OURS, Curve, columns, draw_nodes, label_segment, new_axes
from bnsharp_cli.io.files.atomic_writing import write_atomically

_FORMATS = ("png", "svg", "pdf")


def require_format(path: Path) -> None:
    """Refuse a picture format before anything is measured.

    Raises:
        UsageError: an ending that is none of .png, .svg, .pdf.
    """
    if path.suffix.lower().removeprefix(".") not in _FORMATS:
        raise UsageError.of("plot", "a file ending in .png, .svg or .pdf", path.name, "Rename it.")


def plot_segments(
    path: Path, sharpest: Curve, nodes: Curve, ball: Curve, delta: float, labels: tuple[str, str], title: str
) -> None:
    """Draw the loss change along the sharpest direction, with the quadrature nodes, and along the ball's.

    Args:
        path: where to write the picture.
        sharpest: pairs (t, ΔL) along the sharpest direction.
        nodes: those of them that the value was computed from.
        ball: pairs (t, ΔL) along the direction to the ball's maximum.
        delta: δ.
        labels: of the two curves.
        title: above the picture.
    """
    figure, axes = new_axes(title)
    label_segment(axes, delta)
    axes.plot(*columns(sharpest, delta), color=OURS, lw=2, label=labels[0])
    draw_nodes(axes, nodes, delta)
    axes.plot(*columns(ball, delta), color=BALL, lw=1.4, label=labels[1])
    axes.legend(frameon=False)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a picture in the format that its name ends in, the same bytes each time."""
    FigureCanvasAgg(figure)
    kind = path.suffix.lower().removeprefix(".")
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    write_atomically(path, lambda stream: figure.savefig(stream, format=kind, metadata=metadata), "plot")
