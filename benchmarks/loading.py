"""Reading a state_dict beside torch's own reader: seconds, and how many times as long.

    python -m benchmarks.loading [--megabytes 500] [--rounds 7]

``load_checkpoint`` takes the digest of the file, compares the checksums and looks for values that are not finite;
``torch.load(weights_only=True)`` does none of this. Medians of interleaved rounds, the file in the system's cache.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.device_timing import Bench, Scale
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint

_TENSORS = 50


def main() -> None:
    """Print a table: one row for each format, and one for a file of a few bytes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    bench = Bench(torch.device("cpu"), Scale(repeats=arguments.rounds), print, Path())
    print("| file | load_checkpoint, s | its own library, s | ratio | goal, s |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for megabytes in (arguments.megabytes, 0):
            tensors = {f"layer{n}.weight": torch.randn(megabytes * 5000 + 1) for n in range(_TENSORS)}
            zipped, mapped = Path(folder) / "net.pt", Path(folder) / "net.safetensors"
            torch.save(tensors, zipped)
            save_file(tensors, mapped)
            for path, library in ((zipped, _torch_load), (mapped, load_file)):
                ours, theirs = bench.seconds(partial(load_checkpoint, path), partial(library, path))
                columns = f"{ours:.3f} | {theirs:.3f} | {ours / theirs:.2f} | {1.3 * theirs + 0.3:.3f}"
                print(f"| {megabytes} MB {path.suffix} | {columns} |")


def _torch_load(path: Path) -> object:
    return torch.load(path, weights_only=True)


if __name__ == "__main__":
    main()
