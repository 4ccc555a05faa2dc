"""Reading a state_dict beside torch's own reader: seconds, and how many times as long.

    python -m benchmarks.loading [--megabytes 500] [--rounds 7]

``load_checkpoint`` takes the digest of the file, compares the checksums and looks for values that are not finite;
``torch.load(weights_only=True)`` does none of this. ``safetensors`` reads nothing yet: it maps the file. Medians of
interleaved rounds, the file in the system's cache. Each read has a process of its own, as a command has: a second read
in the same process is given the memory of the first, which makes ``torch.load`` six times faster.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

_TENSORS = 50
_READERS = {
    "ours": "from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint as read",
    "torch": "import functools, torch; read = functools.partial(torch.load, weights_only=True)",
    "safetensors": "from safetensors.torch import load_file as read",
}
_PROGRAM = """
import pathlib, sys, time, torch
{reader}
begin = time.perf_counter()
content = read(pathlib.Path(sys.argv[1]))
print(time.perf_counter() - begin)
"""


def main() -> None:
    """Print a table: one row for each format, for a large file and one of a few bytes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    print("| file | load_checkpoint, s | its own library, s | torch.load of the same weights, s | goal, s |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for megabytes in (arguments.megabytes, 0):
            tensors = {f"layer{n}.weight": torch.randn(megabytes * 5000 + 1) for n in range(_TENSORS)}
            zipped, mapped = Path(folder) / "net.pt", Path(folder) / "net.safetensors"
            torch.save(tensors, zipped)
            save_file(tensors, mapped)
            runs = {"ours .pt": zipped, "torch": zipped, "ours .safetensors": mapped, "safetensors": mapped}
            seconds = _medians(runs, arguments.rounds)
            for suffix, library in ((".pt", "torch"), (".safetensors", "safetensors")):
                columns = (seconds[f"ours {suffix}"], seconds[library], seconds["torch"], 1.3 * seconds["torch"] + 0.3)
                print(f"| {megabytes} MB {suffix} | " + " | ".join(f"{value:.3f}" for value in columns) + " |")


def _medians(runs: dict[str, Path], rounds: int) -> dict[str, float]:
    """Median seconds of each run, interleaved."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, path in runs.items():
            program = _PROGRAM.format(reader=_READERS[name.split()[0]])
            done = subprocess.run([sys.executable, "-c", program, path], check=True, capture_output=True, text=True)
            seconds[name].append(float(done.stdout))
    return {name: statistics.median(values) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
