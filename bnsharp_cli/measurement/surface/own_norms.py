"""Normalisation code of a network's own, which ``training`` switches between batch and running statistics.

torch's norms are computed by our own code, see :mod:`norms`. Any other module with statistics of its own computes them
itself: to let it take the batch's, its ``training`` is set. That is done where it does nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.module_pool import ModulePool
from bnsharp_cli.measurement.surface.norms import NormTreatment
from bnsharp_cli.measurement.surface.random_numbers import random_states

_TORCH = "torch."
_SAME = 64.0
_FACTOR, _SHIFT = 1.5, 0.25

Loss = Callable[[LossSurface], Tensor]


def examined_norms(surface: LossSurface, loss: Loss) -> LossSurface:
    """The surface with its network's own norms known, and a note of those that keep running statistics.

    Args:
        surface: any.
        loss: that of its first batch.
    """
    batch = surface.with_norms(treatment=NormTreatment(batch_statistics=True))
    own: list[str] = []
    kept: list[str] = []
    for name in _with_statistics(batch, loss):
        (own if _takes_the_batch(batch, name, loss) else kept).append(name)
    said = {
        "normalisation code of the network's own, run with the statistics of the batch; its ε stays": own,
        "statistics of the network's own, which stay as they are stored instead of those of the batch": kept,
    }
    notes = [f"{', '.join(names)}: {what}" for what, names in said.items() if names]
    shown = notes if surface.treatment.batch_statistics else []
    return surface.with_conduct(replace(surface.conduct, own_norms=tuple(own), notes=(*surface.conduct.notes, *shown)))


def _with_statistics(surface: LossSurface, loss: Loss) -> list[str]:
    """The modules that change tensors of their own while they are trained; torch's are seen to elsewhere."""
    candidates = [
        name
        for name, part in surface.module.named_modules()
        if not type(part).__module__.startswith(_TORCH) and any(tensor.is_floating_point() for tensor in _state(part))
    ]
    changed: list[str] = []
    for name in candidates:
        with _trial(surface, name) as (trial, part):
            handles = [
                part.register_forward_pre_hook(_keep_state),
                part.register_forward_hook(lambda module, *_, name=name: _note_changes(module, name, changed)),
            ]
            try:
                loss(trial)
            except NotMeasurableError:
                continue
            finally:
                for handle in handles:
                    handle.remove()
    return list(dict.fromkeys(changed))


def _takes_the_batch(surface: LossSurface, name: str, loss: Loss) -> bool:
    """Whether a module in training depends on the batch alone, in evaluation on what it has stored, and draws nothing.

    What it stores in plain attributes is not handed in anew for every pass, so such a module does not count.
    """
    stored = [
        f"{name}.{own}" if name else own for own, _ in surface.module.get_submodule(name).named_buffers("", False)
    ]
    other = {
        key: tensor * _FACTOR + _SHIFT if key in stored and tensor.is_floating_point() else tensor
        for key, tensor in surface.buffers.items()
    }
    moved = surface.with_norms(buffers=other)
    try:
        if _differs(surface, loss(surface), loss(moved)):
            with _trial(surface, name) as (trained, _):
                before = random_states(surface.device)
                own = loss(trained)
                drawn = random_states(surface.device) != before and not surface.conduct.draws
                again = loss(replace(trained, buffers=other))
            return not drawn and not _differs(surface, own, again)
    except NotMeasurableError:
        pass
    return False


@contextmanager
def _trial(surface: LossSurface, name: str) -> Iterator[tuple[LossSurface, nn.Module]]:
    """The surface with one module in training, on a copy that is thrown away; and that module."""
    pool = ModulePool(surface.module, surface.criterion)
    with pool.copy() as copy:
        part = copy.module.get_submodule(name)
    conduct = replace(surface.conduct, own_norms=(*surface.conduct.own_norms, name))
    yield replace(surface, pool=pool, conduct=conduct), part


def _state(module: nn.Module) -> list[Tensor]:
    """The tensors that a module itself has and that are no parameters."""
    plain = [value for value in vars(module).values() if isinstance(value, Tensor)]
    return [*(buffer for buffer in module._buffers.values() if buffer is not None), *plain]


def _keep_state(module: nn.Module, _: Any) -> None:
    object.__setattr__(module, "_bnsharp_state", [tensor.detach().clone() for tensor in _state(module)])


def _note_changes(module: nn.Module, name: str, changed: list[str]) -> None:
    before, after = vars(module).pop("_bnsharp_state"), _state(module)
    same = len(before) == len(after) and all(map(torch.equal, before, after))
    if not same:
        changed.append(name)


def _differs(surface: LossSurface, one: Tensor, other: Tensor) -> bool:
    most = _SAME * torch.finfo(surface.dtype).eps * float(one.abs().max(other.abs()))
    return not float((one - other).abs()) <= most
