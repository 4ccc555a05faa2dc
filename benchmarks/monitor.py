"""What does a monitor cost beside training, with the defaults of ``SharpnessMonitor``?

    python -m benchmarks.monitor [--cifar folder:DIR] [--minutes 4] [--only lenet]

Each network trains for so many minutes, with batches of 32, by the loop of the README, which calls the monitor after
every epoch, and again by one that calls it after every step. A row has the seconds of an epoch, those of a measurement
(median), how many measurements there were, and what all of them took of the time of training. The first one is paid
afterwards, so a run that is shorter than 50 measurements pays more. The goal: at most 2 %.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.trained_networks import SUBJECTS, cifar, digits
from bnsharp_cli import SharpnessMonitor

RUNS = ("lenet-bn digits", "lenet-bn cifar")
BATCH = 32
CALLS = ("epoch", "step")


@dataclass(frozen=True)
class Run:
    """A run that a monitor has followed.

    Attributes:
        epochs: how many it had.
        records: the monitor's.
        training: seconds outside of the monitor.
    """

    epochs: int
    records: list[dict[str, float]]
    training: float

    @property
    def measuring(self) -> list[float]:
        """Seconds of each measurement."""
        return [record["seconds"] for record in self.records]


def followed(name: str, loader: DataLoader[tuple[torch.Tensor, ...]], seconds: float, call: str) -> Run:
    """Train one network for some time."""
    torch.manual_seed(0)
    model = SUBJECTS[name].make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    monitor = SharpnessMonitor(loader)
    begin, steps, epoch = time.perf_counter(), 0, 0
    while time.perf_counter() - begin < seconds:
        for inputs, targets in loader:
            optimizer.zero_grad()
            functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            steps += 1
            if call == "step":
                monitor(model, step=steps)
        epoch += 1
        if call == "epoch":
            monitor(model, epoch=epoch)
    whole = time.perf_counter() - begin
    return Run(epoch, monitor.records, whole - sum(record["seconds"] for record in monitor.records))


def table(subjects: list[str], images: str, seconds: float) -> Iterator[str]:
    """A row for every run."""
    yield "| network | called after each | epoch, s | measurement, s | measurements | share |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for name in subjects:
        data = digits() if name.endswith("digits") else cifar(images)
        loader = DataLoader(TensorDataset(*data), BATCH, shuffle=True)
        for call in CALLS:
            run = followed(name, loader, seconds, call)
            spent, epoch = run.measuring, run.training / run.epochs
            cells = [f"{epoch:.2f}", f"{median(spent):.2f}", f"{len(spent)}", f"{sum(spent) / run.training:.2%}"]
            yield f"| {name} | {call} | {' | '.join(cells)} |"


def main() -> None:
    """Parse the command line, run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", default="", help="CIFAR-10 images, as for bnsharp measure --data; none by default")
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--only", default="", help="the networks whose name holds this")
    options = parser.parse_args()
    subjects = [name for name in RUNS if options.only in name and (options.cifar or name.endswith("digits"))]
    for line in table(subjects, options.cifar, 60 * options.minutes):
        print(line, flush=True)


if __name__ == "__main__":
    main()
