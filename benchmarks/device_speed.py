"""How fast a GPU is: passes beside a plain PyTorch loop, several points at once, whole measurements, and peers."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from functools import partial

import torch
import torchvision
from torch import nn

import bnsharp_cli
from benchmarks.device_timing import MIB, Batches, Bench, plain_loop
from benchmarks.methods import METHODS
from benchmarks.networks import Problem, lenet, problem
from bnsharp_cli import models
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.stacking import PointsAtOnce

OURS = "BN-Sharpness (ours)"


def passes(bench: Bench, network: str) -> None:
    """A forward and a gradient beside the same of a plain loop."""
    module, batches = _placed(bench, network)
    surface = LossSurface.of(module, batches, device=bench.device)
    point = surface.point()
    work = (lambda: surface.value(point), lambda: surface.value_and_gradient(point))
    count = sum(len(targets) for _, targets in batches)
    bench.write(f"| {network}, {count} samples | ours | plain | ratio | ours, peak MiB | plain, peak MiB |")
    bench.write("| --- " * 6 + "|")
    for kind, ours, theirs in zip(("forward", "gradient"), work, plain_loop(module, batches), strict=True):
        seconds, others = bench.seconds(ours, theirs)
        row = f"{seconds:.4f} s | {others:.4f} s | {seconds / others:.3f}"
        bench.write(f"| {kind} | {row} | {bench.peak(ours):.0f} | {bench.peak(theirs):.0f} |")


def points(bench: Bench, network: str) -> None:
    """Several points, one after the other and at once."""
    module, batches = _placed(bench, network)
    count = max(bench.scale.chunks)
    bench.write(f"| {network}, {count} points | forward | peak MiB |\n| --- | --- | --- |")
    settings: tuple[int | str, ...] = ("loop", *bench.scale.chunks)
    for setting in settings:
        surface = LossSurface.of(module, batches, device=bench.device, points_at_once=PointsAtOnce(setting))
        work = partial(surface.values, _around(surface, count))
        (seconds,) = bench.seconds(work)
        bench.write(f"| {setting} | {seconds:.4f} s | {bench.peak(work):.0f} |")


def whole(bench: Bench, network: str) -> None:
    """A whole measurement against the passes that it counts, done by a plain loop."""
    module, batches = _placed(bench, network)
    cost, peak = None, float("nan")

    def measured() -> None:
        nonlocal cost
        cost = bnsharp_cli.measure(module, batches).cost

    peak = bench.peak(measured)
    surface = LossSurface.of(module, batches, device=bench.device)
    forward, gradient = plain_loop(module, batches)

    def plainly() -> None:
        for _ in range(round(cost.backward)):
            gradient()
        for _ in range(round(cost.forward - cost.backward)):
            forward()

    small = network == "lenet-bn"
    ours, plain, blocks = bench.seconds(
        measured,
        plainly,
        lambda: find_blocks(surface, surface.point()),
        repeats=None if small else 1,
        warm_up=1 if small else 0,  # the peak's run was one
    )
    bench.write("| whole measurement | seconds | passes | plainly | ratio | finding blocks | peak MiB |")
    bench.write("| --- " * 7 + "|")
    bench.write(
        f"| {network} | {ours:.3f} | {cost.forward:.1f}F + {cost.backward:.1f}B | {plain:.3f} | "
        f"{ours / plain:.2f} ({(ours - blocks) / plain:.2f} without blocks) | {blocks:.3f} | {peak:.0f} |"
    )


def worst_case_peers(bench: Bench, network: str) -> None:
    """Worst-case sharpness by 20 ascent steps."""
    _peers(bench, network, ("worst case, adaptive L2", "worst case, adaptive L∞"))


def eigenvalue_peers(bench: Bench, network: str) -> None:
    """The Hessian's largest eigenvalue by both libraries."""
    _peers(bench, network, ("λ_max, curvlinops", "λ_max, PyHessian"), repeats=bench.scale.few)


def one_peer(bench: Bench, network: str, peer: str) -> None:
    """A peer that takes so long that it is run once."""
    _peers(bench, network, (peer,), repeats=1, warm_up=0)


def crossover(bench: Bench) -> None:
    """Where several points at once stop being the faster ones: networks and batch sizes, beside the bytes they hold."""
    bench.write("| network, batch | held, MiB | precision | values: loop, s | at once | gradients: loop, s | at once |")
    bench.write("| --- " * 7 + "|")
    networks: dict[str, Callable[[], nn.Module]] = {
        "LeNet-BN": models.lenet_bn,
        "resnet18": partial(torchvision.models.resnet18, num_classes=10),
        "VGG11-BN": models.vgg11_bn,
    }
    sizes_and_types = [*itertools.product(bench.scale.crossover, (torch.float32, torch.float64))]
    for name, (size, dtype) in itertools.product(networks, sizes_and_types):
        torch.manual_seed(0)
        batch = (torch.randn(size, 3, 32, 32), torch.randint(10, (size,)))
        taken = []
        for setting in ("loop", 8):
            at_once = PointsAtOnce(setting)
            surface = LossSurface.of(
                networks[name](), [batch], device=bench.device, dtype=dtype, points_at_once=at_once
            )
            taken.append(bench.seconds(*_values_and_gradients(surface, _around(surface, 8)), repeats=bench.scale.few))
        (forward, gradient), (stacked, with_gradients) = taken
        row = f"| {forward:.4f} | {forward / stacked:.2f} × | {gradient:.4f} | {gradient / with_gradients:.2f} × |"
        bench.write(f"| {name}, {size} | {surface.plan().held / MIB:.1f} | {str(dtype)[6:]} {row}")


def _values_and_gradients(
    surface: LossSurface, around: list[dict[str, torch.Tensor]]
) -> tuple[Callable[[], object], Callable[[], object]]:
    return partial(surface.values, around), lambda: [*surface.values_and_gradients(around)]


def _around(surface: LossSurface, count: int) -> list[dict[str, torch.Tensor]]:
    point = surface.point()
    return [{name: tensor * (1 + 1e-3 * i) for name, tensor in point.items()} for i in range(count)]


def _peers(bench: Bench, network: str, peers: tuple[str, ...], repeats: int | None = None, warm_up: int = 1) -> None:
    """Ours and each peer on the same batches; one that is not installed, or that fails, loses none of the others.

    Raises:
        RuntimeError: all of them failed.
    """
    sizes = bench.scale.lenet if network == "lenet-bn" else bench.scale.resnet18
    built = problem(network, *sizes)
    placed = Problem(built.module.to(bench.device), tuple(bench.placed(built.batches)))
    repeats = repeats or (bench.scale.repeats if network == "lenet-bn" else bench.scale.few)
    bench.write(f"| {network}, {sizes[0]} | bnsharp | peer | seconds | ratio |\n| --- | --- | --- | --- | --- |")
    METHODS[OURS](placed, 0)
    failed = 0
    for peer in peers:
        runs = [partial(METHODS[method], placed, 0) for method in (OURS, peer)]
        try:
            with warnings.catch_warnings(action="ignore"):  # what other libraries warn of is not ours to mend
                ours, theirs = bench.seconds(*runs, repeats=repeats, warm_up=warm_up)
        except Exception as error:
            failed += 1
            bench.write(f"| {network} | – | {peer} | {type(error).__name__}: {str(error)[:80]} | – |")
            continue
        bench.write(f"| {network}, {sizes[0]} | {ours:.3f} | {peer} | {theirs:.3f} | {theirs / ours:.2f} |")
    if failed == len(peers):
        raise RuntimeError("none of these peers ran")


def _placed(bench: Bench, network: str) -> tuple[nn.Module, Batches]:
    """LeNet-BN as trained on digits, or resnet50 with random weights on random photographs."""
    if network == "lenet-bn":
        trained = lenet(*bench.scale.lenet)
        return trained.module.to(bench.device), bench.placed(trained.batches)
    samples, batch_size = bench.scale.resnet
    torch.manual_seed(0)
    module = torchvision.models.resnet50().to(bench.device).eval()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(samples, 3, bench.scale.pixels, bench.scale.pixels, generator=generator)
    labels = torch.randint(1000, (samples,), generator=generator)
    return module, bench.placed(zip(images.split(batch_size), labels.split(batch_size), strict=True))
