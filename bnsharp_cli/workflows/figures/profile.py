"""The loss along lines through networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bnsharp_cli.errors import counted
from bnsharp_cli.measurement.landscape.directions import Direction, along_gradient, random_direction, sharpest
from bnsharp_cli.measurement.landscape.lines import Line, even_steps, line_along
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.report.figure_values import write_values
from bnsharp_cli.report.landscape_figures import LinesOfNetwork, draw_lines
from bnsharp_cli.workflows.figure_options import FigureFiles, FigureOptions
from bnsharp_cli.workflows.figures.drawn_network import DrawnNetwork, about_figure, about_the_sharpest, cost_of
from bnsharp_cli.workflows.figures.kind import FigureKind


def _draw_profile(subjects: Sequence[DrawnNetwork], options: FigureOptions, files: FigureFiles) -> tuple[str, Cost]:
    """L along the sharpest direction, the gradient and random ones, of every network."""
    steps, drawn, rows, sentences = even_steps(options.reach), [], [], []
    for subject in subjects:
        around = subject.around
        directions = [sharpest(around), along_gradient(around)]
        directions += [random_direction(around, number) for number in range(options.random)]
        most = Cost(forward=len(steps) * len(directions))
        with around.surface.progress.stage(subject.name, most):
            lines = tuple(_counted_lines(subject, directions, steps, options))
        drawn.append(LinesOfNetwork(subject.name, around.options.delta, lines))
        rows += [row for line in lines for row in _rows(subject.name, line)]
        sentences.append(subject.described)
        sentences.append(about_the_sharpest(directions[0]))
    draw_lines(files.plot, drawn, files.width, options.scale)
    seeds = (
        f"{options.random} random directions (seeds from {subjects[0].around.options.seed} on; the band is their range)"
    )
    caption = " ".join(
        [
            "Loss along the sharpest direction, along the gradient",
            f"and along {seeds}." if options.random else "only.",
            *sentences,
            f"Dotted: ±δ. {counted(len(steps), 'step')} a line.",
        ]
    )
    write_values(files.values, rows, about_figure("profile", subjects, options, caption))
    return caption, cost_of(subjects)


def _counted_lines(
    subject: DrawnNetwork, directions: Sequence[Direction], steps: Sequence[float], options: FigureOptions
) -> Iterator[Line]:
    right = options.accuracy and subject.network.accuracy is not None
    for direction in directions:
        yield line_along(subject.around, direction, steps, right=right)


def _rows(name: str, line: Line) -> Iterator[Mapping[str, Any]]:
    accuracies: Sequence[float | None] = line.accuracies or [None] * len(line.steps)
    for step, loss, accuracy in zip(line.steps, line.losses, accuracies, strict=True):
        yield {"network": name, "direction": line.name, "step": step, "loss": loss, "accuracy": accuracy}


PROFILE_FIGURE = FigureKind(_draw_profile)
