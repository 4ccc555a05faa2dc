"""Putting weights into a network whose names may differ from theirs by what was wrapped around it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.state_dicts import MOST_WRAPPERS, below, some, without_wrappers
from bnsharp_cli.io.checkpoints.weight_norm import (
    apply_weight_norm,
    composed,
    modern_names,
    modernise,
    weights_with_norm,
)
from bnsharp_cli.io.files.printable_text import kind_and_line, one_line

Named = Mapping[str, Tensor]

BATCH_COUNT = "num_batches_tracked"
"""What batch norm counts and no measure uses; files older than torch 0.4.1 lack it."""

_JUDGE = re.compile(r"(?i)(^|_)(loss(es)?|criterion|metrics?|acc|accuracy|auroc|f1|precision|recall)(_|\d|$)")
_PARAMETRISED = re.compile(r"(^|\.)parametrizations\.|_(orig|mask|u)$")
_PARTS_DEEP = 3


@dataclass(frozen=True)
class Comparison:
    """How some weights differ from a network's in names and shapes.

    Attributes:
        missing: names that the network has alone; those of a tensor that it shares under a name that is there, and of
            counts of batches, which old files lack, aside.
        unexpected: names that the weights have alone.
        misshapen: what is wrong with the shapes of the others.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]

    @classmethod
    def of(cls, found: Named, expected: Named) -> Comparison:
        """The weights ``found`` beside those that a network has."""
        shared = {_place(tensor) for name, tensor in expected.items() if name in found}
        absent = [name for name in expected if name not in found and not name.endswith(BATCH_COUNT)]
        both = [name for name in expected if name in found and expected[name].shape != found[name].shape]
        return cls(
            tuple(name for name in absent if _place(expected[name]) not in shared),
            tuple(name for name in found if name not in expected),
            tuple(f"{one_line(n)} is {tuple(found[n].shape)}, expected {tuple(expected[n].shape)}" for n in both),
        )

    @property
    def complete(self) -> bool:
        """Whether the weights are all that the network needs, and perhaps more."""
        return not self.missing and not self.misshapen

    @property
    def differences(self) -> int:
        """How many names or shapes differ."""
        return len(self.missing) + len(self.unexpected) + len(self.misshapen)

    def __str__(self) -> str:
        lacks = [f"lacks {some(self.missing, 3)}"] if self.missing else []
        unknown = [f"has unknown {some(self.unexpected, 3)}"] if self.unexpected else []
        return "; ".join([*lacks, *unknown, *self.misshapen[:1]])


@dataclass(frozen=True)
class _Network:
    """A network's tensors by the names that they are compared by, and those that the module has for them."""

    tensors: Named
    names: Mapping[str, str]

    @classmethod
    def of(cls, module: nn.Module, prefix: str = "") -> _Network:
        state = {name: tensor for name, tensor in module.state_dict().items() if isinstance(tensor, Tensor)}
        names = {name.removeprefix(prefix): own for own, name in without_wrappers(state).items()}
        return cls({name: state[own] for name, own in names.items()}, names)

    def compare(self, found: Named) -> Comparison:
        """Weight norm aside, which the network can be given."""
        return Comparison.of(composed(found), composed(self.tensors))


def fit_weights(module: nn.Module, tensors: Named, source: str, key: str = "") -> tuple[str, ...]:
    """Put ``tensors`` into ``module``, all of them and nothing else.

    Names are taken as they are, or without the leading parts that all of them share (``model.``, ``net.``, …), in the
    file or in the network. A weight that the file keeps as length and direction is kept so (weight norm). Entries that
    belong to a loss or a metric by their names, beside a complete network, are left out.

    Args:
        module: the network; its parametrisations and its precision follow the weights.
        tensors: parameters and buffers by name.
        source: the file, for the messages.
        key: where in the file ``tensors`` are, for the messages.

    Returns:
        What the user should know, a line each.

    Raises:
        CheckpointRefusedError: names, shapes or types that do not fit.
    """
    modernise(module)
    found, own_prefix, left_out = _aligned(module, modern_names(tensors), source, key)
    network = _Network.of(module, own_prefix)
    for weight in weights_with_norm(found):
        if weight in network.names:
            apply_weight_norm(module, weight, network.names[weight], found)
    network = _Network.of(module, own_prefix)
    comparison = Comparison.of(found, network.tensors)
    if comparison.differences:
        raise misfit(source, comparison)
    _require_kinds(found, network.tensors, source)
    notes = _remarks(found, network.tensors, left_out)
    module.to(widest(found.values()))
    _load(module, {network.names[name]: tensor for name, tensor in found.items()}, source)
    return notes


def _aligned(module: nn.Module, tensors: Named, source: str, key: str) -> tuple[Named, str, tuple[str, ...]]:
    """The weights without what precedes their names, what to leave off the network's, and what was left out."""
    network = _Network.of(module)
    pairs = [(prefix, "") for prefix in shared_prefixes(tensors)]
    pairs += [("", prefix) for prefix in shared_prefixes(network.tensors)[1:]]
    compared = [_Network.of(module, own).compare(below(tensors, prefix)) for prefix, own in pairs]
    comparison, (prefix, own) = min(zip(compared, pairs, strict=True), key=lambda entry: entry[0].differences)
    if not comparison.differences:
        return below(tensors, prefix), own, ()
    parts = {prefix: network.compare(below(tensors, prefix)) for prefix in _prefixes(tensors)}
    whole = [prefix for prefix, part in parts.items() if part.complete]
    if len(whole) == 1:
        (prefix,) = whole
        unexpected = parts[prefix].unexpected
        left_out = [name for name in tensors if not name.startswith(prefix) or name[len(prefix) :] in unexpected]
        if all(any(_JUDGE.search(word) for word in name.split(".")) for name in left_out):
            part = below(tensors, prefix)
            return {name: part[name] for name in part if name not in unexpected}, "", tuple(left_out)
    fitting = [prefix[:-1] for prefix, part in parts.items() if prefix and not part.differences]
    raise misfit(source, comparison, [f"{key}.{prefix}".removeprefix(".") for prefix in fitting])


def shared_prefixes(names: Iterable[str]) -> list[str]:
    """Nothing, the first part of every name if they all share it, the first two parts, …."""
    rest, prefixes = list(names), [""]
    while (
        len(prefixes) <= MOST_WRAPPERS
        and rest
        and all("." in name for name in rest)
        and len({name.partition(".")[0] for name in rest}) == 1
    ):
        prefixes.append(f"{prefixes[-1]}{rest[0].partition('.')[0]}.")
        rest = [name.partition(".")[2] for name in rest]
    return prefixes


def _prefixes(names: Iterable[str]) -> list[str]:
    """Nothing, and whatever one to three parts some name begins with."""
    found = {"": None}
    for name in names:
        parts = name.split(".")[:-1][:_PARTS_DEEP]
        found |= {".".join(parts[: length + 1]) + ".": None for length in range(len(parts))}
    return list(found)


def misfit(source: str, comparison: Comparison, parts: Iterable[str] = ()) -> CheckpointRefusedError:
    """The refusal of weights for what differs; it names the ``parts`` of the file that would fit, by their keys."""
    keys = some([f"--key {part}" for part in parts], 3)
    remedy = "Name the right network with --arch (and --arch-option)."
    if keys:
        remedy = f"If the rest is no part of the network, choose its weights: {keys}."
    elif any(_PARAMETRISED.search(name) for name in comparison.unexpected):
        remedy = "Its weights are parametrised or pruned: build that network yourself, with --arch file.py:factory."
    return CheckpointRefusedError(f"{source} does not fit the architecture: it {comparison}.", remedy)


def _require_kinds(found: Named, expected: Named, source: str) -> None:
    """Refuse numbers of a kind that the network would silently cast."""
    for name, tensor in found.items():
        if tensor.is_floating_point() != expected[name].is_floating_point() and not name.endswith(BATCH_COUNT):
            raise CheckpointRefusedError(
                f"{source}: '{one_line(name)}' is {tensor.dtype}, expected {expected[name].dtype} as in the network.",
                "Use a checkpoint of the network's own weights.",
            )


def _load(module: nn.Module, tensors: Named, source: str) -> None:
    """Load ``tensors`` as written by the module that is here: some ask for the version that wrote them."""
    state = module.state_dict()
    state.update(tensors)
    try:
        module.load_state_dict(state)
    except Exception as error:  # a module, perhaps the user's, raises whatever it likes
        reason = kind_and_line(error)
        raise CheckpointRefusedError(
            f"{source} does not fit the architecture: it says {reason}.", "Name the right network with --arch."
        ) from error


def _remarks(found: Named, expected: Named, left_out: Iterable[str]) -> tuple[str, ...]:
    counts = any(name.endswith(BATCH_COUNT) and name not in found for name in expected)
    notes = [f"the file has no {BATCH_COUNT}, which nothing here uses"] if counts else []
    ignored = some(left_out, 3)
    return (*notes, f"left out as no part of the network: {ignored}") if ignored else tuple(notes)


def widest(tensors: Iterable[Tensor]) -> torch.dtype:
    """float64 if one of the tensors has it, else float32: what the network that takes them keeps them in."""
    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


def _place(tensor: Tensor) -> tuple[object, ...]:
    """Equal for tensors that are one and the same memory."""
    if tensor.is_meta or not tensor.numel():
        return (id(tensor),)
    return tensor.data_ptr(), tensor.shape, tensor.stride()
