"""What a GPU says: does it agree with the CPU, and how fast is a pass beside a plain PyTorch loop there?

One command, most important steps first; each step writes its table rows as soon as it has them, a step that fails is
told and loses none of the others, and after ``--seconds`` nothing more is started::

    python -m benchmarks.cuda --output benchmarks/RESULTS-cuda.md
    python -m benchmarks.cuda --smoke --device cpu     # the same code on small problems, without a GPU

Times are medians of interleaved repeats after a warm-up, the device synchronised around each; the plain loop keeps its
batches on the device, has TF32 switched off as ours has, and does the same forwards and backwards.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import subprocess
import sys
import time
import traceback
from functools import partial
from pathlib import Path

import torch
import torchvision
from torch import nn

import bnsharp_cli
from benchmarks.device_timing import MIB, SMOKE, Batches, Bench, Scale, plain_loop
from benchmarks.methods import METHODS
from benchmarks.networks import Problem, lenet, problem
from bnsharp_cli import models
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.surface.arithmetic import undisturbed
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.stacking import PointsAtOnce

GPU_TESTS = ("tests/test_api.py", "tests/measurement/test_stacking.py", "tests/training/test_mixed_precision.py")


def tests(bench: Bench) -> None:
    """The tests marked ``gpu``."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-n", "0", "-p", "no:cacheprovider", *GPU_TESTS]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    lines = [line for line in finished.stdout.splitlines() if line.startswith(("FAILED", "ERROR", "E  "))]
    closing = (finished.stdout.strip() or finished.stderr.strip()).splitlines()[-1]
    bench.write(f"`pytest -m gpu`: {closing}\n")
    for line in lines[:12]:
        bench.write(f"    {line}")


def agreement(bench: Bench) -> None:
    """The value on the CPU and on the device, against the rounding that both state."""
    bench.write(
        "\n| agreement, LeNet-BN | CPU | device | relative difference | stated rounding |\n" + "| --- " * 5 + "|"
    )
    trained = lenet(*bench.scale.lenet)
    for precision in ("float64", "float32"):
        for delta in (1e-3, 0.1):
            options = {"precision": precision, "delta": delta}
            ours, theirs = (
                bnsharp_cli.measure(trained.module, trained.batches, device=device, **options)
                for device in ("cpu", bench.device)
            )
            apart = abs(ours.value - theirs.value) / ours.value
            stated = (ours.uncertainty.rounding + theirs.uncertainty.rounding) / ours.value
            bench.write(
                f"| {precision}, δ = {delta:g} | {ours.value:.10g} | {theirs.value:.10g} | {apart:.1e} | {stated:.1e} |"
            )


def lenet_passes(bench: Bench) -> None:
    """Passes of LeNet-BN beside a plain loop, and several points at once."""
    trained = lenet(*bench.scale.lenet)
    batches = [(inputs.to(bench.device), targets.to(bench.device)) for inputs, targets in trained.batches]
    _passes(bench, "LeNet-BN", trained.module, batches)
    _points(bench, "LeNet-BN", trained.module, batches)


def resnet_passes(bench: Bench) -> None:
    """The same of resnet50 on random photographs."""
    module, batches = _resnet(bench, *bench.scale.resnet)
    _passes(bench, "resnet50", module, batches)
    _points(bench, "resnet50", module, _some(batches, bench.scale.points_of))


def whole(bench: Bench) -> None:
    """A whole measurement against the passes that it counts, done by a plain loop, and against worst-case sharpness."""
    bench.write(
        "\n| whole measurement | seconds | passes | the same passes plainly | ratio | finding blocks | peak MiB |"
    )
    bench.write("| --- " * 7 + "|")
    trained = lenet(*bench.scale.lenet)
    on_device = [(inputs.to(bench.device), targets.to(bench.device)) for inputs, targets in trained.batches]
    for name, module, batches in (
        ("LeNet-BN", trained.module.to(bench.device), on_device),
        ("resnet50", *_resnet(bench, *bench.scale.resnet)),
    ):
        measured = partial(bnsharp_cli.measure, module, batches)
        cost, peak = measured().cost, bench.peak(measured)
        surface = LossSurface.of(module, batches, device=bench.device)
        forward, gradient = plain_loop(module, batches)

        def plainly(cost=cost, forward=forward, gradient=gradient) -> None:
            for _ in range(round(cost.backward)):
                gradient()
            for _ in range(round(cost.forward - cost.backward)):
                forward()

        ours, plain, blocks = bench.seconds(
            measured,
            plainly,
            lambda surface=surface: find_blocks(surface, surface.point()),
            repeats=None if name == "LeNet-BN" else 1,
        )
        bench.write(
            f"| {name} | {ours:.3f} | {cost.forward:.1f}F + {cost.backward:.1f}B | {plain:.3f} | "
            f"{ours / plain:.2f} ({(ours - blocks) / plain:.2f} without blocks) | {blocks:.3f} | {peak:.0f} |"
        )


def peers(bench: Bench) -> None:
    """Other measures on the same batches: worst-case sharpness by 20 ascent steps, a Hessian's largest eigenvalue."""
    bench.write("\n| peers | bnsharp | peer | seconds | ratio |\n| --- | --- | --- | --- | --- |")
    for network, sizes in (("lenet-bn", bench.scale.lenet), ("resnet18", bench.scale.resnet18)):
        built = problem(network, *sizes)
        batches = tuple((inputs.to(bench.device), targets.to(bench.device)) for inputs, targets in built.batches)
        placed = Problem(built.module.to(bench.device), batches)
        for peer in ("worst case, adaptive L2", "worst case, adaptive L∞", "λ_max, curvlinops"):
            runs = [partial(METHODS[method], placed, 0) for method in ("BN-Sharpness (ours)", peer)]
            try:
                ours, theirs = bench.seconds(*runs)
            except Exception as error:  # a peer that is not installed, or that fails here, loses none of the others
                bench.write(f"| {network} | – | {peer} | {type(error).__name__}: {str(error)[:80]} | – |")
                continue
            bench.write(f"| {network}, {sizes[0]} | {ours:.3f} | {peer} | {theirs:.3f} | {theirs / ours:.2f} |")


def crossover(bench: Bench) -> None:
    """Where several points at once stop being the faster ones: networks and batch sizes, beside the bytes they hold."""
    bench.write(
        "\n| network, batch | held, MiB | precision | values: loop, s | 8 at once | gradients: loop, s | 8 at once |"
    )
    bench.write("| --- " * 7 + "|")
    networks = {
        "LeNet-BN": lambda: models.lenet_bn(),
        "resnet18": lambda: torchvision.models.resnet18(num_classes=10),
        "VGG11-BN": lambda: models.vgg11_bn(),
    }
    for name, build in networks.items():
        for size, dtype in itertools.product(bench.scale.crossover, (torch.float32, torch.float64)):
            torch.manual_seed(0)
            batch = (torch.randn(size, 3, 32, 32), torch.randint(10, (size,)))
            taken, surface = [], None
            for setting in ("loop", 8):
                surface = LossSurface.of(
                    build(), [batch], device=bench.device, dtype=dtype, points_at_once=PointsAtOnce(setting)
                )
                point = surface.point()
                points = [{key: tensor * (1 + 1e-3 * i) for key, tensor in point.items()} for i in range(8)]
                taken.append(
                    bench.seconds(
                        partial(surface.values, points),
                        lambda surface=surface, points=points: list(surface.values_and_gradients(points)),
                    )
                )
            (forward, gradient), (stacked, with_gradients) = taken
            row = f"| {forward:.4f} | {forward / stacked:.2f} × | {gradient:.4f} | {gradient / with_gradients:.2f} × |"
            bench.write(f"| {name}, {size} | {surface.plan().held / MIB:.1f} | {str(dtype)[6:]} {row}")


STEPS = (tests, agreement, lenet_passes, crossover, resnet_passes, whole, peers)


def _resnet(bench: Bench, samples: int, batch_size: int) -> tuple[nn.Module, Batches]:
    torch.manual_seed(0)
    module = torchvision.models.resnet50().to(bench.device).eval()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(samples, 3, bench.scale.pixels, bench.scale.pixels, generator=generator).to(bench.device)
    labels = torch.randint(1000, (samples,), generator=generator).to(bench.device)
    return module, list(zip(images.split(batch_size), labels.split(batch_size), strict=True))


def _some(batches: Batches, samples: int) -> Batches:
    return batches[: max(1, samples // len(batches[0][0]))]


def _passes(bench: Bench, name: str, module: nn.Module, batches: Batches) -> None:
    surface = LossSurface.of(module, batches, device=bench.device)
    point = surface.point()
    work = (lambda: surface.value(point), lambda: surface.value_and_gradient(point))
    plain = plain_loop(module.to(bench.device), batches)
    count = sum(len(targets) for _, targets in batches)
    bench.write(f"\n| {name}, {count} samples | ours | plain | ratio | ours, peak MiB | plain, peak MiB |")
    bench.write("| --- " * 6 + "|")
    for kind, ours, theirs in zip(("forward", "gradient"), work, plain, strict=True):
        seconds, others = bench.seconds(ours, theirs)
        row = f"{seconds:.4f} s | {others:.4f} s | {seconds / others:.3f}"
        bench.write(f"| {kind} | {row} | {bench.peak(ours):.0f} | {bench.peak(theirs):.0f} |")


def _points(bench: Bench, name: str, module: nn.Module, batches: Batches) -> None:
    count = max(bench.scale.chunks)
    bench.write(f"\n| {name}, {count} points | forward | peak MiB |\n| --- | --- | --- |")
    settings: tuple[int | str, ...] = ("loop", *bench.scale.chunks)
    for setting in settings:
        surface = LossSurface.of(module, batches, device=bench.device, points_at_once=PointsAtOnce(setting))
        point = surface.point()
        points = [{key: tensor * (1 + 1e-3 * i) for key, tensor in point.items()} for i in range(count)]
        (seconds,) = bench.seconds(lambda surface=surface, points=points: surface.values(points))
        peak = bench.peak(lambda surface=surface, points=points: surface.values(points))
        bench.write(f"| {setting} | {seconds:.4f} s | {peak:.0f} |")


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--steps", nargs="+", choices=[step.__name__ for step in STEPS])
    arguments = parser.parse_args()
    device, end = torch.device(arguments.device), time.monotonic() + arguments.seconds
    lines: list[str] = []

    def write(line: str) -> None:
        print(line, flush=True)
        lines.append(line)
        if arguments.output:
            arguments.output.write_text("\n".join(lines) + "\n")

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    write(f"# On a GPU\n\n{name}, torch {torch.__version__}, Python {platform.python_version()}.\n")
    bench = Bench(device, SMOKE if arguments.smoke else Scale(), write)
    with undisturbed(device):
        for step in STEPS:
            if arguments.steps and step.__name__ not in arguments.steps:
                continue
            if time.monotonic() > end:
                write(f"\n{step.__name__}: not started, the time was over.")
                continue
            began = time.monotonic()
            try:
                step(bench)
            except Exception as error:  # the other steps are still worth their minutes
                traceback.print_exc()
                write(f"\n{step.__name__} failed: {type(error).__name__}: {str(error).splitlines()[0][:200]}")
            print(f"[{step.__name__}: {time.monotonic() - began:.0f} s]", flush=True)


if __name__ == "__main__":
    main()
