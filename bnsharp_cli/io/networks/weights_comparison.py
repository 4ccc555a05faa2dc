"""How the names and shapes of some weights differ from those of a network, and the refusal that says so."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bnsharp_cli.errors import CheckpointRefusedError, named
from bnsharp_cli.io.checkpoints.entries import some
from bnsharp_cli.io.checkpoints.state_dicts import NamedTensors
from bnsharp_cli.io.files.printable_text import one_line, shown_path

BATCH_COUNT = "num_batches_tracked"
"""The last part of the name of batch norm's counter, which no measure uses; files older than torch 0.4.1 lack it."""

OTHER_NETWORK = f"Name the right network with {named('arch')} (and {named('arch_option')})."
"""The remedy for weights of another network."""

_RELATED = 0.5
"""From this part on, weights that have tensors of a network are probably of the same one, somewhat changed."""

_PARAMETRISED = re.compile(r"(^|\.)parametrizations\.|_(orig|mask|u)$")


@dataclass(frozen=True)
class WeightsComparison:
    """How some weights differ from a network's in names and shapes.

    Attributes:
        missing: names that only the network has. Counters of batches are left out, since old files lack them, and so
            are further names of a tensor that the weights hold under one of its names.
        unexpected: names that only the weights have.
        misshapen: words for each name that both have with different shapes.
        alike: the part of the network's tensors that the weights have too, from 0 to 1.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]
    alike: float = 0.0

    @classmethod
    def of(cls, found: NamedTensors, expected: NamedTensors) -> WeightsComparison:
        """Compare the weights ``found`` with the tensors ``expected`` by a network."""
        shared = {memory_of(tensor) for name, tensor in expected.items() if name in found}
        absent = [name for name in expected if name not in found and not name.endswith(BATCH_COUNT)]
        both = {name: (found[name].shape, tensor.shape) for name, tensor in expected.items() if name in found}
        misshapen = [other_shape(name, *shapes) for name, shapes in both.items() if shapes[0] != shapes[1]]
        return cls(
            tuple(name for name in absent if memory_of(expected[name]) not in shared),
            tuple(name for name in found if name not in expected),
            tuple(misshapen),
            (len(both) - len(misshapen)) / max(1, len(expected)),
        )

    @property
    def complete(self) -> bool:
        """Whether the weights hold all that the network needs, and perhaps more."""
        return not self.missing and not self.misshapen

    @property
    def differences(self) -> int:
        """How many names or shapes differ."""
        return len(self.missing) + len(self.unexpected) + len(self.misshapen)

    def __str__(self) -> str:
        lacks = [f"lacks {some(self.missing, 3)}"] if self.missing else []
        unknown = [f"has unknown {some(self.unexpected, 3)}"] if self.unexpected else []
        return "; ".join([*lacks, *unknown, *(f"has {words}" for words in self.misshapen[:1])])


def other_shape(name: str, found: Iterable[int], expected: Iterable[int]) -> str:
    """The words of ``WeightsComparison.misshapen`` for one tensor."""
    return f"{one_line(name)} of {tuple(found)}, expected {tuple(expected)}"


def misfit(
    path: Path, comparison: WeightsComparison, parts: Iterable[str] = (), remedy: str = ""
) -> CheckpointRefusedError:
    """The refusal of weights that differ from a network's.

    Args:
        path: of the file.
        comparison: what differs.
        parts: keys of the parts of the file that would fit by themselves; the remedy names them.
        remedy: what else to do where most tensors are the network's; empty where nothing more is known.
    """
    keys = some(parts, 3, before=f"{named('key')} ")
    if keys:
        remedy = f"If the rest is no part of the network, choose its weights: {keys}."
    elif any(_PARAMETRISED.search(name) for name in comparison.unexpected):
        remedy = (
            "Its weights are parametrised or pruned: build that network yourself, "
            f"with {named('arch')} file.py:factory."
        )
    elif comparison.alike < _RELATED:
        remedy = OTHER_NETWORK
    elif not remedy:
        remedy = f"If its head or stem is another one, build that network yourself: {named('arch')} file.py:factory."
    return CheckpointRefusedError(
        f"{shown_path(path)} does not fit the architecture: it {comparison}.", remedy, subject=path
    )


def require_shared(path: Path, found: NamedTensors, network: NamedTensors) -> None:
    """Refuse weights that hold different tensors for one that the network has under several names.

    Args:
        path: of the file.
        found: the weights, by the network's own names.
        network: all tensors of the network.

    Raises:
        CheckpointRefusedError: loading would keep only the last of them.
    """
    first: dict[tuple[object, ...], str] = {}
    for name in found:
        one = first.setdefault(memory_of(network[name]), name)
        if one != name and not torch.equal(found[one], found[name]):
            raise CheckpointRefusedError(
                f"{shown_path(path)} holds two tensors, {one_line(one)} and {one_line(name)}, where the network has "
                "one tensor for both.",
                f"Name a network that does not share it, with {named('arch')}, or write "
                '"tie_word_embeddings": false into its config.json.',
                subject=path,
            )


def memory_of(tensor: Tensor) -> tuple[object, ...]:
    """Equal for tensors that are one and the same memory."""
    if not tensor.numel():
        return (id(tensor),)
    if tensor.is_meta:  # no memory, but still one storage for all names of a tensor
        return tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.shape, tensor.stride()
    return tensor.data_ptr(), tensor.shape, tensor.stride()
