"""How often ``bnsharp check`` calls freshly trained networks not invariant: a count over many small networks.

``python -m benchmarks.false_alarms --networks 200 --record alarms.jsonl`` trains networks with seeds 0, 1, 2, … on the
digits, tests each as ``check`` does, and prints the count with its 95 % interval. Every network is invariant by
construction, so each alarm is a false one. Networks that the record holds already are not trained again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from scipy import stats
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.invariance import self_test as tested
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

SAMPLES, MEASURED_BATCH = 1280, 256
EPOCHS, LEARNING_RATES = (2, 4, 8), (0.01, 0.05, 0.1)


@dataclass(frozen=True)
class Outcome:
    """One network.

    Attributes:
        seed: of its weights and batches.
        kind: of the network.
        loss: after training.
        alarm: whether the check called it not invariant.
        alarm_in_float32: whether float32 alone would have.
        deviation: relative, as decided.
        allowed: the largest that passes.
        precision: in which it was decided; empty where the value was not resolved.
    """

    seed: int
    kind: str
    loss: float
    alarm: bool
    alarm_in_float32: bool
    deviation: float
    allowed: float
    precision: str


def network(kind: str) -> nn.Module:
    """An untrained network of a few thousand parameters."""
    if kind == "mlp":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 32), nn.BatchNorm1d(32),
            nn.ReLU(), nn.Linear(32, 10),
        )  # fmt: skip
    if kind == "tanh":
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Linear(32, 10))
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 12, 3, padding=1),
        nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48, 10),
    )  # fmt: skip


KINDS = ("conv", "mlp", "tanh")


def tried(seed: int, images: Tensor, labels: Tensor) -> Outcome:
    """Train network number ``seed`` and test it."""
    torch.manual_seed(seed)
    kind = KINDS[seed % len(KINDS)]
    module = network(kind)
    epochs, rate = EPOCHS[seed // 3 % 3], LEARNING_RATES[seed // 9 % 3]
    optimiser = torch.optim.SGD(module.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(32):
            optimiser.zero_grad()
            functional.cross_entropy(module(images[chosen]), labels[chosen]).backward()
            optimiser.step()
    drawn = torch.randperm(len(images))[:SAMPLES].split(MEASURED_BATCH)
    surface = LossSurface.of(module, [(images[part], labels[part]) for part in drawn])
    point, options = surface.point(), MeasureOptions()
    blocks = find_blocks(surface, point)
    try:
        found = tested.self_test(surface, point, blocks, options)
    except NotMeasurableError:
        return Outcome(seed, kind, surface.value(point), False, False, 0.0, 0.0, "")
    return Outcome(
        seed, kind, surface.value(point), not found.invariant, found.dtype != surface.dtype,
        found.deviation, found.allowed, str(found.dtype).removeprefix("torch."),
    )  # fmt: skip


def interval(count: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of Clopper and Pearson for a rate."""
    found = stats.binomtest(count, trials).proportion_ci(method="exact")
    return float(found.low), float(found.high)


def main() -> None:
    """Go on with the record, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--record", type=Path, default=Path("false_alarms.jsonl"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    known = (
        [Outcome(**json.loads(line)) for line in given.record.read_text().splitlines()] if given.record.exists() else []
    )
    done = {outcome.seed for outcome in known}
    with given.record.open("a") as record:
        for seed in (seed for seed in range(given.networks) if seed not in done):
            known.append(tried(seed, images, labels))
            record.write(json.dumps(asdict(known[-1])) + "\n")
            record.flush()
    judged = [outcome for outcome in known if outcome.precision]
    for name in ("alarm", "alarm_in_float32"):
        count = sum(getattr(outcome, name) for outcome in judged)
        low, high = interval(count, len(judged))
        print(f"{name}: {count} of {len(judged)} networks, 95 % interval {low:.2%} to {high:.2%}")
    print(f"not resolved: {len(known) - len(judged)}")


if __name__ == "__main__":
    main()
