"""One step of ``benchmarks.cuda`` in this process: ``python -m benchmarks.cuda_step NAME --rows FILE``."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.cuda_steps import STEPS
from benchmarks.device_timing import SMOKE, Bench, Scale
from bnsharp_cli.measurement.surface.arithmetic import undisturbed


def main() -> None:
    """Run it; rows are appended to the file as soon as they are known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--device", required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--cifar", default="")
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()

    def write(line: str) -> None:
        with given.rows.open("a") as stream:
            stream.write(line + "\n")

    device, scale = torch.device(given.device), SMOKE if given.smoke else Scale()
    chosen = STEPS[given.step]
    module, _, function = chosen.load.partition(":")
    step = getattr(import_module(f"benchmarks.{module}"), function)
    try:
        with undisturbed(device) if chosen.exact else nullcontext():
            step(Bench(device, scale, write, given.folder, given.cifar), *chosen.arguments)
    except Exception as error:  # what is told here is the reason on the page; the traceback is in the log
        write(f"\n{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}")
        raise


if __name__ == "__main__":
    main()
