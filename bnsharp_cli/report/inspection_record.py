"""What can be said of a checkpoint without data, as records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from bnsharp_cli.io.checkpoints.checkpoint import Checkpoint
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.networks.network_identity import NetworkIdentity
from bnsharp_cli.measurement.blocks.blocks import Blocks


@dataclass(frozen=True)
class Norms:
    """Norms of one kind.

    Attributes:
        kind: batch, instance, group, layer or rms.
        epsilon: what they add to the variance.
        owners: names of their modules in the order of the calls; a number in brackets for a call outside a module.
    """

    kind: str
    epsilon: float | None
    owners: tuple[str, ...]


@dataclass(frozen=True)
class InspectedNetwork:
    """A network with the weights of a checkpoint, seen with random inputs.

    Attributes:
        module: the network.
        point: its parameters.
        blocks: found on the inputs.
        norms: in the order of their first calls.
        inputs: shape of the random inputs, samples first.
    """

    module: nn.Module
    point: Mapping[str, Tensor]
    blocks: Blocks
    norms: tuple[Norms, ...]
    inputs: tuple[int, ...]


@dataclass(frozen=True)
class Inspection:
    """What can be said of a checkpoint.

    Attributes:
        checkpoint: as read.
        identity: its network, as far as it is known.
        preprocessing: what its images get; None for an unknown network.
        anatomy: None for an unknown network, or one that accepts no random inputs.
        notes: what the user should know, a line each.
        head: what a network of texts answers with, in words; empty for any other.
    """

    checkpoint: Checkpoint
    identity: NetworkIdentity
    preprocessing: Preprocessing | None
    anatomy: InspectedNetwork | None
    notes: tuple[str, ...]
    head: str = ""
