"""A checkpoint's network with its weights, in two steps: what does not fit is refused before the weights are read."""

from __future__ import annotations

import torch
from torch import nn

from bnsharp_cli.io.checkpoints.checkpoint import Checkpoint
from bnsharp_cli.io.networks.load_weights import load_weights, require_fit
from bnsharp_cli.io.networks.network_identity import NetworkIdentity


def fitting_network(identity: NetworkIdentity, outline: Checkpoint, seed: int = 0) -> nn.Module | None:
    """Refuse a checkpoint whose weights do not fit its network, from their names, shapes and types alone.

    Args:
        identity: of the network.
        outline: the checkpoint without the values of its weights.
        seed: of the initial weights that a function of the user's draws.

    Returns:
        The network that a function of the user's built, since it is called once; None for any other.

    Raises:
        UsageError: the network is unknown, or cannot be built.
        CheckpointRefusedError: names, shapes or types do not fit.
    """
    module = identity.outline(outline)
    if module is not None:
        require_fit(module, outline)
        return None
    users = _built(identity, outline, seed)
    require_fit(users, outline)
    return users


def loaded_network(
    identity: NetworkIdentity, checkpoint: Checkpoint, module: nn.Module | None, seed: int = 0
) -> tuple[nn.Module, tuple[str, ...]]:
    """The network with the weights of a checkpoint, and what the user should know about it, a line each.

    Args:
        identity: of the network.
        checkpoint: as it was read.
        module: from :func:`fitting_network`.
        seed: of the initial weights.

    Raises: as :func:`fitting_network`, and CheckpointRefusedError for values that are not sound.
    """
    module = module if module is not None else _built(identity, checkpoint, seed)
    return module, load_weights(module, checkpoint)


def _built(identity: NetworkIdentity, checkpoint: Checkpoint, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return identity.build(checkpoint)
