"""Weight norm, w = g v/‖v‖: its two ways of naming length and direction in a state dict, and how a module gets it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, remove_weight_norm
from torch.nn.utils.weight_norm import WeightNorm

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.state_dicts import NamedTensors
from bnsharp_cli.io.files.printable_text import one_line


def modern_names(tensors: NamedTensors) -> dict[str, Tensor]:
    """The tensors with ``weight_g`` and ``weight_v``, as hooks name them, named as torch's parametrisation does.

    Where a weight has both kinds of names, the names stay as they are: which of the two is meant cannot be told.
    """
    renamed: dict[str, str] = {}
    for name in tensors:
        weight = name[:-2]
        if name.endswith("_g") and f"{weight}_v" in tensors:
            renamed |= dict(zip((name, f"{weight}_v"), _halves(weight), strict=True))
    modern = {renamed.get(name, name): tensor for name, tensor in tensors.items()}
    return modern if len(modern) == len(tensors) else dict(tensors)


def composed(tensors: NamedTensors) -> dict[str, Tensor]:
    """The tensors with each length and direction replaced by the direction, under the name of the weight itself."""
    weights = weights_with_norm(tensors)
    halves = {half for weight in weights for half in _halves(weight)}
    plain = {name: tensor for name, tensor in tensors.items() if name not in halves}
    return plain | {weight: tensors[_halves(weight)[1]] for weight in weights}


def weights_with_norm(tensors: NamedTensors) -> list[str]:
    """The weights that ``tensors`` hold as a length and a direction, by the names that they have without."""
    found = []
    for name in tensors:
        module, mark, attribute = name.rpartition("parametrizations.")
        weight = module + attribute.removesuffix(".original0")
        if mark and attribute.endswith(".original0") and _halves(weight)[1] in tensors:
            found.append(weight)
    return found


def modernise(module: nn.Module) -> None:
    """Replace the hooks of the deprecated ``torch.nn.utils.weight_norm``, which no copy survives, by parametrisations.

    The function stays the same; v becomes the weight itself.
    """
    for part in module.modules():
        for hook in [hook for hook in part._forward_pre_hooks.values() if isinstance(hook, WeightNorm)]:
            remove_weight_norm(part, hook.name)
            parametrizations.weight_norm(part, hook.name, hook.dim)


def apply_weight_norm(module: nn.Module, weight: str, own_name: str, tensors: NamedTensors) -> None:
    """Let ``module`` keep a weight as length and direction, along the dimension that their shapes tell.

    Args:
        module: the network.
        weight: the weight's name in ``tensors``.
        own_name: its name in ``module``.
        tensors: that hold both halves.

    Raises:
        CheckpointRefusedError: the length fits no dimension of the direction.
    """
    length, direction = (tensors[half] for half in _halves(weight))
    shapes = {axis: _length_shape(direction, axis) for axis in range(-1, direction.ndim)}
    axes = [axis for axis, shape in shapes.items() if shape == tuple(length.shape)]
    if not axes:
        raise CheckpointRefusedError(
            f"The weight norm of '{one_line(weight)}' has lengths of {tuple(length.shape)}, "
            f"which fit no dimension of {tuple(direction.shape)}.",
            "Use an undamaged checkpoint.",
        )
    owner, _, attribute = own_name.rpartition(".")
    parametrizations.weight_norm(module.get_submodule(owner), attribute, axes[0])


def folded(module: nn.Module, weights: Iterable[str]) -> dict[str, Tensor]:
    """The weights with these names, which ``module`` keeps as length and direction, as it computes with them."""
    split = (weight.rpartition(".") for weight in weights)
    with torch.no_grad():
        return {f"{owner}{dot}{name}": getattr(module.get_submodule(owner), name) for owner, dot, name in split}


def _length_shape(direction: Tensor, axis: int) -> tuple[int, ...]:
    """The shape of one length per slice along ``axis``; of a single one for −1, as torch has it."""
    return (
        tuple(size if dimension == axis else 1 for dimension, size in enumerate(direction.shape)) if axis >= 0 else ()
    )


def _halves(weight: str) -> tuple[str, str]:
    """The names of the length and the direction of a weight in torch's parametrisation."""
    module, dot, attribute = weight.rpartition(".")
    path = f"{module}{dot}parametrizations.{attribute}"
    return f"{path}.original0", f"{path}.original1"
