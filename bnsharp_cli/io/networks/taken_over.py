"""Weights that a network of transformers' takes over from a checkpoint, so that large ones are in memory once."""

from __future__ import annotations

from collections import Counter

from torch import Tensor, nn

from bnsharp_cli.io.checkpoints.state_dicts import NamedTensors
from bnsharp_cli.io.networks.huggingface_networks import of_transformers


def take_over(module: nn.Module, tensors: NamedTensors) -> None:
    """Let parameters of a network of transformers' be the tensors of the checkpoint themselves, where they can.

    A tensor is taken over that is of the parameter's type and has memory of its own, unless there is another one for
    the same parameter, which would be copied into it. All others are left to be copied. Parameters stay the same
    objects, so what is tied stays tied. Other networks, which may be trained, keep their own.

    Args:
        module: the network.
        tensors: that fit it, by its own names.
    """
    if not of_transformers(module):
        return
    users = Counter(_memory(tensor) for tensor in tensors.values())
    meant: dict[nn.Parameter, list[Tensor]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if name in tensors:
            meant.setdefault(parameter, []).append(tensors[name])
    for parameter, ones in meant.items():
        memories = {_memory(tensor) for tensor in ones}
        if len(memories) == 1 and users[memories.pop()] == len(ones) and all(_fits(one, parameter) for one in ones):
            parameter.data = ones[0].detach()


def _fits(tensor: Tensor, parameter: Tensor) -> bool:
    alike = (tensor.dtype, tensor.device, tensor.shape) == (parameter.dtype, parameter.device, parameter.shape)
    return alike and tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
