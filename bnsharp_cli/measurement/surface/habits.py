"""What the code of a network and of its loss was seen to do while it ran, and what a reader must know of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from bnsharp_cli.errors import NotMeasurableError


@dataclass
class Habits:
    """Filled while passes run; shared by all surfaces that were derived from one.

    Attributes:
        differentiates: whether it takes derivatives itself, as networks of energies and forces do. Then it needs a
            graph in every pass, and one that can be differentiated twice.
        narrow: types with fewer digits than float32 that it asked for, autocast's among them.
    """

    differentiates: bool = False
    narrow: set[str] = field(default_factory=set)

    def notes(self, precision: str) -> tuple[str, ...]:
        """What a reader of the result should know.

        Args:
            precision: in which the network was computed instead.
        """
        if not self.narrow:
            return ()
        types = " and ".join(sorted(self.narrow))
        return (f"the network's own casts to {types} were left out: it was computed in {precision} throughout",)


class GraphNeededError(NotMeasurableError):
    """The code takes a derivative in a pass that keeps no graph: the pass is run again with one."""

    def __init__(self) -> None:
        super().__init__(
            "The network takes derivatives in its forward pass, which needs gradients.",
            "Take torch.no_grad() out of the network's forward.",
        )
