"""Our evaluations against a plain PyTorch loop that does the same forwards and backwards on the same batches.

Each side lives in a process of its own; they take turns, and the table shows the ratio of the medians::

    python -m benchmarks.wall_time lenet-bn --samples 2048
    python -m benchmarks.wall_time resnet18 vgg11-bn --samples 512 --runs 5
    python -m benchmarks.wall_time points --dtype float64   # a loop over points against vmap

Both sides draw the same random 32 × 32 images; what a pass costs does not depend on what they show. The plain loop
has PyTorch as it comes: its allocator, its layouts, all threads on one batch. Peak memory is the largest resident
size of a process: ours, and one that makes a single training step.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

NETWORKS = ("lenet-bn", "resnet18", "vgg11-bn")
SIDES = ("ours", "plain")
_MIB = 1024  # ru_maxrss counts KiB on Linux


def side(arguments: argparse.Namespace) -> None:
    """One process: answers every line on stdin with the seconds, processor seconds and page faults of a run."""
    if arguments.side == "ours":
        from bnsharp_cli.workflows.allocator import keep_freed_memory

        keep_freed_memory()
    import torch

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    count = 1 if arguments.side == "step" else max(1, arguments.samples // arguments.batch_size)
    batches = [
        (torch.randn(arguments.batch_size, 3, 32, 32), torch.randint(10, (arguments.batch_size,))) for _ in range(count)
    ]
    module = _module(arguments.network[0])
    if arguments.side == "step":
        _training_step(module, batches[0])
    else:
        work = _ours(module, batches, arguments) if arguments.side == "ours" else _plain(module, batches, arguments)
        for line in sys.stdin:
            print(json.dumps(_measured(work[line.strip()])), flush=True)
    print(json.dumps({"MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MIB}), flush=True)


def _module(network: str):
    if network == "resnet18":
        import torchvision

        return torchvision.models.resnet18(num_classes=10)
    from bnsharp_cli import models

    return {"lenet-bn": models.lenet_bn, "vgg11-bn": models.vgg11_bn}[network]()


def _ours(module, batches, arguments) -> dict[str, Callable[[], object]]:
    import torch

    from bnsharp_cli.measurement.surface.loss_surface import LossSurface
    from bnsharp_cli.measurement.surface.stacking import PointsAtOnce

    surface = LossSurface.of(
        module,
        batches,
        dtype=getattr(torch, arguments.dtype),
        points_at_once=PointsAtOnce(arguments.points_at_once),
    )
    point = surface.point()

    def points() -> list[float]:
        return surface.values([{name: tensor * (1 + 1e-3 * i) for name, tensor in point.items()} for i in range(8)])

    return {
        "forward": lambda: surface.value(point),
        "gradient": lambda: surface.value_and_gradient(point),
        "points": points,
    }


def _plain(module, batches, arguments) -> dict[str, Callable[[], object]]:
    import torch

    from benchmarks.device_timing import plain_loop

    dtype = getattr(torch, arguments.dtype)
    module = module.to(dtype)
    forward, gradient = plain_loop(module, [(inputs.to(dtype), targets) for inputs, targets in batches])
    return {"forward": forward, "gradient": gradient, "points": lambda: [forward() for _ in range(8)]}


def _training_step(module, batch) -> None:
    import torch
    from torch.nn import functional

    optimizer = torch.optim.SGD(module.train().parameters(), lr=0.1, momentum=0.9)
    functional.cross_entropy(module(batch[0]), batch[1]).backward()
    optimizer.step()


def _measured(run: Callable[[], object]) -> dict[str, float]:
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    run()
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "processor": busy, "faults": after.ru_minflt - before.ru_minflt}


class Side:
    """A process that runs when told to."""

    def __init__(self, name: str, network: str, arguments: argparse.Namespace, **changes: str) -> None:
        options = {key: getattr(arguments, key) for key in ("samples", "batch_size", "threads", "dtype")} | changes
        flags = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.wall_time", network, "--side", name, *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_WAIT_POLICY": "passive"},
        )

    def run(self, work: str) -> dict[str, float]:
        """One run of ``work``."""
        self._process.stdin.write(f"{work}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def finish(self) -> float:
        """End the process; its peak memory in MiB."""
        printed, _ = self._process.communicate()
        return json.loads(printed)["MiB"]


def compare(network: str, arguments: argparse.Namespace) -> None:
    """Print the row of each kind of work, and the memory, for one network."""
    sides = {name: Side(name, network, arguments) for name in SIDES}
    for work in ("forward", "gradient"):
        runs = _interleaved(sides, work, arguments.runs)
        _row(network, work, runs, "ours", "plain")
    ours, _ = (one.finish() for one in sides.values())
    step = Side("step", network, arguments).finish()
    print(f"| {network} | peak memory | {ours:.0f} MiB | {step:.0f} MiB (a step) | {ours / step:.2f} | |", flush=True)


def compare_points(arguments: argparse.Namespace) -> None:
    """Print a loop over eight points beside ``vmap``."""
    for network in arguments.networks:
        sides = {rule: Side("ours", network, arguments, points_at_once=rule) for rule in ("8", "loop")}
        runs = _interleaved(sides, "points", arguments.runs)
        _row(network, f"8 points, {arguments.dtype}", runs, "8", "loop")
        for one in sides.values():
            one.finish()


def _interleaved(sides: dict[str, Side], work: str, count: int) -> dict[str, list[dict[str, float]]]:
    for one in sides.values():
        one.run(work)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(count):
        for name, one in sides.items():
            runs[name].append(one.run(work))
    return runs


def _row(network: str, work: str, runs: dict[str, list[dict[str, float]]], first: str, second: str) -> None:
    def median(name: str, key: str) -> float:
        return statistics.median(run[key] for run in runs[name])

    a, b = (median(name, "seconds") for name in (first, second))
    busy = median(first, "processor") / median(second, "processor")
    print(f"| {network} | {work} | {a:.3f} s | {b:.3f} s | {a / b:.2f} | {busy:.2f} |", flush=True)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("network", nargs="+", choices=(*NETWORKS, "points"))
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--networks", nargs="+", default=["lenet-bn"], choices=NETWORKS, help="of `points`")
    parser.add_argument("--side", choices=(*SIDES, "step"), help=argparse.SUPPRESS)
    parser.add_argument("--points-at-once", type=lambda word: int(word) if word.isdigit() else word, default="auto")
    arguments = parser.parse_args()
    if arguments.side:
        side(arguments)
        return
    print("| network | work | ours | plain | ratio | processor time |\n| --- | --- | --- | --- | --- | --- |")
    for network in arguments.network:
        compare_points(arguments) if network == "points" else compare(network, arguments)


if __name__ == "__main__":
    main()
