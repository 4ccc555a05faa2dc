"""What a kind of figure is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bnsharp_cli.errors import UsageError, counted
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.workflows.figure_options import FigureFiles, FigureOptions
from bnsharp_cli.workflows.figures.drawn_network import DrawnNetwork
from bnsharp_cli.workflows.options import Data


def _any_options(checkpoints: Sequence[Path], options: FigureOptions) -> None:
    """No number of checkpoints is refused."""


def _anything(data: Data, measuring: MeasureOptions) -> None:
    """No option is refused."""


@dataclass(frozen=True)
class FigureKind:
    """One kind of figure.

    Attributes:
        draw: measures, writes the picture and its numbers, and answers with the caption and the cost.
        networks: how many it shows; None for one or more.
        refusal: the sentence for another number of them.
        remedy: what to do then.
        require: refuses options with which there is no such figure, by a :class:`~bnsharp_cli.errors.UsageError`.
        require_options: refuses numbers of networks that do not fit the options, in the same way.
    """

    draw: Callable[[Sequence[DrawnNetwork], FigureOptions, FigureFiles], tuple[str, Cost]]
    networks: int | None = None
    refusal: str = ""
    remedy: str = ""
    require: Callable[[Data, MeasureOptions], None] = _anything
    require_options: Callable[[Sequence[Path], FigureOptions], None] = _any_options

    def require_number(self, checkpoints: Sequence[Path]) -> None:
        """Refuse another number of networks than the figure shows.

        Raises:
            UsageError: a landscape of several, or what lies between one or three.
        """
        if self.networks is not None and len(checkpoints) != self.networks:
            raise UsageError(
                self.refusal,
                self.remedy,
                argument="checkpoint",
                expected=counted(self.networks, "checkpoint"),
                found=counted(len(checkpoints), "checkpoint"),
            )
