"""Where the time of a small network's pass goes: kernels, waiting, and Python, ours beside a plain loop."""

from __future__ import annotations

import cProfile
import io
import pstats
import re
from collections import Counter
from collections.abc import Callable

from torch.profiler import ProfilerActivity
from torch.profiler import profile as torch_profile

import bnsharp_cli
from benchmarks.device_timing import Bench, plain_loop
from benchmarks.networks import lenet
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

KINDS: dict[str, tuple[str, ...]] = {
    "aten operators": ("aten::",),
    "kernel launches": ("cudaLaunchKernel", "cuLaunchKernel"),
    "copies": ("cudaMemcpyAsync", "cudaMemcpy"),
    "synchronisations": ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"),
    "numbers fetched": ("aten::_local_scalar_dense",),
}
"""What is counted, and how the names of its events begin."""

SHOWN = 22

_FOLDERS = re.compile(r"(?<= )/\S*/(?=[^/ ]+/[^/ ]+:\d+\()")
"""All of a path but its last folder and its file."""


def profile(bench: Bench) -> None:
    """Counts of a forward and a gradient, and tables of the Python functions that take the longest."""
    trained = lenet(*bench.scale.lenet)
    module, batches = trained.module.to(bench.device), bench.placed(trained.batches)
    surface = LossSurface.of(module, batches, device=bench.device)
    point = surface.point()
    forward, gradient = plain_loop(module, batches)
    passes: dict[str, Callable[[], object]] = {
        "forward, ours": lambda: surface.value(point),
        "forward, plain": forward,
        "gradient, ours": lambda: surface.value_and_gradient(point),
        "gradient, plain": gradient,
    }
    bench.write(f"LeNet-BN, {len(batches)} batches; counts of one pass over all of them.\n")
    bench.write(f"| pass | ms a batch | {' | '.join(KINDS)} |\n" + "| --- " * (2 + len(KINDS)) + "|")
    for name, work in passes.items():
        (seconds,) = bench.seconds(work)
        counts = _counts(bench, name, work)
        row = " | ".join(str(counts[kind]) for kind in KINDS)
        bench.write(f"| {name} | {1e3 * seconds / len(batches):.3f} | {row} |")
    for name in ("forward, ours", "gradient, ours"):
        _table(bench, name, passes[name], "tottime")
    measured = {"whole measurement": lambda: bnsharp_cli.measure(module, batches)}
    for name, work in measured.items():
        work()
        _table(bench, name, work, "cumtime")


def _counts(bench: Bench, name: str, work: Callable[[], object]) -> Counter[str]:
    """Events of one run; torch's own table goes to the log."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if bench.device.type == "cuda" else [])
    with torch_profile(activities=activities) as recorded:
        work()
        bench.synchronise()
    averages = recorded.key_averages()
    print(f"{name}\n{averages.table(sort_by='self_cpu_time_total', row_limit=25, max_name_column_width=60)}")
    found: Counter[str] = Counter()
    for event in averages:
        for kind, beginnings in KINDS.items():
            found[kind] += event.count if event.key.startswith(beginnings) else 0
    return found


def _table(bench: Bench, name: str, work: Callable[[], object], order: str) -> None:
    """The Python functions of one run, with paths from the last two folders on."""
    profiler = cProfile.Profile()
    profiler.enable()
    work()
    bench.synchronise()
    profiler.disable()
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats(order).print_stats(SHOWN * 2 if order == "cumtime" else SHOWN)
    lines = [line for line in text.getvalue().splitlines() if line.strip()]
    first = next(number for number, line in enumerate(lines) if line.lstrip().startswith("ncalls"))
    bench.write(f"\n{name}, {lines[0].strip()}, by {order}:\n")
    for line in lines[first:]:
        bench.write(f"    {_FOLDERS.sub('', line)[:110]}")
