"""Putting weights into a network whose names may differ from theirs by what was wrapped around either of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from bnsharp_cli.errors import CheckpointRefusedError, named
from bnsharp_cli.io.checkpoints.checkpoint import Checkpoint
from bnsharp_cli.io.checkpoints.entries import some
from bnsharp_cli.io.checkpoints.sound_weights import holds_infinity, verify_finite
from bnsharp_cli.io.checkpoints.state_dicts import (
    NamedTensors,
    below,
    in_precision,
    shared_prefixes,
    widest_precision,
    without_wrappers,
)
from bnsharp_cli.io.files.printable_text import kind_and_line, one_line, shown_path
from bnsharp_cli.io.networks.earlier_names import under_names_of_today
from bnsharp_cli.io.networks.huggingface_networks import renamed, under_own_names
from bnsharp_cli.io.networks.network_identity import NetworkIdentity
from bnsharp_cli.io.networks.outline_limits import SPARE_NUMBERS
from bnsharp_cli.io.networks.own_network import remedy_for
from bnsharp_cli.io.networks.taken_over import take_over
from bnsharp_cli.io.networks.weight_norm import (
    apply_weight_norm,
    composed,
    folded,
    modern_names,
    modernise,
    weights_with_norm,
)
from bnsharp_cli.io.networks.weights_comparison import BATCH_COUNT, WeightsComparison, memory_of, misfit, require_shared

_LOSS_OR_METRIC = re.compile(r"(?i)(^|_)(loss(es)?|criterion|metrics?|acc|accuracy|auroc|f1|precision|recall)(_|\d|$)")
_PARTS_DEEP, _MOST_ASKED = 6, 64


@dataclass(frozen=True)
class _Network:
    """A network's tensors, by the names under which weights are compared with them.

    Attributes:
        tensors: by these names.
        own_names: the module's own name for each of them.
    """

    tensors: NamedTensors
    own_names: Mapping[str, str]

    @classmethod
    def of(cls, module: nn.Module, prefix: str = "") -> _Network:
        """The tensors of ``module``, whose names lose ``prefix`` and the marks of wrappers."""
        state = {name: tensor for name, tensor in module.state_dict().items() if isinstance(tensor, Tensor)}
        names = {name.removeprefix(prefix): own for own, name in without_wrappers(state).items()}
        return cls({name: state[own] for name, own in names.items()}, names)

    @property
    def fewest(self) -> int:
        """How many tensors there are in any weights that are complete; a tensor under several names counts once."""
        return len(
            {memory_of(tensor) for name, tensor in composed(self.tensors).items() if not name.endswith(BATCH_COUNT)}
        )

    def compare(self, found: NamedTensors) -> WeightsComparison:
        """Compare weights with the network as if neither had weight norm, since the network can be given it."""
        return WeightsComparison.of(composed(found), composed(self.tensors))


@dataclass(frozen=True)
class _Alignment:
    """The weights that go into a network, by the names that it has for them.

    Attributes:
        tensors: by the names under which they are compared.
        prefix: what the network's own names have in front of these.
        left_out: entries of the file that belong to a loss or a metric.
    """

    tensors: NamedTensors
    prefix: str = ""
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Fitting:
    """Weights that fit a network.

    Attributes:
        tensors: by the network's own names.
        notes: what the user should know, a line each.
    """

    tensors: NamedTensors
    notes: tuple[str, ...]


def require_fit(module: nn.Module, outline: Checkpoint, identity: NetworkIdentity | None = None) -> None:
    """Refuse weights that :func:`load_weights` would refuse for their names, shapes or types, without their values.

    Weights that transformers knows by other names can be compared by loading them only; here they are refused where
    they are far more than the network has.

    Args:
        module: the network, which gets the weight norm that the weights have; it may be on the meta device.
        outline: the checkpoint without the values of its weights.
        identity: what built the network.

    Raises:
        CheckpointRefusedError: names, shapes or types do not fit.
    """
    tensors = outline.state_dict
    if not renamed(module, tensors):
        _fitting(module, tensors, outline.path, outline.key, identity)
        return
    network = module.state_dict()
    held, needed = (sum(tensor.numel() for tensor in one.values()) for one in (tensors, network))
    if held > 2 * needed + SPARE_NUMBERS:
        raise misfit(outline.path, WeightsComparison.of(tensors, network))


def load_weights(module: nn.Module, checkpoint: Checkpoint, identity: NetworkIdentity | None = None) -> tuple[str, ...]:
    """Put a checkpoint's weights into ``module``, which ``identity`` may have built, all of them and nothing else.

    See :func:`load_tensors` for the differences in names that are bridged.

    Returns:
        What the user should know about it, a line each.

    Raises:
        CheckpointRefusedError: names or shapes do not fit the network.
    """
    tensors = under_own_names(module, checkpoint.state_dict, checkpoint.path)
    return load_tensors(module, tensors, checkpoint.path, checkpoint.key, identity)


def load_tensors(
    module: nn.Module,
    tensors: NamedTensors,
    path: Path,
    key: str = "",
    identity: NetworkIdentity | None = None,
) -> tuple[str, ...]:
    """Put ``tensors`` into ``module``, all of them and nothing else.

    Names are taken as they are, or without the leading parts that all of them share (``model.``, ``net.``, …), in the
    file or in the network, or under those that torchvision and timm gave them before. A weight that the file keeps as
    length and direction stays so (weight norm). Where the rest is a complete network, entries are left out whose names
    are those of a loss or a metric.

    Args:
        module: the network; its parametrisations and its precision follow the weights.
        tensors: parameters and buffers by name.
        path: of the file, for the messages.
        key: where in the file ``tensors`` are, for the messages.
        identity: what built the network, if that is known.

    Returns:
        What the user should know, a line each.

    Raises:
        CheckpointRefusedError: names, shapes or types do not fit, or length and direction make no finite weight.
    """
    fitting = _fitting(module, tensors, path, key, identity)
    widest = widest_precision(fitting.tensors.values())
    module._apply(partial(in_precision, dtype=widest))  # type: ignore[no-untyped-call]  # torch's; to() drops what is i
    take_over(module, fitting.tensors)
    _load(module, fitting.tensors, path)
    buffers = {name for name, _ in module.named_buffers(remove_duplicate=False)}
    weights = {name: tensor for name, tensor in fitting.tensors.items() if name not in buffers}
    require_shared(path, weights, module.state_dict())
    verify_finite(path, {**weights, **folded(module, weights_with_norm(fitting.tensors))})
    infinite = some([name for name in fitting.tensors if name in buffers and holds_infinity(fitting.tensors[name])], 3)
    return (*fitting.notes, f"infinite values in buffers of the network: {infinite}") if infinite else fitting.notes


def _fitting(
    module: nn.Module, tensors: NamedTensors, path: Path, key: str, identity: NetworkIdentity | None
) -> _Fitting:
    """The weights that go into ``module``, by its own names; ``module`` gets the weight norm that they have.

    No value is looked at.
    """
    modernise(module)
    today = under_names_of_today(module, modern_names(tensors))
    aligned = _aligned(module, today.tensors, path, key, identity)
    found, network = aligned.tensors, _Network.of(module, aligned.prefix)
    parameters = {name for name, _ in module.named_parameters()}
    for weight in weights_with_norm(found):
        if network.own_names.get(weight) in parameters:  # a buffer, such as a variance, has no length and direction
            apply_weight_norm(module, weight, network.own_names[weight], found)
    network = _Network.of(module, aligned.prefix)
    comparison = WeightsComparison.of(found, network.tensors)
    if comparison.differences:
        raise misfit(path, comparison, remedy=remedy_for(identity, found, network.tensors))
    _require_kinds(found, network.tensors, path)
    named_here = {network.own_names[name]: tensor for name, tensor in found.items()}
    return _Fitting(named_here, _notes(found, network.tensors, (*today.left_out, *aligned.left_out)))


def _aligned(
    module: nn.Module, tensors: NamedTensors, path: Path, key: str, identity: NetworkIdentity | None
) -> _Alignment:
    """The alignment without differences, or the one without losses and metrics, or the refusal of the weights."""
    network = _Network.of(module)
    pairs = [(prefix, "") for prefix in shared_prefixes(tensors)]
    pairs += [("", own) for own in shared_prefixes(network.tensors)[1:]]
    compared = [_Network.of(module, own).compare(below(tensors, prefix)) for prefix, own in pairs]
    comparison, (prefix, own) = min(zip(compared, pairs, strict=True), key=lambda entry: entry[0].differences)
    if not comparison.differences:
        return _Alignment(below(tensors, prefix), own)
    fewest = network.fewest
    parts = {prefix: network.compare(part) for prefix, part in _parts(tensors).items() if len(part) >= fewest}
    complete = [prefix for prefix, part in parts.items() if part.complete]
    if len(complete) == 1:
        without = _without_losses(tensors, complete[0], parts[complete[0]].unexpected)
        if without is not None:
            return without
    named = [prefix for prefix, part in parts.items() if prefix and not part.missing and not part.unexpected]
    fitting = [
        prefix[:-1]
        for prefix in named[:_MOST_ASKED]
        if not parts[prefix].misshapen or (identity is not None and identity.fits(below(tensors, prefix)))
    ]
    keys = [f"{key}.{prefix}".removeprefix(".") for prefix in fitting]
    raise misfit(path, comparison, keys, remedy_for(identity, below(tensors, prefix), _Network.of(module, own).tensors))


def _without_losses(tensors: NamedTensors, prefix: str, unexpected: tuple[str, ...]) -> _Alignment | None:
    """The weights below ``prefix``, if all else in the file belongs to losses and metrics; otherwise None."""
    others = {f"{prefix}{name}" for name in unexpected}
    left_out = [name for name in tensors if not name.startswith(prefix) or name in others]
    if not all(any(_LOSS_OR_METRIC.search(word) for word in name.split(".")) for name in left_out):
        return None
    part = below(tensors, prefix)
    taken = {name: tensor for name, tensor in part.items() if f"{prefix}{name}" not in others}
    return _Alignment(taken, left_out=tuple(left_out))


def _parts(tensors: NamedTensors) -> dict[str, dict[str, Tensor]]:
    """All tensors, and those whose names share their first part, first two, and so on, by what follows.

    The keys are the shared parts, up to six. Every tensor is in at most seven of the values.
    """
    found: dict[str, dict[str, Tensor]] = {"": dict(tensors)}
    for name, tensor in tensors.items():
        prefix, rest = "", name
        for _ in range(_PARTS_DEEP):
            first, dot, rest = rest.partition(".")
            if not dot:
                break
            prefix += f"{first}."
            found.setdefault(prefix, {})[rest] = tensor
    return found


def _require_kinds(found: NamedTensors, expected: NamedTensors, path: Path) -> None:
    """Refuse whole or complex numbers for floating weights and the reverse, which loading would silently convert."""
    for name, tensor in found.items():
        if _kind(tensor) != _kind(expected[name]) and not name.endswith(BATCH_COUNT):
            raise CheckpointRefusedError(
                f"'{one_line(name)}' is {tensor.dtype}, expected {expected[name].dtype} as in the network.",
                "Use a checkpoint of the network's own weights.",
                path=path,
            )


def _kind(tensor: Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def _load(module: nn.Module, tensors: NamedTensors, path: Path) -> None:
    """Load ``tensors`` as if this module had written them, since some modules ask which version of theirs did."""
    state = module.state_dict()
    state.update(tensors)
    try:
        module.load_state_dict(state)
    except Exception as error:  # a module, perhaps the user's, raises whatever it likes
        raise CheckpointRefusedError(
            f"{shown_path(path)} does not fit the architecture: it says {kind_and_line(error)}.",
            f"Name the right network with {named('arch')}.",
            subject=path,
        ) from error


def _notes(found: NamedTensors, expected: NamedTensors, left_out: Iterable[str]) -> tuple[str, ...]:
    counts = any(name.endswith(BATCH_COUNT) and name not in found for name in expected)
    notes = [f"the file has no {BATCH_COUNT}, which nothing here uses"] if counts else []
    ignored = some(left_out, 3)
    return (*notes, f"left out as no part of the network: {ignored}") if ignored else tuple(notes)
