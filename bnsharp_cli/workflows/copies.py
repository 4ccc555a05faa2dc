"""Writes rescaled copies of a network as checkpoints that can be measured like any other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.io.checkpoints.checkpoint import save_checkpoint
from bnsharp_cli.io.checkpoints.model_directory import HUGGINGFACE
from bnsharp_cli.io.files.atomic_writing import make_folder, require_writable_folder
from bnsharp_cli.measurement.invariance.copies import RescaledCopy
from bnsharp_cli.workflows.input_files import input_files, require_no_input
from bnsharp_cli.workflows.measured_network import MeasuredNetwork
from bnsharp_cli.workflows.output_files import copy_path


def require_a_name_for_copies(network: MeasuredNetwork) -> None:
    """Refuse to save copies of a network that no file may name, before it is measured.

    Raises:
        UsageError: it was built from a directory of Hugging Face's.
    """
    if network.architecture.startswith(f"{HUGGINGFACE}:"):
        raise UsageError(
            f"{named('save_copies')}: a copy is one file, and no file may name the directory of its network.",
            f"Leave it out, or name the network with {named('arch')} file.py:factory.",
            argument="save_copies",
            expected="a network with a name or a function of yours",
            found=network.architecture,
        )


def save_copies(folder: Path, network: MeasuredNetwork, copies: Sequence[RescaledCopy], stored: bool) -> None:
    """Write every copy to a checkpoint of its own.

    Args:
        folder: where to; it is made if it is not there.
        network: what was copied.
        copies: of it.
        stored: with ε as stored, so that the loss differs; otherwise with ε per channel under a key of our own. The
            names of the files and an entry of the metadata tell.

    Raises:
        UsageError: a folder that cannot be made, or the network itself among the names of its copies.
    """
    require_writable_folder(folder, "save_copies")
    make_folder(folder, "save_copies")
    paths = [copy_path(folder, copy.name, stored) for copy in copies]
    for path in paths:
        require_no_input(path, "save_copies", input_files([network.checkpoint.path]))
    for path, copy in zip(paths, copies, strict=True):
        _save(path, network, copy, stored)


def _save(path: Path, network: MeasuredNetwork, copy: RescaledCopy, stored: bool) -> None:
    metadata = network.checkpoint.metadata
    save_checkpoint(
        path,
        _state(network.opened.module, copy),
        architecture=network.architecture,
        architecture_options=dict(network.opened.identity.options),
        preprocessing=network.data.preprocessing.to_dict(),
        **({"data": metadata["data"]} if "data" in metadata else {}),
        copy={
            "of_sha256": network.checkpoint.sha256,
            "transformation": copy.name,
            "epsilon": "as stored: the loss differs" if stored else "per channel, under norm_epsilon",
        },
        **({} if stored else {"norm_epsilon": list(copy.norm_epsilon)}),
    )


def _state(module: nn.Module, copy: RescaledCopy) -> dict[str, Tensor]:
    """The copy's tensors under every name that the module has for them: tied weights have several."""
    own = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    first: dict[int, str] = {}
    for name, tensor in own:
        first.setdefault(id(tensor), name)
    changed = {**copy.stored.buffers, **copy.point}
    aliases = {name: changed[first[id(tensor)]] for name, tensor in own if first[id(tensor)] in changed}
    return {name: aliases.get(name, tensor) for name, tensor in module.state_dict().items()}
