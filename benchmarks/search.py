"""How far the search falls short: the default and ``--restarts 8`` against the best of 50 starts × 100 iterations.

    python -m benchmarks.search reference [--cifar folder:DIR]   # hours on one core; resumes where it stopped
    python -m benchmarks.search compare [--cifar folder:DIR]     # minutes; prints the table of ACCURACY.md
    python -m benchmarks.search limit --network resnet18 --delta 0.001   # what any number of passes would reach

The reference climbs every start by its own safeguarded power method, on a rule of two nodes and then of six (of
resnet18's starts, the best five go on with six), and answers with the largest integral any start reached. It uses
``SegmentObjective`` for F and its gradient, and none of its search. ``limit`` follows the power method with the
best of seven part steps each time, which no budget pays for: what so many gradients of F can reach at all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torchvision.models import resnet18

from bnsharp_cli.core.point import Point, add_scaled, scaled
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint
from bnsharp_cli.io.data.batches import draw_batches
from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.networks.load_weights import load_weights
from bnsharp_cli.io.networks.network_identity import build_architecture
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.bn_sharpness import bn_sharpness
from bnsharp_cli.measurement.measures.objective import SegmentObjective, objective_at
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.models.lenet import lenet_bn

RESULTS = Path(__file__).with_name("search_reference.jsonl")
RADII = (1e-3, 1e-2, 1e-1)
STARTS, ITERATIONS = 50, 100
_NODES = (2, 6)
_FINAL_NODES = 24
_PATIENCE, _STALLED = (10, 4), 1e-4
_LIMIT, _PARTS = 8, (0.1, 0.15, 0.25, 0.35, 0.5, 0.7, 1.0)
_REFINED = {"resnet18": 5}
"""Of a network whose steps are dear, how many of the starts go on with six nodes: the best ones by two."""

Subject = tuple[LossSurface, Point, Blocks]


def digits(network: nn.Module, target: float, rate: float) -> Subject:
    """``network`` trained on 512 digits until their loss is at most ``target``; measured on the first 256."""
    statistics = Preprocessing(None, (0.305,), (0.376,))
    batches = draw_batches(open_data("digits"), 512, 256, 0, statistics)
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    inputs, targets = (torch.cat(parts) for parts in zip(*batches.batches, strict=True))
    surface = LossSurface.of(network, batches.batches)
    while surface.value(surface.point()) > target:
        network.train()
        for part in torch.randperm(len(inputs), generator=generator).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(network(inputs[part]), targets[part]).backward()
            optimizer.step()
        surface = LossSurface.of(network, batches.batches)
    return _subject(LossSurface.of(network, batches.batches[:1]))


def digits_lenet(target: float, rate: float) -> Callable[[str], Subject]:
    """LeNet-BN on digits, to a loss."""

    def build(_: str) -> Subject:
        torch.manual_seed(0)
        return digits(lenet_bn(image_size=8, in_channels=1, classes=10), target, rate)

    return build


def mlp(_: str) -> Subject:
    """Two normalised layers of 32 units on digits, to loss 1e-2."""
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(64, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU()]
    layers += [nn.Linear(32, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)]
    return digits(nn.Sequential(*layers), 1e-2, 0.02)


def cifar_lenet(data: str) -> Subject:
    """The sample checkpoint on 128 CIFAR-10 images."""
    checkpoint = load_checkpoint(embedded_checkpoint("cifar10-lenet"))
    network = build_architecture(checkpoint.metadata["architecture"], checkpoint.metadata["architecture_options"])
    load_weights(network, checkpoint)
    preprocessing = Preprocessing.from_dict(checkpoint.metadata["preprocessing"])
    return _subject(LossSurface.of(network, draw_batches(open_data(data), 128, 128, 0, preprocessing).batches))


def random_resnet(_: str) -> Subject:
    """The resnet18 of torchvision with random weights, 16 random images of 32 × 32."""
    torch.manual_seed(0)
    network = resnet18(num_classes=10)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(16, 3, 32, 32, generator=generator)
    return _subject(LossSurface.of(network, [(images, torch.randint(10, (16,), generator=generator))]))


NETWORKS: dict[str, Callable[[str], Subject]] = {
    "mlp-bn": mlp,
    "lenet 6e-2": digits_lenet(6e-2, 0.005),
    "lenet 2e-3": digits_lenet(2e-3, 0.01),
    "lenet 1e-4": digits_lenet(1e-4, 0.05),
    "cifar lenet": cifar_lenet,
    "resnet18": random_resnet,
}


def _subject(surface: LossSurface) -> Subject:
    point = surface.point()
    return surface, point, find_blocks(surface, point, "paper")


def objective(subject: Subject, delta: float, nodes: int) -> SegmentObjective:
    """F^{1/2} at the subject's point by a rule of ``nodes``."""
    surface, point, blocks = subject
    return objective_at(surface, point, blocks, MeasureOptions(delta=delta, search_nodes=nodes))


def climb(climbed: SegmentObjective, start: Point, patience: int) -> tuple[Point, int]:
    """The best u of at most 100 steps towards the gradient's direction, each halved while it loses."""
    best, best_value, gradient = start, -1.0, start
    part, trial = 1.0, start
    history = []
    for step in range(ITERATIONS):
        evaluation = climbed.value_and_gradient(trial)
        value, slope = evaluation.value, evaluation.gradient
        if value >= best_value:
            best, best_value, gradient, part = trial, value, slope, min(1.0, 2 * part)
        else:
            part /= 2
        history.append(best_value)
        if step >= patience and best_value <= history[-1 - patience] * (1 + _STALLED):
            break
        target = climbed.spheres.normalise(gradient, best, 1e-13)
        trial = climbed.spheres.normalise(add_scaled(scaled(best, 1 - part), target, part), target)
    return best, len(history)


def reference(cifar: str, names: list[str], radii: list[float]) -> None:
    """One line of ``RESULTS`` for every network, radius and start that has none yet."""
    for name in names:
        subject = None
        for delta in radii:
            known = {row["start"]: row for row in _rows() if (row["network"], row["delta"]) == (name, delta)}
            missing = [index for index in range(STARTS) if index not in known]
            if missing or name in _REFINED:
                subject = subject or NETWORKS[name](cifar)
            for index in missing:
                known[index] = _recorded(name, subject, delta, index, fine=name not in _REFINED)
            leading = sorted(known.values(), key=lambda row: row["value"], reverse=True)[: _REFINED.get(name, 0)]
            for row in leading:
                if len(row["steps"]) == 1:
                    _recorded(name, subject, delta, row["start"], fine=True)


def _recorded(name: str, subject: Subject, delta: float, index: int, *, fine: bool) -> dict[str, Any]:
    """Climb from one start and append what it reached to ``RESULTS``."""
    climbed = [objective(subject, delta, nodes) for nodes in (_NODES if fine else _NODES[:1])]
    best, steps = _start(subject, climbed[0], index), []
    for each, patience in zip(climbed, _PATIENCE, strict=False):
        best, count = climb(each, best, patience)
        steps.append(count)
    value = objective(subject, delta, _FINAL_NODES).value(best).value
    row = {"network": name, "delta": delta, "start": index, "value": value, "steps": steps, "loss": climbed[0].loss}
    with RESULTS.open("a") as lines:
        lines.write(json.dumps(row) + "\n")
    return row


def _start(subject: Subject, coarse: SegmentObjective, index: int) -> Point:
    """Random start number ``index``; the first is the gradient's direction."""
    _, point, blocks = subject
    spheres, generator = blocks.spheres(point), torch.Generator().manual_seed(20191)
    for _ in range(index + 1):
        start = spheres.random(point, generator)
    if index:
        return start
    return spheres.normalise(spheres.to_coordinates_gradient(coarse.gradient), start, 1e-6)


def compare(cifar: str, names: list[str], radii: list[float]) -> None:
    """The default and ``--restarts 8`` against the best start of the reference."""
    print("| network | loss | δ | starts | best | default | status | passes | --restarts 8 | passes |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | --- | --- | ---: | --- |")
    for name in names:
        rows = [row for row in _rows() if row["network"] == name]
        surface, point, blocks = NETWORKS[name](cifar)
        for delta in radii:
            found = {row["start"]: row["value"] for row in rows if row["delta"] == delta}
            if not found:
                continue
            highest = max(row["value"] for row in rows if row["delta"] == delta)
            options = [MeasureOptions(delta=delta, **more) for more in ({}, {"restarts": 8})]
            default, restarted = (bn_sharpness(surface, point, blocks, each) for each in options)
            cells = [name, f"{rows[0]['loss']:.2g}", f"{delta:g}", str(len(found)), f"{highest:.5g}"]
            cells += [f"{default.value / highest:.4f}", default.status.value, _passes(default.cost)]
            cells += [f"{restarted.value / highest:.4f}", _passes(restarted.cost)]
            print("| " + " | ".join(cells) + " |", flush=True)


def limit(cifar: str, names: list[str], radii: list[float]) -> None:
    """The share of the best start that power steps of the best length reach, one after the other."""
    for name in names:
        subject = NETWORKS[name](cifar)
        for delta in radii:
            highest = max(row["value"] for row in _rows() if (row["network"], row["delta"]) == (name, delta))
            coarse, fine = (objective(subject, delta, nodes) for nodes in _NODES)
            u = _start(subject, coarse, 0)
            print(f"{name}, δ = {delta:g}: 1B {fine.value(u).value / highest:.4f}", end="", flush=True)
            for step in range(_LIMIT):
                target = coarse.spheres.normalise(coarse.value_and_gradient(u).gradient, u, 1e-13)
                tried = [
                    coarse.spheres.normalise(add_scaled(scaled(u, 1 - part), target, part), target) for part in _PARTS
                ]
                u = max(tried, key=lambda point: coarse.value(point).value)
                print(f"  {3 + 2 * step}B {fine.value(u).value / highest:.4f}", end="", flush=True)
            print()


def _passes(cost: Cost) -> str:
    return f"{cost.forward:g}F + {cost.backward:g}B"


def _rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=["reference", "compare", "limit"])
    parser.add_argument("--cifar", default="folder:cifar", help="CIFAR-10 images, as for bnsharp measure --data")
    parser.add_argument("--network", action="append", choices=list(NETWORKS), help="all by default")
    parser.add_argument("--delta", action="append", type=float, choices=RADII, help="all by default")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # training rounds differently with more
    names, radii = arguments.network or list(NETWORKS), arguments.delta or list(RADII)
    {"reference": reference, "compare": compare, "limit": limit}[arguments.part](arguments.cifar, names, radii)


if __name__ == "__main__":
    main()
