"""Normalisation code of a network's own, which ``training`` switches between batch and running statistics.

torch's norms are computed by our own code, see :mod:`norms`. Any other module with statistics of its own computes them
itself: to let it take the batch's, its ``training`` is set. That is done where it does nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.surface.first_batch import first_loss, same_loss
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.module_pool import ModulePool
from bnsharp_cli.measurement.surface.norms import NormTreatment
from bnsharp_cli.measurement.surface.random_numbers import random_states
from bnsharp_cli.measurement.surface.running_norms import RunningNorms

_TORCH = "torch."
_FACTOR, _SHIFT = 1.5, 0.25

_OWN = "normalisation code of the network's own, run with the statistics of the batch; its ε stays"
_KEPT = "statistics of the network's own, which stay as they are stored instead of those of the batch"
_RUNNING = "norms of compiled code, which take running statistics whatever is asked for"
_BATCH = "norms of compiled code, which take the statistics of the batch whatever is asked for"


def examined_norms(surface: LossSurface) -> LossSurface:
    """The surface with its network's own norms known, and a note of those that keep running statistics."""
    batch = surface.with_norms(treatment=NormTreatment(batch_statistics=True))
    candidates = _with_state(batch)
    own = [name for name in candidates if _takes_the_batch(batch, name)]
    others = [name for name in candidates if name not in own]
    kept = _with_statistics(batch, others)
    found = surface.with_conduct(replace(surface.conduct, own_norms=tuple(own)))
    said = {_OWN: own, _KEPT: kept} if surface.treatment.batch_statistics else {}
    said[_RUNNING if surface.treatment.batch_statistics else _BATCH] = _otherwise(found)
    notes = [f"{', '.join(name or 'the network' for name in names)}: {what}" for what, names in said.items() if names]
    return found.with_conduct(replace(found.conduct, notes=(*surface.conduct.notes, *notes)))


def _with_state(surface: LossSurface) -> list[str]:
    """The modules that have floating tensors beside their parameters; torch's are seen to elsewhere."""
    return [
        name
        for name, part in surface.module.named_modules()
        if not type(part).__module__.startswith(_TORCH) and any(tensor.is_floating_point() for tensor in _state(part))
    ]


def _with_statistics(surface: LossSurface, candidates: Iterable[str]) -> list[str]:
    """The candidates that change tensors of their own while they are trained, and not in evaluation too."""
    return [name for name in candidates if _changes(surface, name, True) and not _changes(surface, name)]


def _changes(surface: LossSurface, name: str, training: bool = False) -> bool:
    """Whether a module changes tensors of its own while it runs."""
    changed: list[str] = []
    with _trial(surface, name, training) as (trial, part):
        handles = [
            part.register_forward_pre_hook(_keep_state),
            part.register_forward_hook(lambda module, *_: _note_changes(module, name, changed)),
        ]
        try:
            first_loss(trial)
        except NotMeasurableError:
            return False
        finally:
            for handle in handles:
                handle.remove()
    return bool(changed)


def _otherwise(surface: LossSurface) -> list[str]:
    """The norms of compiled code that do not follow what is asked for."""
    watch = RunningNorms(surface.treatment.batch_statistics)
    try:
        with watch:
            first_loss(surface)
    except NotMeasurableError:  # torch has operators that no watch can follow
        return []
    return watch.modules(dict(surface.module.named_buffers()))


def _takes_the_batch(surface: LossSurface, name: str) -> bool:
    """Whether a module in training depends on the batch alone, in evaluation on what it has stored, and draws nothing.

    What it stores in plain attributes is not handed in anew for every pass, so such a module does not count.
    """
    stored = [
        f"{name}.{own}" if name else own for own, _ in surface.module.get_submodule(name).named_buffers("", False)
    ]
    other = {
        key: tensor * _FACTOR + _SHIFT if key in stored and _may_be_statistics(tensor) else tensor
        for key, tensor in surface.buffers.items()
    }
    moved = surface.with_norms(buffers=other)
    try:
        if same_loss(surface, float(first_loss(surface)), float(first_loss(moved))):
            return False
        with _trial(surface, name) as (trained, _):
            before = random_states(surface.device)
            own = float(first_loss(trained))
            drawn = random_states(surface.device) != before and not surface.conduct.draws
            again = float(first_loss(replace(trained, buffers=other)))
    except NotMeasurableError:
        return False
    return not drawn and same_loss(surface, own, again)


@contextmanager
def _trial(surface: LossSurface, name: str, training: bool = True) -> Iterator[tuple[LossSurface, nn.Module]]:
    """The surface with one module in training, on a copy that is thrown away; and that module."""
    pool = ModulePool(surface.module, surface.criterion)
    with pool.copy() as copy:
        part = copy.module.get_submodule(name)
    conduct = replace(surface.conduct, own_norms=(*surface.conduct.own_norms, *([name] if training else [])))
    yield replace(surface, pool=pool, conduct=conduct), part


def _state(module: nn.Module) -> list[Tensor]:
    """The tensors that a module itself has and that are no parameters; sparse ones are no statistics."""
    own = [value for value in (*module._buffers.values(), *vars(module).values()) if isinstance(value, Tensor)]
    return [tensor for tensor in own if tensor.layout is torch.strided]


def _may_be_statistics(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.layout is torch.strided


def _keep_state(module: nn.Module, _: Any) -> None:
    object.__setattr__(module, "_bnsharp_state", [tensor.detach().clone() for tensor in _state(module)])


def _note_changes(module: nn.Module, name: str, changed: list[str]) -> None:
    before, after = vars(module).pop("_bnsharp_state"), _state(module)
    same = len(before) == len(after) and all(map(torch.equal, before, after))
    if not same:
        changed.append(name)
