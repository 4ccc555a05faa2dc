"""One method in a process of its own: requests come as JSON lines on stdin, answers go to stdout."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from functools import cache

import torch

from benchmarks.methods import run
from benchmarks.networks import Problem, Sources, problem
from benchmarks.timing import Memory


def main(network: str, samples: int, batch_size: int, method: str, threads: int, sources: dict[str, str]) -> None:
    """Answer until stdin ends: ``{"seed", "copy"}`` → value, passes, seconds, peak memory and loss."""
    torch.set_num_threads(threads)

    @cache
    def prepared(copy: int | None) -> tuple[Problem, float]:
        built = problem(network, samples, batch_size, () if copy is None else (copy,), Sources(**sources))
        return built, built.loss()

    prepared(None)
    memory = Memory()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        subject, loss = prepared(request["copy"])
        memory.reset()
        start = time.perf_counter()
        value, passes = run(method, subject, request["seed"])
        seconds = time.perf_counter() - start
        answer = {"value": value, **asdict(passes), "seconds": seconds, "peak_mib": memory.peak_mib(), "loss": loss}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
