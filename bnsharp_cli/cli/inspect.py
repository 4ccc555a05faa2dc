"""``bnsharp inspect``: what is in this checkpoint?"""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from bnsharp_cli import __version__
from bnsharp_cli.cli import arguments, results
from bnsharp_cli.workflows import torchrun as processes

EXAMPLE = "Example: bnsharp inspect model.pt --all"


def inspect(
    checkpoint: arguments.Checkpoint,
    key: arguments.Key = None,
    arch: arguments.Arch = None,
    arch_option: arguments.ArchOption = None,
    image_size: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", help="Size of the random images [default: the first that it accepts]."),
    ] = None,
    partition: arguments.Partition = "paper",
    seed: arguments.Seed = 0,
    every: Annotated[bool, typer.Option("--all", help="Every tensor, metadata entry and note.")] = False,
    json: arguments.Json = False,
    output: arguments.Output = None,
    quiet: arguments.Quiet = False,
) -> None:
    """Show what a checkpoint holds: network, metadata, norms and scale-invariant blocks, found without data.

    Blocks are found on random images, which is enough for them. Nothing in the file is executed.
    """
    began = time.monotonic()
    from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
    from bnsharp_cli.measurement.blocks.blocks import PARTITIONS
    from bnsharp_cli.report.inspection import inspection_entries, print_inspection
    from bnsharp_cli.report.terminal import console
    from bnsharp_cli.workflows.inspection import inspect_checkpoint
    from bnsharp_cli.workflows.subject import checkpoint_path

    processes.require_alone("inspect")
    arguments.require_seed(seed)
    arguments.require(partition, "--partition", PARTITIONS)
    results.require_writable(output)
    inspection = inspect_checkpoint(
        load_checkpoint(checkpoint_path(checkpoint), key),
        arch,
        arguments.parse_options(arch_option),
        image_size=image_size,
        partition=partition,
        seed=seed,
    )
    document: dict[str, Any] = {
        "schema": "bnsharp/1",
        "command": "inspect",
        "version": __version__,
        **inspection_entries(inspection),
        "options": {"partition": partition, "seed": seed, "image_size": image_size},
        "cost": {"seconds": time.monotonic() - began},
    }
    results.deliver((document, lambda: print_inspection(console(), inspection, every)), json, output)
