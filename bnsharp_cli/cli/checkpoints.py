"""The arguments that name checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bnsharp_cli.workflows.completion import offered_checkpoints


def _argument(text: str) -> Any:
    # typer does not look into files (readable=False); what opens them says why it cannot
    return typer.Argument(help=text, show_default=False, readable=False, autocompletion=offered_checkpoints)


CheckpointArgument = Annotated[Path, _argument("Checkpoint file, or sample:NAME.")]
OptionalCheckpointArgument = Annotated[
    Path | None, _argument("Checkpoint file, or sample:NAME; the embedded sample if left out.")
]
CheckpointArguments = Annotated[list[Path], _argument("Checkpoint files, or sample:NAME; one result each.")]
NetworksArguments = Annotated[
    list[Path], _argument("Results as JSON files, folders of them, checkpoint files, or sample:NAME.")
]
"""What is measured, or was measured before."""
