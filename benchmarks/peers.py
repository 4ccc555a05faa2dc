"""BN-Sharpness against its peers: ``python -m benchmarks.peers --networks DIR --cifar folder:DIR``.

The networks are trained, since nobody measures random weights: LeNet-BN is the sample checkpoint, resnet18 and vgg11-bn
are trained here on CIFAR-10 images to a training loss below 0.1, unless their states are in the folder.

Every run of every method is a record in a JSONL file, so an interrupted command goes on where it stopped, and the
Markdown tables are rendered from that file alone.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from benchmarks.methods import METHODS
from benchmarks.networks import Sources
from benchmarks.solvers import DELTAS, STARTS, compare
from benchmarks.tables import SEEDS, environment, render
from benchmarks.timing import Store, Worker

FOLDER = Path(__file__).parent
PARTS = ("time", "values", "search", "tables")
COPY = 0


@dataclass(frozen=True)
class Plan:
    """How much is run.

    Attributes:
        sizes: samples and batch size of each network.
        rounds: timed runs of each method, interleaved; their seeds are 0, 1, …
        seeds: of the spread, the timed ones among them.
        budget: points that a solver may evaluate.
        search_samples: in one batch, for the solvers.
        sources: of the trained networks.
    """

    sizes: dict[str, tuple[int, int]]
    rounds: int
    seeds: int
    budget: int
    search_samples: int
    sources: Sources = field(default_factory=Sources)


FULL = Plan({"lenet-bn": (1024, 128), "resnet18 trained": (64, 32), "vgg11-bn trained": (64, 32)}, 3, SEEDS, 50, 128)
QUICK = Plan({"lenet-bn": (128, 64)}, 2, 3, 6, 64)


class Deadline:
    """Says when to start nothing more."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self._end


def time_runs(plan: Plan, network: str, store: Store, threads: int, deadline: Deadline) -> None:
    """Timed runs of all methods in turn, each in its own process."""
    turns = [(seed, method) for seed in range(plan.rounds) for method in METHODS]
    missing = [(seed, method) for seed, method in turns if not store.has(_key(network, method, seed))]
    with contextlib.ExitStack() as stack:
        methods = dict.fromkeys(method for _, method in missing)
        workers = {method: stack.enter_context(_worker(plan, network, method, threads)) for method in methods}
        for worker in workers.values():
            worker.wait()
        for seed, method in missing:
            if deadline.passed:
                return
            _ask(store, workers[method], network, method, seed)


def more_values(plan: Plan, network: str, store: Store, threads: int, deadline: Deadline) -> None:
    """The values of the seeds that were not timed, and of a copy under T_a."""
    for method in METHODS:
        wanted: list[tuple[int, int | None]] = [(seed, None) for seed in range(plan.rounds, plan.seeds)]
        wanted = [run for run in [*wanted, (0, COPY)] if not store.has(_key(network, method, *run))]
        if not wanted or deadline.passed:
            continue
        with _worker(plan, network, method, threads) as worker:
            worker.wait()
            for seed, copy in wanted:
                if not deadline.passed:
                    _ask(store, worker, network, method, seed, copy)


def searches(plan: Plan, store: Store, threads: int, deadline: Deadline) -> None:
    """Our search rules and other libraries' solvers from the same starts."""
    for delta, start in itertools.product(DELTAS, STARTS):
        key = {"part": "search", "delta": delta, "start": start}
        if not deadline.passed:
            store.compute(key, partial(compare, delta, start, plan.search_samples, plan.budget, threads))


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing and render the tables."""
    options = _options(arguments)
    plan = QUICK if options.quick else replace(FULL, sources=Sources(str(options.networks), options.cifar))
    suffix = "-quick" if options.quick else ""
    store = Store(options.results or FOLDER / f"results{suffix}.jsonl")
    deadline = Deadline(options.seconds)
    for network in plan.sizes:
        if options.network in {None, network}:
            if "time" in options.part:
                time_runs(plan, network, store, options.threads, deadline)
            if "values" in options.part:
                more_values(plan, network, store, options.threads, deadline)
    if "search" in options.part:
        searches(plan, store, options.threads, deadline)
    store.compute({"part": "environment"}, environment)
    if "tables" in options.part:
        text = render(store, plan.sizes, plan.rounds, plan.budget, plan.search_samples)
        if options.markdown:
            _replace_section(options.markdown, text)
        else:
            print(text)


def _key(network: str, method: str, seed: int, copy: int | None = None) -> dict[str, object]:
    return {"part": "methods", "network": network, "method": method, "seed": seed, "copy": copy}


def _worker(plan: Plan, network: str, method: str, threads: int) -> Worker:
    samples, batch_size = plan.sizes[network]
    sources = asdict(plan.sources)
    return Worker(
        network=network, samples=samples, batch_size=batch_size, method=method, threads=threads, sources=sources
    )


def _ask(store: Store, worker: Worker, network: str, method: str, seed: int, copy: int | None = None) -> None:
    key = _key(network, method, seed, copy)
    store.compute(key, lambda: worker.ask(seed=seed, copy=copy))
    print(network, method, seed, "" if copy is None else "T_a", flush=True)


def _replace_section(path: Path, text: str) -> None:
    """Put the tables between their two marks, or at the end of the file."""
    first, last = "<!-- peers -->", "<!-- /peers -->"
    before = path.read_text() if path.exists() else "# Results\n"
    head, _, rest = before.partition(first)
    tail = rest.partition(last)[2]
    path.write_text(f"{head.rstrip()}\n\n{first}\n{text}\n{last}\n{tail.lstrip()}")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--part", choices=PARTS, nargs="+", default=PARTS, help="what to run; default all")
    parser.add_argument("--network", choices=[*FULL.sizes], help="only this network")
    parser.add_argument("--networks", type=Path, default=Path("networks"), help="folder of the trained networks")
    parser.add_argument("--cifar", default="folder:cifar10", help="CIFAR-10 images, as for bnsharp measure --data")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start nothing more after this long")
    parser.add_argument("--results", type=Path, help="where records are appended; default benchmarks/results.jsonl")
    parser.add_argument("--markdown", type=Path, help="write the tables into this file instead of printing them")
    parser.add_argument("--quick", action="store_true", help="a smoke run on LeNet-BN, a few minutes")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
