"""Peak memory of measuring a language model with ``memory="small"``, beside that of running it.

    python -m benchmarks.forward_memory [--tokens 64] [--layers 12] [--width 768]

GPT-2 with random weights (124 million at the defaults) runs on two batches of one text of random tokens, then
is measured on the same batches, each in a process of its own. The peak is that of resident memory (``VmHWM`` of
Linux) from when the weights are there. Every process has measured a tiny network before, so that the libraries
are loaded in all of them; what they take is subtracted in the last column.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import bnsharp_cli

_WORDS = 50257
_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_RUNS = (
    ("inference", "float32", "float32"),
    ("noise", "float32", "float32"),
    ("critical-radius", "float32", "float32"),
    ("inference", "bfloat16", "bfloat16"),
    ("noise", "bfloat16", "bfloat16"),
    ("critical-radius", "bfloat16", "bfloat16"),
)
"""What is done, the type of the stored weights, and the precision of the run."""


def main() -> None:
    """Print a table with one row for each run, or do one run and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--run", nargs=3)
    arguments = parser.parse_args()
    sizes = (arguments.tokens, arguments.layers, arguments.width)
    if arguments.run:
        print(json.dumps(_figures(*arguments.run, *sizes)))
        return
    print("| run | weights | weights, MB | peak, MB | beside inference | without the libraries |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    plain: dict[str, Any] = {}
    for run in _RUNS:
        found = _in_a_process(run, sizes)
        plain = found if run[0] == "inference" else plain
        whole, own = found["peak"] / plain["peak"], found["above"] / plain["above"]
        print(f"| {run[0]} | {run[1]} | {found['weights']:.0f} | {found['peak']:.0f} | {whole:.2f} | {own:.2f} |")


def _in_a_process(run: tuple[str, str, str], sizes: tuple[int, ...]) -> dict[str, Any]:
    named = [f"--{name}={size}" for name, size in zip(("tokens", "layers", "width"), sizes, strict=True)]
    command = [sys.executable, "-m", "benchmarks.forward_memory", *named, "--run", *run]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def _figures(what: str, stored: str, precision: str, tokens: int, layers: int, width: int) -> dict[str, float]:
    """The memory of one run, in MB; ``above`` is without that of the libraries."""
    _run("noise", _network(torch.float32, 8, 1, 8), 8, "float32")
    libraries = _peak()
    network = _network(_TYPES[stored], tokens, layers, width)
    weights = sum(parameter.nbytes for parameter in network.parameters()) / 2**20
    Path("/proc/self/clear_refs").write_text("5")
    _run(what, network, tokens, precision)
    return {"weights": weights, "peak": _peak(), "above": _peak() - libraries}


def _network(dtype: torch.dtype, tokens: int, layers: int, width: int) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        positions = max(tokens, 8)
        return GPT2LMHeadModel(
            GPT2Config(n_positions=positions, n_layer=layers, n_embd=width, n_head=max(1, width // 64))
        ).eval()
    finally:
        torch.set_default_dtype(torch.float32)


def _run(what: str, network: Any, tokens: int, precision: str) -> None:
    generator = torch.Generator().manual_seed(0)
    texts = [torch.randint(_WORDS, (1, tokens), generator=generator) for _ in range(2)]
    batches = [({"input_ids": text, "use_cache": False}, text.roll(-1, 1)) for text in texts]
    if what == "inference":
        with torch.no_grad():
            for inputs, targets in batches:
                _loss(network(**inputs), targets)
        return
    options: Any = {"noise_draws": 2, "sigma": 0.1} if what == "noise" else {}
    try:
        bnsharp_cli.measure(network, batches, _loss, what, memory="small", precision=precision, **options)
    except bnsharp_cli.errors.UnfitMeasureError as error:  # no radius: random weights have none that is finite
        print(error)


def _loss(outputs: Any, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs.logits.flatten(0, 1), targets.flatten())


def _peak() -> float:
    """The most resident memory so far, or since the mark was reset, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**10


if __name__ == "__main__":
    main()
