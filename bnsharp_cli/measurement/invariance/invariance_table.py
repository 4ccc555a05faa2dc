"""What every measure says of copies that compute the same: a row for each measure, with its verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.invariance.function_copies import FunctionCopies, FunctionCopy
from bnsharp_cli.measurement.invariance.invariance_row import InvarianceRow, factor
from bnsharp_cli.measurement.measures.survival import Rescaling
from bnsharp_cli.measurement.measures.tables import aligned, as_frame, as_html, folded

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _farthest(ratios: Sequence[float]) -> float:
    """The ratio that is farthest from 1 on a logarithmic axis; NaN where an error hides one.

    >>> _farthest([1.0, 0.01, 50.0])
    0.01
    """
    if any(math.isnan(ratio) for ratio in ratios):
        return math.nan
    return max(ratios, key=lambda ratio: abs(math.log(ratio)) if ratio > 0 else math.inf)


@dataclass(frozen=True, repr=False)
class InvarianceTable:
    """Every measure on copies that compute the same; it shows itself as a table, with a sentence for each measure.

    Attributes:
        rows: the measures.
        blocks: the paper's partition.
        made: the copies, and which rescalings the network does not have.
        notes: what a reader should know of the network.

    >>> import torch
    >>> from bnsharp_cli import invariance_table
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> table = invariance_table(model, [(torch.ones(2, 4), torch.arange(2))], measure="delta-linf")
    >>> table["delta-linf"].verdict.meaning
    'anything you like'
    """

    rows: tuple[InvarianceRow, ...]
    blocks: Blocks
    made: FunctionCopies
    notes: tuple[str, ...] = ()

    @property
    def copies(self) -> tuple[FunctionCopy, ...]:
        """The copies, without the network itself."""
        return self.made.copies

    @property
    def kept(self) -> tuple[Any, ...]:
        """The copies for whoever saves them."""
        return tuple(one.rescaled for one in self.copies)

    def __getitem__(self, name: str) -> InvarianceRow:
        """The row of one measure."""
        return next(row for row in self.rows if row.name == name)

    def to_dict(self, spelling: Callable[[str], str] = str) -> dict[str, Any]:
        """Plain containers, as in the JSON schema ``bnsharp/1``.

        Args:
            spelling: of the arguments that sentences name.
        """
        return {
            "copies": [one.to_dict() for one in self.copies],
            "missing": {kind.value: why for kind, why in self.made.missing.items()},
            "rows": [row.to_dict(spelling) for row in self.rows],
        }

    def to_frame(self) -> Any:
        """A ``pandas.DataFrame`` with a row for each measure and a column for each copy.

        Raises:
            BnsharpError: pandas is not installed.
        """
        rows = [
            {
                "measure": row.name,
                "verdict": row.verdict.value,
                **{name: one.value for name, one in row.readings.items()},
            }
            for row in self.rows
        ]
        return as_frame(rows)

    def plot(self, title: str = "one function, and what is said of its copies") -> Figure:
        """Every measure on every copy, relative to the original, as a figure of matplotlib.

        In a notebook it shows itself; ``plot().savefig("copies.png")`` writes a file.

        Args:
            title: above the picture.
        """
        from bnsharp_cli.figures import draw_ratios

        names = [one.name for one in self.copies]
        ratios = {row.name: [row.times(name) for name in names] for row in self.rows if row.readings}
        return draw_ratios(names, ratios, title)

    @property
    def lines(self) -> list[str]:
        """What was rescaled, and what could not be, a line each."""
        said = []
        for kind in Rescaling:
            own = [one for one in self.copies if one.kind == kind]
            if own:
                drift = max(one.loss_drift for one in own)
                said.append(
                    f"{kind}, {kind.meaning}: {', '.join(one.name for one in own)}; the loss moves by {drift:.0e}"
                )
            elif kind in self.made.missing:
                said.append(f"{kind}, {kind.meaning}: {self.made.missing[kind]}")
        return [*said, *self._on_attention()]

    def _on_attention(self) -> list[str]:
        """By which factor the rescalings of attention move each measure, in a line; nothing where there are none."""
        names = [one.name for one in self.copies if one.kind == Rescaling.ATTENTION]
        if not names:
            return []
        factors = {row.name: _farthest([row.times(name) for name in names]) for row in self.rows if row.readings}
        moved = [f"{name} × {factor(ratio)}" for name, ratio in factors.items() if not math.isnan(ratio) and ratio != 1]
        same = [name for name, ratio in factors.items() if ratio == 1]
        hidden = [name for name, ratio in factors.items() if math.isnan(ratio)]
        others = {"the same": same, "hidden by their errors": hidden}
        said = [", ".join(moved) or "nothing", *(f"{how}: {', '.join(own)}" for how, own in others.items() if own)]
        return [f"{Rescaling.ATTENTION} moves {'; '.join(said)}"]

    @property
    def cells(self) -> list[Sequence[str]]:
        """The table, its headings first."""
        return [("measure", "value", "smallest", "largest", "ratio", "verdict"), *(row.cells for row in self.rows)]

    def __repr__(self) -> str:
        """The table, and a sentence for each measure, within 80 columns."""
        sentences = (*self.lines, *(row.sentence for row in self.rows), *self.notes)
        return "\n".join([aligned(self.cells), "", *(folded(sentence.split(), "  ") for sentence in sentences)])

    def _repr_html_(self) -> str:
        """The same as tables, for notebooks."""
        return as_html(self.cells) + as_html([["verdict"], *([row.sentence] for row in self.rows)])
