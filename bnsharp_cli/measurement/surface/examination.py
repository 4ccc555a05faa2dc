"""Looks at one batch before anything is measured: whether the loss is a function of the weights that are handed in.

A network or a loss may reach past the private copy, draw random numbers in eval mode, remember the batch before, or
switch its own normalisation code by ``training``. What can be run right is run right and said; the rest is refused.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from bnsharp_cli.errors import NotMeasurableError, shown
from bnsharp_cli.measurement.surface.conduct import Conduct
from bnsharp_cli.measurement.surface.examples import with_parts
from bnsharp_cli.measurement.surface.first_batch import ELSEWHERE, first_loss, leaves_at, moved, same_loss
from bnsharp_cli.measurement.surface.foreign_errors import require_graph
from bnsharp_cli.measurement.surface.gradient_checks import require_gradient, require_range, require_seen
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.module_pool import ModulePool
from bnsharp_cli.measurement.surface.own_norms import examined_norms
from bnsharp_cli.measurement.surface.parameter_choice import ParameterChoice
from bnsharp_cli.measurement.surface.random_numbers import random_states
from bnsharp_cli.measurement.surface.reduction import with_reduction
from bnsharp_cli.measurement.surface.row_examination import on_none, require_use, row_loss
from bnsharp_cli.measurement.surface.row_surface import RowSurface
from bnsharp_cli.measurement.surface.weights_watch import WeightsWatch, leaves_of, past_the_copy

_DRAWS = "draws random numbers in eval mode: common random numbers, the same ones in every pass of a batch, in float64"

_FORWARD_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_BACKWARD_HOOKS = ("_backward_hooks", "_backward_pre_hooks")
_KNOWN_HOOKS = ("torch.", "bnsharp_cli.")


def examined(surface: LossSurface) -> LossSurface:
    """The surface with what is known of the network's conduct: a few passes over the first batch, one over the others.

    Hooks of the user's are left out where the loss is the same without them, backward hooks always: a gradient that a
    hook has changed is not that of the loss.

    Args:
        surface: not used so far; hooks are taken off its module.

    Raises:
        NotMeasurableError: the network or the loss uses weights that are not those of the copy, answers differently
            the second time, or does not run.
    """
    _remove_hooks(surface.module, _BACKWARD_HOOKS)
    surface = _without_needless_hooks(surface)
    before = random_states(surface.device)
    with _in_one_thread(surface):
        loss, further, unseen = row_loss(surface) if isinstance(surface, RowSurface) else _watched_loss(surface)
    notes = [_further_note(further)] if further else []
    draws = random_states(surface.device) != before or _draws_later(surface)
    told = (*notes, *([_DRAWS] if draws else []))
    surface = surface.with_conduct(Conduct(draws=draws, notes=told, unseen=unseen))
    _require_same(surface, float(first_loss(surface)) if draws else loss)
    return examined_norms(with_reduction(with_parts(surface)))


def varied_over(surface: LossSurface, choice: ParameterChoice) -> LossSurface:
    """L as a function of some parameters, the others being constants; and what a reader must know of that, as notes.

    Args:
        surface: of all parameters.
        choice: those that are varied.

    Raises:
        NotMeasurableError: the loss depends on none of them, or on some in a way that autograd does not see.
    """
    conduct = replace(surface.conduct, notes=(*surface.conduct.notes, *choice.notes))
    varied = replace(surface, choice=choice, conduct=conduct)
    if isinstance(varied, RowSurface):  # what autograd sees is of no account for passes forward
        return varied if {*choice.names} - {*surface.conduct.unseen} else require_use(varied)
    require_seen(surface, choice)
    require_range(varied)
    require_gradient(varied)
    if not choice.partial:
        return varied
    with torch.enable_grad():
        _, loss = surface.outputs_and_loss(leaves_at(surface), surface.batches[0])
    require_graph(loss)
    for number in range(varied.count):
        with torch.enable_grad():
            _, loss = varied.outputs_and_loss(leaves_at(varied), varied.batches[number])
        if loss.requires_grad:
            return varied
    raise on_none(choice, "As far as autograd can see, the")


@contextlib.contextmanager
def _in_one_thread(surface: LossSurface) -> Iterator[None]:
    """Refuse a network that runs parts of itself in threads of its own: norms there do not take the batch's statistics.

    What decides how torch's functions compute, such as the statistics of norms, holds in one thread.

    Raises:
        NotMeasurableError: it does so in the pass inside.
    """
    own, elsewhere = threading.get_ident(), []

    def note(part: nn.Module, _: Any) -> None:
        if threading.get_ident() != own:
            elsewhere.append(type(part).__name__)

    with surface.pool.copy() as copy:
        parts = [part for part in copy.module.modules() if not isinstance(part, torch.jit.ScriptModule)]
    handles = [part.register_forward_pre_hook(note) for part in parts]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    if elsewhere:
        raise NotMeasurableError(
            f"The network runs a {shown(elsewhere[0])} in a thread of its own, where its norms cannot be followed.",
            "Run all parts in the thread that calls the network.",
            argument="model",
            expected="a network that runs in one thread",
            found=elsewhere,
        )


def _watched_loss(surface: LossSurface) -> tuple[float, int, tuple[str, ...]]:
    """The loss of the first batch.

    Returns:
        It; on how many tensors it depends that need a gradient and are no parameters; parameters without a gradient.
    """
    with surface.pool.copy() as copy:
        weights = {name: w for name, w in copy.module.named_parameters() if name not in surface.constants()}
        own = {**weights, **dict(copy.module.named_buffers())}
    leaves = leaves_at(surface)
    watch = WeightsWatch(own)
    with torch.enable_grad():
        try:
            with watch:
                _, loss = surface.outputs_and_loss(leaves, surface.batches[0])
        except NotMeasurableError:  # torch has operators that no watch can follow; what else fails, fails again
            _, loss = surface.outputs_and_loss(leaves, surface.batches[0])
    for leaf in leaves_of(loss):  # of a graph from before, such as an auxiliary loss that the user's network kept
        watch.note(leaf)
    if watch.seen:
        with torch.no_grad(), WeightsWatch(own) as network:
            surface.outputs(leaves, surface.batches[0][0])
        raise past_the_copy("model" if network.seen else "criterion", watch.seen)
    known = {id(leaf): name for name, leaf in leaves.items()}
    used = {id(leaf) for leaf in leaves_of(loss)}
    unseen = tuple(name for key, name in known.items() if key not in used)
    return float(loss.detach()), len(used - {*known}), unseen


def _draws_later(surface: LossSurface) -> bool:
    """Whether random numbers are drawn for a batch behind the first, whose content may be what makes the code draw."""
    processes, drawn, progress = surface.processes, [], surface.progress
    with processes.together(), torch.no_grad(), progress.stage("trying every batch", items=surface.count):
        for number in processes.own(range(surface.count)):
            progress.reach(number)
            batch, before = surface.batches[number], random_states(surface.device)
            if number:
                surface.outputs_and_loss(surface.point(), batch)
            drawn.append(float(random_states(surface.device) != before))
    return bool(processes.in_order(torch.tensor(drawn, dtype=torch.float64), surface.count).any())


def _further_note(count: int) -> str:
    what = "a tensor that needs a gradient and is no parameter" if count == 1 else f"{count} tensors that need a"
    what = what if count == 1 else f"{what} gradient and are no parameters"
    return f"the loss depends on {what} of the network, of the loss itself for example: held fixed"


def _require_same(surface: LossSurface, loss: float) -> None:
    """Refuse a loss that is another one when it is asked for again, after other weights and another batch.

    What a network keeps of the first weights for good, such as a matrix that it computes once, is seen by a copy that
    has not run before.

    Raises:
        NotMeasurableError: it is.
    """
    elsewhere, last = moved(surface.point(), ELSEWHERE)[0], surface.batches[surface.count - 1]
    new = replace(surface, pool=ModulePool(surface.module, surface.criterion))
    kept = fresh = math.nan
    with contextlib.suppress(NotMeasurableError), torch.no_grad():
        kept, fresh = (float(each.outputs_and_loss(elsewhere, last)[1]) for each in (surface, new))
    again = float(first_loss(surface))
    for one, other in ((loss, again), (fresh, kept)):
        if math.isfinite(one) and not same_loss(surface, one, other):
            raise _not_the_same(one, other)


def _not_the_same(one: float, other: float) -> NotMeasurableError:
    return NotMeasurableError(
        f"The network or the loss answers differently the second time: {one:.9g}, then {other:.9g}.",
        "Let it keep nothing from one batch to the next, and draw from no generator of its own.",
        argument="model",
        expected="the same loss for the same weights and batch",
        found=other,
    )


def _without_needless_hooks(surface: LossSurface) -> LossSurface:
    """The surface without forward hooks of the user's, unless the loss is another one then."""
    if not any(_users_hooks(part, kind) for part in surface.module.modules() for kind in _FORWARD_HOOKS):
        return surface
    kept = [(part, kind, getattr(part, kind).copy()) for part in surface.module.modules() for kind in _FORWARD_HOOKS]
    expected = _seeded_loss(surface)
    _remove_hooks(surface.module, _FORWARD_HOOKS)
    bare = replace(surface, pool=ModulePool(surface.module, surface.criterion))
    try:
        if _seeded_loss(bare) == expected:
            return bare
    except NotMeasurableError:  # the loss needs what they catch
        pass
    for part, kind, hooks in kept:
        setattr(part, kind, hooks)
    return replace(surface, pool=ModulePool(surface.module, surface.criterion))


def _seeded_loss(surface: LossSurface) -> float:
    return float(first_loss(surface.with_conduct(Conduct(draws=True))))


def _remove_hooks(module: nn.Module, kinds: tuple[str, ...]) -> None:
    for part in module.modules():
        for kind in kinds:
            hooks: OrderedDict[int, Any] = getattr(part, kind)
            for key in _users_hooks(part, kind):
                del hooks[key]


def _users_hooks(module: nn.Module, kind: str) -> list[int]:
    hooks: dict[int, Callable[..., Any]] = getattr(module, kind)
    return [key for key, hook in hooks.items() if not _home(hook).startswith(_KNOWN_HOOKS)]


def _home(hook: Any) -> str:
    return str(getattr(hook, "__module__", None) or type(hook).__module__)
