"""How long ``bnsharp --help`` and a completion take, beside a bare interpreter: ``python benchmarks/startup.py``."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

COMMAND = [sys.executable, "-m", "bnsharp_cli"]
COMPLETION = {"_BNSHARP_COMPLETE": "complete_bash", "COMP_WORDS": "bnsharp measure --se", "COMP_CWORD": "2"}
CASES: dict[str, tuple[list[str], dict[str, str]]] = {
    "python -c pass": ([sys.executable, "-c", "pass"], {}),
    "bnsharp --help": ([*COMMAND, "--help"], {}),
    "bnsharp measure --help": ([*COMMAND, "measure", "--help"], {}),
    "completion of an option": (
        [sys.executable, "-c", "from bnsharp_cli.cli.main import main; main()"],
        COMPLETION,
    ),
}


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Wall time of one run."""
    began = time.monotonic()
    subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def main() -> None:
    """Print the median of each case over interleaved runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="interleaved runs of each")
    rounds = [[seconds(*case) for case in CASES.values()] for _ in range(parser.parse_args().runs)]
    for name, times in zip(CASES, zip(*rounds, strict=True), strict=True):
        sys.stdout.write(f"{name:24} {statistics.median(times):.3f} s\n")


if __name__ == "__main__":
    main()
