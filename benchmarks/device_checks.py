"""Is what a GPU computes right? Its tests, and its numbers beside those of the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch

import bnsharp_cli
from benchmarks.device_timing import Bench, plain_loop
from benchmarks.networks import lenet, problem
from benchmarks.timing import ROOT

GPU_TESTS = (
    "tests/gpu",
    "tests/test_api.py",
    "tests/measurement/surface/test_arithmetic.py",
    "tests/measurement/surface/test_stacking.py",
    "tests/training/test_mixed_precision.py",
)
"""Where the tests marked ``gpu`` are."""

SMOKE_TESTS = ("tests/gpu/test_training.py::test_the_steps_are_those_of_the_cpu", "tests/gpu/test_memory.py")


def tests(bench: Bench) -> None:
    """The tests marked ``gpu``; a warning is no failure, since another torch has other ones.

    Raises:
        RuntimeError: a test failed.
    """
    workers = "0" if bench.smoke else "6"
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-n", workers, "--dist", "load", "-W", "default", "-v"]
    command += ["-p", "no:cacheprovider", "--durations", "5", *(SMOKE_TESTS if bench.smoke else GPU_TESTS)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    environment |= {"BNSHARP_GPU_TESTS_ON": str(bench.device)}
    closing = ""
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="", flush=True)
            if line.startswith(("FAILED", "ERROR", "E   ")) or "] FAILED " in line:
                bench.write(f"    {line.rstrip()[:200]}")
            closing = line.strip() or closing
    bench.write(f"\n`pytest -m gpu`: {closing.strip('= ')}\n")
    if running.returncode:
        raise RuntimeError(f"pytest ended with exit code {running.returncode}")


def agreement(bench: Bench) -> None:
    """The value on the CPU and on the device, against the rounding that both state."""
    bench.write("| agreement, LeNet-BN | CPU | device | relative difference | stated rounding |\n" + "| --- " * 5 + "|")
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


@contextmanager
def _tf32() -> Iterator[None]:
    """TF32 as a program allows it that asks for speed."""
    switches = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "tf32"
        yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision


def tf32(bench: Bench) -> None:
    """Measurements inside a program that allows TF32: the loss of a plain loop moves, ours must not."""
    bench.write("| network | what | without TF32 | TF32 allowed around | relative difference | stated rounding |")
    bench.write("| --- " * 6 + "|")
    for name, sizes in (("lenet-bn", bench.scale.lenet), ("resnet18", bench.scale.resnet18)):
        built = problem(name, *sizes)
        module = built.module.to(bench.device)
        batches = bench.placed(built.batches)
        plain, _ = plain_loop(module, batches)
        without = float(plain())
        with _tf32():
            allowed = float(plain())
        row = f"{without:.10g} | {allowed:.10g} | {abs(allowed / without - 1):.1e} | –"
        bench.write(f"| {name} | plain loop, sum of losses | {row} |")
        measured = partial(bnsharp_cli.measure, module, batches, delta=1e-2)
        ours = measured()
        with _tf32():
            theirs = measured()
        stated = (ours.uncertainty.rounding + theirs.uncertainty.rounding) / ours.value
        apart = abs(theirs.value / ours.value - 1)
        row = f"{ours.value:.10g} | {theirs.value:.10g} | {apart:.1e} | {stated:.1e}"
        bench.write(f"| {name} | BN-Sharpness, δ = 0.01 | {row} |")
