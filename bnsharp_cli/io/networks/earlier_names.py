"""Names that weights had in files of earlier versions of torchvision and timm, and entries that are no weights.

Names change and tensors never do: what a library would resample or join is left as it is, and does not fit then.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnsharp_cli.io.checkpoints.state_dicts import NamedTensors, below, shared_prefixes

_TORCHVISIONS = (
    # densenet.py, _load_state_dict: names with dots inside, from before PyTorch 0.4
    (re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.(?:weight|bias|running_mean|running_var)$)"), r"\1\2"),
    # vision_transformer.py, MLPBlock._load_from_state_dict: from before torchvision 0.14
    (re.compile(r"(encoder_layer_\d+\.mlp\.)linear_1(\.(?:weight|bias)$)"), r"\g<1>0\2"),
    (re.compile(r"(encoder_layer_\d+\.mlp\.)linear_2(\.(?:weight|bias)$)"), r"\g<1>3\2"),
)
_COUNTERS = {"total_ops", "total_params"}
"""What thop's ``profile`` leaves in every module: how many operations and parameters it counted."""


@dataclass(frozen=True)
class Renamed:
    """Weights by the names of today.

    Attributes:
        tensors: by these names.
        left_out: entries that are no weights, by their names in the file.
    """

    tensors: NamedTensors
    left_out: tuple[str, ...] = ()


def without_counters(tensors: NamedTensors) -> dict[str, Tensor]:
    """The tensors without the numbers that thop counted."""
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name.rpartition(".")[2] not in _COUNTERS or tensor.numel() != 1
    }


def torchvisions_names(tensors: NamedTensors, own: Iterable[str] = ()) -> dict[str, Tensor]:
    """The tensors with the names of today's torchvision, unless names among ``own``, a network's, are as old."""
    changes = [change for change in _TORCHVISIONS if not any(change[0].search(name) for name in own)]
    renamed = dict(tensors)
    for pattern, name_of_today in changes:
        renamed = {pattern.sub(name_of_today, name): tensor for name, tensor in renamed.items()}
    return renamed if len(renamed) == len(tensors) else dict(tensors)


def timms_names(module: nn.Module, tensors: NamedTensors) -> dict[str, Tensor] | None:
    """The tensors as timm's own filter for files names them; None where it is not timm's network, or does not help.

    The filter is code of timm's. It gets no tensors of the file, only names: tensors on the meta device stand for them,
    with the shapes that ``module`` has, so that no shape of a stranger's decides how long it takes. What it computes is
    not taken, and what it leaves out has to be a buffer that ``module`` computes itself.

    Args:
        module: the network, perhaps on the meta device.
        tensors: of a file.
    """
    home = type(module).__module__
    apply = getattr(sys.modules.get(home), "checkpoint_filter_fn", None)
    if apply is None or not home.startswith("timm.models."):
        return None
    state = module.state_dict()
    own = {name for name in state if not name.endswith("num_batches_tracked")}
    for prefix in shared_prefixes(tensors):
        part = below(tensors, prefix)
        shapes = {name: state[name].shape if name in state else (1,) for name in part}
        dummies = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        try:
            found = apply(dict(dummies), module)
        except Exception:  # it expects files of some networks, and stumbles over others
            continue
        known = {id(dummy): name for name, dummy in dummies.items()}
        if not isinstance(found, Mapping) or not own <= found.keys():
            continue
        if all(id(dummy) in known for dummy in found.values()):
            renamed = {name: known[id(dummy)] for name, dummy in found.items()}
            if {*part}.difference(renamed.values()) <= _computed(module).keys():
                return {name: part[old] for name, old in renamed.items()}
    return None


def under_names_of_today(module: nn.Module, tensors: NamedTensors) -> Renamed:
    """The tensors as ``module`` names them, without counters and without the buffers that it computes itself."""
    state = module.state_dict()
    if tensors.keys() == state.keys():
        return Renamed(tensors)
    weights = tensors
    if not any(name.rpartition(".")[2] in _COUNTERS for name in state):
        weights = without_counters(weights)
    computed = _computed(module)
    weights = {name: tensor for name, tensor in weights.items() if not _same(tensor, computed.get(name))}
    weights = torchvisions_names(weights, state)
    if not {*state} <= weights.keys() or len(state) < len(weights):
        weights = timms_names(module, weights) or weights
    kept = {id(tensor) for tensor in weights.values()}
    return Renamed(weights, tuple(name for name, tensor in tensors.items() if id(tensor) not in kept))


def _computed(module: nn.Module) -> dict[str, Tensor]:
    """The buffers of ``module`` that are not part of its state, by their names."""
    saved: Collection[str] = module.state_dict().keys()
    return {name: tensor for name, tensor in module.named_buffers() if name not in saved}


def _same(tensor: Tensor, computed: Tensor | None) -> bool:
    """Whether the two are equal, or may be where one of them has no values yet."""
    if computed is None or tensor.shape != computed.shape:
        return False
    return tensor.is_meta or computed.is_meta or torch.equal(tensor.to(computed.dtype), computed.cpu())
