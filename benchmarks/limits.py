"""How often does the interval of ``bnsharp check`` hold the value of the whole split?

    python -m benchmarks.limits [--draws 50] [--samples 512] [--batch-size 64]

The sample networks of digits are measured on draws of their training data, as ``check`` measures them, and each number
is held against that of all 1,437 samples. ``outside`` counts intervals that do not hold it: those below the value and
those above.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint
from bnsharp_cli.measurement.decision.estimate import IntervalEstimate
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.workflows.limited_names import LimitedName
from bnsharp_cli.workflows.limited_quantities import JudgedResult
from bnsharp_cli.workflows.measuring import measure_checkpoint
from bnsharp_cli.workflows.options import Data

NETWORKS = ("digits-small-batch", "digits-large-batch", "digits-small-batch-decay", "digits-large-batch-decay")
MEASURES = ("bn", "noise", "entropy")
LIMITED = ("loss", "accuracy", *MEASURES)


@dataclass(frozen=True)
class Coverage:
    """The intervals of one number of one network.

    Attributes:
        truth: its value on the whole split.
        found: one for each draw.
    """

    truth: float
    found: list[IntervalEstimate]

    @property
    def row(self) -> str:
        """How many are outside, how many are open, and how wide they are, as a factor between the ends."""
        above = sum(one.high is not None and one.high < self.truth for one in self.found)
        below = sum(one.low is not None and one.low > self.truth for one in self.found)
        closed = [(one.low, one.high) for one in self.found if one.low is not None and one.high is not None]
        width = median(high / low for low, high in closed if low > 0) if any(low > 0 for low, _ in closed) else None
        between = "" if width is None else f"{width:.3g}"
        return f"{self.truth:.3g} | {above} + {below} of {len(closed)} | {len(self.found) - len(closed)} | {between}"


def judged(name: str, data: Data) -> JudgedResult:
    """What is measured of a network."""
    measured = measure_checkpoint(embedded_checkpoint(name), data=data, measures=MEASURES)
    return JudgedResult(measured.document(), measured.measured)


def coverages(name: str, draws: int, samples: int, batch_size: int) -> Iterator[tuple[str, Coverage]]:
    """Every number of one network."""
    whole = judged(name, Data(samples=None, batch_size=batch_size))
    drawn = [judged(name, Data(samples=samples, batch_size=batch_size, seed=seed)) for seed in range(1, draws + 1)]
    for text in LIMITED:
        limited = LimitedName.read(text, "limits")
        delta = MeasureOptions.delta if limited.has_radius else None
        every = [one.quantity(limited, delta, MeasureOptions.rtol) for one in (whole, *drawn)]
        known = [one for one in every if one is not None]
        yield text, Coverage(known[0].measurement.value, [one.estimate for one in known[1:]])


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args()
    print("| network | of | whole split | outside | open | upper end / lower end |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name in NETWORKS:
        for text, found in coverages(name, arguments.draws, arguments.samples, arguments.batch_size):
            print(f"| {name} | {text} | {found.row} |", flush=True)


if __name__ == "__main__":
    main()
