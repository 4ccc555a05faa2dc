"""What a GPU says: does it agree with the CPU, and how fast is a pass beside a plain PyTorch loop there?

One command of at most nine minutes, most important steps first::

    benchmarks/cuda.sh --output benchmarks/RESULTS-cuda.md --folder runs/cuda --cifar folder:DIR
    benchmarks/cuda.sh --smoke --device cpu     # the same code on small problems, without a GPU

Each step runs in a process of its own for at most its own time, so that one which fails or takes too long loses nothing
but its last rows. Its rows are in ``--folder`` as soon as they are known, and so is the page, which is written after
each step. A step that came to its end is not repeated by a later call with the same folder, device and size.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.cuda_steps import STEPS
from benchmarks.timing import ROOT, Record, Store

LEAST = 5.0
"""Seconds below which nothing more is started."""


@dataclass(frozen=True)
class Plan:
    """What is run, and where it is written.

    Attributes:
        folder: of the rows, what the processes print, and which steps came to their end.
        output: the page.
        device: such as cuda.
        smoke: whether problems are small.
        cifar: a data spec of images of ten classes; empty for none.
        steps: names from ``STEPS``.
        seconds: for all of them.
        longest: seconds of one step; None for its own bound.
    """

    folder: Path
    output: Path | None
    device: str
    smoke: bool
    cifar: str
    steps: tuple[str, ...]
    seconds: float
    longest: float | None = None

    def key(self, step: str) -> Record:
        """What a result belongs to."""
        return {"step": step, "device": _name(self.device), "smoke": self.smoke}

    def rows(self, step: str) -> Path:
        """The file of a step's rows."""
        return self.folder / f"{step}.md"

    def command(self, step: str) -> list[str]:
        """The process of a step."""
        arguments = ["--device", self.device, "--rows", str(self.rows(step)), "--folder", str(self.folder)]
        arguments += ["--cifar", self.cifar] if self.cifar else []
        return [sys.executable, "-m", "benchmarks.cuda_step", step, *arguments, *(["--smoke"] if self.smoke else [])]


def run(plan: Plan) -> dict[str, str]:
    """Run what is left of the plan.

    Returns:
        How each step ended.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    store, end, ended = Store(plan.folder / "steps.jsonl"), time.monotonic() + plan.seconds, {}
    for step in plan.steps:
        key = plan.key(step)
        if store.has(key):
            ended[step] = "done before"
        elif (left := end - time.monotonic()) < LEAST:
            ended[step] = "not started, the time was over"
        else:
            began = time.monotonic()
            ended[step] = _run(plan, step, min(left, plan.longest or STEPS[step].seconds))
            seconds = time.monotonic() - began
            if ended[step] == "done":
                store.compute(key, lambda seconds=seconds: {"seconds": round(seconds, 1)})
            ended[step] += f", {seconds:.0f} s"
        print(f"[{step}: {ended[step]}]", flush=True)
        if plan.output:
            plan.output.write_text(page(plan, ended))
    return ended


def page(plan: Plan, ended: dict[str, str]) -> str:
    """All rows that there are, in Markdown."""
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    parts = [f"# On a GPU\n\n{_name(plan.device)}, {versions}. Printed by `benchmarks/cuda.sh`."]
    for step in plan.steps:
        rows = plan.rows(step).read_text().strip() if plan.rows(step).exists() else ""
        parts.append(f"## {STEPS[step].title}\n\n{rows}\n\n({step}: {ended.get(step, 'not reached')})")
    return "\n\n".join(parts) + "\n"


def _run(plan: Plan, step: str, seconds: float) -> str:
    """Run one step in a process group of its own, which is ended when its time is over."""
    plan.rows(step).write_text("")
    with (plan.folder / f"{step}.log").open("w") as log:
        process = subprocess.Popen(
            plan.command(step), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:  # at the end of its time, or when this command is interrupted
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    print(plan.rows(step).read_text(), flush=True)
    if code is None:
        return f"stopped after its time of {seconds:.0f} s"
    return "done" if code == 0 else f"failed with exit code {code}"


def _name(device: str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or "CPU"


def main(arguments: list[str] | None = None) -> None:
    """Parse and run; the exit code is 1 if a step failed."""
    parser = argparse.ArgumentParser(prog="benchmarks/cuda.sh", description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--output", type=Path, help="the page to write")
    parser.add_argument("--folder", type=Path, default=Path("runs/cuda"), help="rows, logs and what is done")
    parser.add_argument("--cifar", default="", help="images of ten classes, as folder:DIR")
    parser.add_argument("--seconds", type=float, default=540)
    parser.add_argument("--longest", type=float, help="seconds of one step, instead of its own bound")
    parser.add_argument("--smoke", action="store_true", help="small problems, to see that everything runs")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=[*STEPS])
    given = parser.parse_args(arguments)
    folder = given.folder.absolute()
    plan = Plan(
        folder, given.output, given.device, given.smoke, given.cifar, (*given.steps,), given.seconds, given.longest
    )
    if any("failed" in how for how in run(plan).values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
