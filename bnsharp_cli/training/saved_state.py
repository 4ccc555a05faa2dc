"""The state that a training run goes on from, held against the run before anything is taken over from it.

A state comes from a file that a stranger may have written. So each part of it must be what this network, this rule and
these options would have written: the same tensors, counts that belong to the epoch, and the settings of this rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnsharp_cli.errors import shown
from bnsharp_cli.io.files.printable_text import one_line, printable
from bnsharp_cli.training.mixed_precision import FullPrecision
from bnsharp_cli.training.rules import TrainingRule

_PARTS_OF_A_RULE = ("state", "param_groups")
_MOST_BATCHES = 2**53
_MOST_DOUBLINGS = 128
"""More than the range of float32, which holds the scale of losses."""
_HALF = 0.5
"""The fraction that :func:`math.frexp` finds of a power of two."""


class UnfitStateError(ValueError):
    """A state that no such run has written; the message says which part of it, and why."""

    @classmethod
    def of(cls, part: str, expected: str, found: object) -> UnfitStateError:
        """An error about one part, whose value is shown where it is short."""
        plain = found is None or isinstance(found, bool | int | float | str)
        return cls(
            f"{part}: expected {expected}, found {one_line(printable(found)) if plain else type(found).__name__}"
        )


@dataclass(frozen=True)
class TrainingPlan:
    """What a run does whatever its network learns, which decides every count in its state.

    Attributes:
        epochs: of the whole run.
        steps: of an epoch.
        rate: the learning rate of an epoch, counted from 0.
        order: the state of the generator of the order of the examples once so many epochs are done.
    """

    epochs: int
    steps: int
    rate: Callable[[int], float]
    order: Callable[[int], Tensor]


@dataclass(frozen=True)
class TrainingState:
    """A state that fits.

    Attributes:
        epoch: how many epochs are done.
        gradients: how many gradients of batches were computed.
        weights: of the network, its buffers included.
        rule: for the rule's ``load_state_dict``; its settings are those of the rule that goes on.
        order: of the generator of the order of the examples.
        precision: for :meth:`FullPrecision.load_state_dict`.
    """

    epoch: int
    gradients: int
    weights: Mapping[str, Any]
    rule: dict[str, Any]
    order: Tensor
    precision: dict[str, Any]


def fitting_state(
    state: Mapping[str, Any], module: nn.Module, rule: TrainingRule, precision: FullPrecision, plan: TrainingPlan
) -> TrainingState:
    """Check a state; nothing is changed.

    Args:
        state: what ``Training.state_dict`` returned; other entries are left alone.
        module: the network that goes on, with the weights that the run begins with.
        rule: its rule.
        precision: that of its gradients.
        plan: of the run.

    Raises:
        UnfitStateError: a part that is missing or that no such run has written.
    """
    epoch = whole_number(state, "epoch", 0, plan.epochs)
    gradients = plan.steps * sum(map(rule.gradients_in, range(epoch)))
    weights = _weights(mapping(state, "state_dict"), module.state_dict())
    settings = {"lr": plan.rate(max(epoch - 1, 0)), "steps": epoch * plan.steps, "epochs": epoch}
    return TrainingState(
        epoch,
        whole_number(state, "gradients", gradients, gradients),
        weights,
        _rule_state(mapping(state, "rule"), rule, settings, weights),
        _order(part_of(state, "order"), plan.order(epoch)),
        _precision_state(mapping(state, "precision"), precision.state_dict(), gradients),
    )


def order_after(seed: int, examples: int, epochs: int) -> Tensor:
    """The state of the generator of the order of the examples, which draws one order an epoch."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        torch.randperm(examples, generator=generator)
    return generator.get_state()


def part_of(state: Mapping[Any, Any], name: str) -> Any:
    """An entry that has to be there.

    Raises:
        UnfitStateError: it is missing.
    """
    if name not in state:
        raise UnfitStateError(f"{name} is missing")
    return state[name]


def mapping(state: Mapping[Any, Any], name: str) -> Mapping[Any, Any]:
    """An entry that is a mapping.

    Raises:
        UnfitStateError: it is missing or another thing.
    """
    found = part_of(state, name)
    if not isinstance(found, Mapping):
        raise UnfitStateError.of(name, "a mapping", found)
    return found


def whole_number(state: Mapping[Any, Any], name: str, least: int, most: int) -> int:
    """An entry that is a whole number.

    Raises:
        UnfitStateError: it is missing, another thing or out of range.
    """
    found = part_of(state, name)
    if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
        raise UnfitStateError.of(name, f"a whole number from {least} to {most}" if least < most else f"{least}", found)
    return found


def require_names(part: str, names: Iterable[Any], known: Iterable[str]) -> None:
    """Refuse names that are not known; that all are there is for the caller to see.

    Raises:
        UnfitStateError: naming the first of them.
    """
    for name in names:
        if name not in known:
            raise UnfitStateError(f"{part}: {one_line(printable(name))} is nothing that such a run writes")


def _require_like(part: str, found: Any, own: Tensor) -> None:
    """Refuse what is no tensor of finite numbers of the type and the shape of another."""
    if not isinstance(found, Tensor):
        raise UnfitStateError.of(part, "a tensor", found)
    if found.shape != own.shape:
        raise UnfitStateError(f"{part} is of another shape than that of this network")
    if found.dtype != own.dtype:
        raise UnfitStateError(f"{part} is of another type of numbers than that of this network")
    if (found.is_floating_point() or found.is_complex()) and not bool(torch.isfinite(found).all()):
        raise UnfitStateError(f"{part} holds NaN or infinite numbers")


def _weights(found: Mapping[Any, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
    require_names("state_dict", found, own)
    for name, entry in own.items():
        stored = part_of(found, name)
        if isinstance(entry, Tensor):
            _require_like(shown(name), stored, entry)
            if name.endswith("running_var") and bool((stored < 0).any()):
                raise UnfitStateError(f"{shown(name)} has a negative variance")
            if name.endswith("num_batches_tracked") and not bool(((stored >= 0) & (stored <= _MOST_BATCHES)).all()):
                raise UnfitStateError.of(shown(name), f"a whole number from 0 to {_MOST_BATCHES}", int(stored.max()))
        elif type(stored) is not type(entry):
            raise UnfitStateError.of(shown(name), f"a {type(entry).__name__}", stored)
    return found


def _rule_state(
    found: Mapping[Any, Any], rule: TrainingRule, settings: Mapping[str, float], weights: Mapping[str, Any]
) -> dict[str, Any]:
    """What the rule keeps, with its own settings and those of the epoch, once these are found the same."""
    require_names("rule", found, _PARTS_OF_A_RULE)
    groups, (own,) = part_of(found, "param_groups"), rule.state_dict()["param_groups"]
    if not isinstance(groups, list | tuple) or len(groups) != 1 or not isinstance(groups[0], Mapping):
        raise UnfitStateError.of("param_groups", "one group of settings", groups)
    require_names("param_groups", groups[0], own)
    expected = {**own, **settings}
    for name, value in groups[0].items():
        if not same_plain(value, expected[name]):
            raise UnfitStateError.of(name, f"{expected[name]}", value)
    for name in settings:
        part_of(groups[0], name)
    _require_kept(mapping(found, "state"), rule, weights, begun=settings["steps"] > 0)
    return {"state": dict(found["state"]), "param_groups": [expected]}


def _require_kept(kept: Mapping[Any, Any], rule: TrainingRule, weights: Mapping[str, Any], begun: bool) -> None:
    """Refuse tensors of the rule that are too many or too few.

    A rule keeps them for every parameter that has had a gradient. One without must be where it was at first: the
    steps of a parameter that had none are not missing.
    """
    names = {id(parameter): name for name, parameter in rule.trained.items()}
    parameters = {number: (names.get(id(one), ""), one) for number, one in enumerate(rule.parameters)}
    for number, entries in kept.items():
        known = type(number) is int and number in parameters and parameters[number][1].requires_grad
        if not (begun and known and rule.kept_tensors and isinstance(entries, Mapping)):
            raise UnfitStateError("state: it is not of the parameters of this network")
        require_names("state", entries, rule.kept_tensors)
        for name in rule.kept_tensors:
            part = f"{name} of parameter {number}"
            if name not in entries:
                raise UnfitStateError(f"{part} is missing")
            _require_like(part, entries[name], parameters[number][1])
    for number, (name, parameter) in parameters.items():
        moved = name in weights and not torch.equal(weights[name].to(parameter.device), parameter)
        if rule.kept_tensors and number not in kept and moved:
            raise UnfitStateError(f"{rule.kept_tensors[0]} of parameter {number} is missing")


def same_plain(found: object, expected: object) -> bool:
    """Whether two plain values are the same: True is not 1, but 0 and 0.0 are the same setting.

    >>> same_plain([1, 2.0], [1.0, 2]), same_plain(0, False), same_plain([0], 0)
    (True, False, False)
    """
    if isinstance(expected, list | tuple):
        return isinstance(found, list | tuple) and len(found) == len(expected) and all(map(same_plain, found, expected))
    if isinstance(expected, Mapping):
        return (
            isinstance(found, Mapping)
            and found.keys() == expected.keys()
            and all(same_plain(found[name], value) for name, value in expected.items())
        )
    kinds = (int, float) if type(expected) in (int, float) else (type(expected),)
    return type(found) in kinds and found == expected


def _order(found: Any, expected: Tensor) -> Tensor:
    _require_like("order", found, expected)
    if not torch.equal(found, expected):
        raise UnfitStateError("order is not that of the examples after so many epochs")
    return expected


def _precision_state(found: Mapping[Any, Any], own: Mapping[str, Any], gradients: int) -> dict[str, Any]:
    """The scale of the loss: it doubles after so many gradients without an overflow, and is halved at one."""
    require_names("precision", found, own)
    for name, expected in own.items():
        value = part_of(found, name)
        if name == "_growth_tracker":
            whole_number(found, name, 0, min(gradients, own["growth_interval"] - 1))
        elif name == "scale":
            highest = expected * own["growth_factor"] ** min(gradients // own["growth_interval"], _MOST_DOUBLINGS)
            if not isinstance(value, float) or not (0 < value <= highest and math.frexp(value)[0] == _HALF):
                raise UnfitStateError.of("scale", f"a power of two, at most {highest:g}", value)
        elif not same_plain(value, expected):
            raise UnfitStateError.of(name, f"{expected}", value)
    return dict(found)
