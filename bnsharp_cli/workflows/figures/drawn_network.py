"""The networks of a figure, and what its caption says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bnsharp_cli.errors import shown
from bnsharp_cli.io.checkpoints.samples import checkpoint_title
from bnsharp_cli.measurement.landscape.directions import Direction, Surroundings
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.workflows.figure_options import FigureOptions
from bnsharp_cli.workflows.measured_network import MeasuredNetwork


@dataclass(frozen=True)
class DrawnNetwork:
    """One network of a figure.

    Attributes:
        network: on its batches.
        around: what its pictures are drawn from.
        key: of all that decides its numbers; see :func:`~bnsharp_cli.workflows.kept_results.result_key`.
    """

    network: MeasuredNetwork
    around: Surroundings
    key: str

    @property
    def name(self) -> str:
        """The name of its file or sample."""
        return checkpoint_title(self.network.opened.checkpoint.path)

    @property
    def described(self) -> str:
        """The network and its data, for a caption."""
        data, options = self.network.data, self.around.options
        return (
            f"{shown(self.name)} on {data.batches.samples:,} samples of {shown(data.spec)} ({data.split}), batches of "
            f"{data.batches.batch_size}, seed {self.network.data_options.seed}, {self.network.data_options.bn} "
            f"statistics; steps are relative to the partition {options.partition}."
        )


def about_the_sharpest(direction: Direction) -> str:
    """What was measured in the search for a direction; empty where nothing was."""
    found = direction.measured
    if found is None:
        return ""
    _, error = found.largest_error or ("", 0.0)
    return (
        f"The sharpest direction is that of {found.name} = {found.value:.4g} ± {error:.2g} at "
        f"δ = {found.details['delta']:g} ({found.status.value})."
    )


def cost_of(subjects: Sequence[DrawnNetwork]) -> Cost:
    """The passes of all networks together."""
    total = Cost()
    for subject in subjects:
        total = total + subject.around.surface.counter.cost
    return total


def about_figure(
    kind: str, networks: Sequence[DrawnNetwork], options: FigureOptions, caption: str, **more: Any
) -> dict[str, Any]:
    """What a document of numbers says of their figure, so that it can be drawn again.

    Args:
        kind: of the figure.
        networks: in it.
        options: of the figure.
        caption: of the figure.
        more: entries of this kind.
    """
    network = networks[0].network
    settings = {**networks[0].around.options.to_dict(), **vars(options)}
    described = network.document("figure", settings, str)
    entries = ("schema", "command", "version", "data", "environment", "options")
    return {
        **{name: described[name] for name in entries},
        "kind": kind,
        "caption": caption,
        "networks": [one.network.document("figure", {}, str)["checkpoint"] for one in networks],
        "cost": vars(cost_of(networks)),
        **more,
    }
