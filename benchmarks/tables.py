"""The records as Markdown, and in words where we are worse."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import mean, median, stdev

from benchmarks.methods import METHODS
from benchmarks.solvers import DELTAS, STARTS
from benchmarks.timing import Record, Store

PACKAGES = (
    "bnsharp",
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "curvlinops-for-pytorch",
    "pyhessian",
    "pymanopt",
    "geoopt",
)
OURS = next(iter(METHODS))
SEEDS = 10
TARGETS = (0.99, 0.999)
_GIB = 2**30


@dataclass(frozen=True)
class Row:
    """One method on one network: medians over the timed runs, everything else over all seeds; NaN where runs lack."""

    method: str
    seeds: int
    value: float
    forward: float
    backward: float
    seconds: float
    fastest: float
    slowest: float
    peak_mib: float
    spread: float
    drift: float


def environment() -> Record:
    """The machine in words, versions and the date."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    return {
        "machine": f"{os.cpu_count()} cores of {model[1] if model else platform.machine()}, {memory:.0f} GiB of memory",
        "versions": {"Python": platform.python_version(), **_versions()},
        "date": datetime.now(UTC).date().isoformat(),
    }


def _versions() -> dict[str, str]:
    """Of the packages that are installed here; a part of the tables can be run without the others."""
    found = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def render(store: Store, sizes: Mapping[str, tuple[int, int]], rounds: int, budget: int, search_samples: int) -> str:
    """All tables as Markdown."""
    (about,) = store.select(part="environment")
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    parts = [
        "## Against other measures",
        f"{about['date']}; {about['machine']}; {versions}. Written by `python -m benchmarks.peers`.",
        _METHODS_TEXT,
    ]
    for network, (samples, batch_size) in sizes.items():
        parts += _network(store, network, samples, batch_size, rounds)
    parts += ["## Search rules against other solvers", _search_text(budget, search_samples)]
    for delta in DELTAS:
        parts += _searches(store, delta)
    return "\n\n".join(parts)


_METHODS_TEXT = """\
All methods see the same plain module (norms with the batch's statistics and ε = 1e-12), batches, device and threads, in
float32. *F* and *B* are forwards and backwards over all samples, counted by hooks; a Hessian product is 1F + 2B.
*Seconds* is the median (fastest … slowest) of interleaved runs, each method in its own process, from a loaded network
to a number; *ratio* is that median over ours; a wide range means that the machine was not quiet. *Peak* is resident
memory above that of the loaded network. *Spread* is the standard deviation over the mean of the value over 10 seeds of
whatever the method draws. *Drift* is the value at T_a(θ) over the value at θ, same seed, every normalised row scaled
by its own factor, log-uniform in [0.1, 10]."""


def _network(store: Store, network: str, samples: int, batch_size: int, rounds: int) -> list[str]:
    rows = [row for method in METHODS if (row := _row(store, network, method, rounds))]
    if not rows or rows[0].method != OURS:
        return []
    ours = rows[0]
    table = ["| method | value | F | B | seconds | ratio | peak, MiB | spread | drift |", "| --- |" + " ---: |" * 8]
    for row in rows:
        cells = [
            f"{row.value:.4g}",
            f"{row.forward:.3g}",
            f"{row.backward:.3g}",
            f"{row.seconds:.2f} ({row.fastest:.2f} … {row.slowest:.2f})",
            f"{row.seconds / ours.seconds:.2f}",
            f"{row.peak_mib:.0f}",
            f"{100 * row.spread:.2g} %",
            f"{row.drift:.7g}",
        ]
        cells = ["–" if "nan" in cell else cell for cell in cells]
        note = "" if row.seeds == SEEDS else f" ({row.seeds} of {SEEDS} seeds)"
        table.append(f"| {row.method}{note} | " + " | ".join(cells) + " |")
    title = f"### {network}, {samples:,} samples in batches of {batch_size}"
    return [title, _drift_of_loss(store, network), "\n".join(table), _worse(rows)]


def _row(store: Store, network: str, method: str, rounds: int) -> Row | None:
    runs = store.select(part="methods", network=network, method=method, copy=None)
    copies = store.select(part="methods", network=network, method=method, copy=0)
    if not runs:
        return None
    timed = [run for run in runs if run["key"]["seed"] < rounds]
    seconds = [run["seconds"] for run in timed] or [math.nan]
    values = [run["value"] for run in runs]
    same = [run["value"] for run in runs if copies and run["key"]["seed"] == copies[0]["key"]["seed"]]
    return Row(
        method,
        len(runs),
        mean(values),
        median(run["forward"] for run in runs),
        median(run["backward"] for run in runs),
        median(seconds),
        min(seconds),
        max(seconds),
        median(run["peak_mib"] for run in timed) if timed else math.nan,
        stdev(values) / abs(mean(values)) if len(values) > 1 else math.nan,
        copies[0]["value"] / same[0] if same else math.nan,
    )


def _drift_of_loss(store: Store, network: str) -> str:
    before = store.select(part="methods", network=network, copy=None)[0]["loss"]
    after = [record["loss"] for record in store.select(part="methods", network=network, copy=0)]
    moved = f"; under T_a it moves by {abs(after[0] - before) / before:.1e} of itself" if after else ""
    return f"Loss {before:.4g}{moved}."


def _worse(rows: list[Row]) -> str:
    """Who does better than we, by column."""
    ours, others = rows[0], rows[1:]
    better = {
        "fewer passes": [row.method for row in others if row.forward + row.backward < ours.forward + ours.backward],
        "faster": [row.method for row in others if row.seconds < ours.seconds],
        "less memory": [row.method for row in others if row.peak_mib < ours.peak_mib],
        "a smaller spread": [row.method for row in others if row.spread < ours.spread],
        "a smaller drift": [row.method for row in others if abs(row.drift - 1) < abs(ours.drift - 1)],
    }
    found = [f"{what}: {'; '.join(names)}" for what, names in better.items() if names]
    complete = len(rows) == len(METHODS) and all(row.seeds == SEEDS for row in rows)
    caution = "" if complete else "Incomplete, some runs are missing. "
    return f"{caution}Better than BN-Sharpness here: {'. '.join(found) or 'none'}."


def _search_text(budget: int, samples: int) -> str:
    return f"""\
LeNet-BN, one batch of {samples} samples, p = 2, the objective of the search (two quadrature nodes, float32), the same
product of spheres and the same starts: Eq. (6), and {len(STARTS) - 1} random ones (median). A number is how many points
were evaluated (value, gradient or both) until 99 % or 99.9 % of the best value that anything found from any start; "–":
not within {budget}. *Best* is the best value reached, as a share of that one. The first-order optimisers of geoopt have
no line search: their row is the best of three learning rates, chosen afterwards, for the objective relative to its
value at the start."""


def _searches(store: Store, delta: float) -> list[str]:
    records = {record["key"]["start"]: record["solvers"] for record in store.select(part="search", delta=delta)}
    if len(records) < len(STARTS):
        return []
    traces = [trace for solvers in records.values() for settings in solvers.values() for trace in settings.values()]
    best = max(trace[-1] for trace in traces)
    table = [
        "| solver | gradient: 99 % | 99.9 % | best | random: 99 % | 99.9 % | best |",
        "| --- |" + " ---: |" * 6,
    ]
    for solver, settings in records[STARTS[0]].items():
        by_setting = {s: {start: records[start][solver][s] for start in STARTS} for s in settings}
        setting, chosen = min(by_setting.items(), key=lambda item: _merit(item[1], best))
        name = f"{solver}, rate {setting}" if setting else solver
        cells = _cells([chosen[STARTS[0]]], best) + _cells([chosen[start] for start in STARTS[1:]], best)
        table.append(f"| {name} | " + " | ".join(cells) + " |")
    return [f"### δ = {delta:g}, best value {best:.5g}", "\n".join(table)]


def _merit(traces: Mapping[str, list[float]], best: float) -> tuple[float, ...]:
    """Smaller is better: points to the higher target, to the lower, and the best value."""
    higher, lower = (
        sum(min(_points(trace, target * best), 1e9) for trace in traces.values()) for target in reversed(TARGETS)
    )
    return higher, lower, -max(trace[-1] for trace in traces.values())


def _cells(traces: list[list[float]], best: float) -> list[str]:
    counts = [median(_points(trace, target * best) for trace in traces) for target in TARGETS]
    shown = [f"{count:g}" if math.isfinite(count) else "–" for count in counts]
    return [*shown, f"{100 * median(trace[-1] for trace in traces) / best:.2f} %"]


def _points(trace: list[float], wanted: float) -> float:
    return next((index + 1 for index, value in enumerate(trace) if value >= wanted), math.inf)
