"""The state that a training run goes on from, held against the run before anything is taken over from it.

A state comes from a file that a stranger may have written. So each part of it must be what this network, this rule and
these options would have written: the same tensors, counts that belong to the epoch, and the settings of this rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnsharp_cli.errors import shown
from bnsharp_cli.io.files.printable_text import one_line, printable
from bnsharp_cli.training.mixed_precision import FullPrecision
from bnsharp_cli.training.rules import TrainingRule

_COUNTS = ("steps", "epochs")
_SET_IN_EACH_EPOCH = "lr"
_MOST_SUCCESSES = 2**31


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
class TrainingSize:
    """How much a run trains, which bounds every count in its state.

    Attributes:
        epochs: of the whole run.
        steps: of an epoch.
    """

    epochs: int
    steps: int


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
    state: Mapping[str, Any], module: nn.Module, rule: TrainingRule, precision: FullPrecision, size: TrainingSize
) -> TrainingState:
    """Check a state; nothing is changed.

    Args:
        state: what ``Training.state_dict`` returned; other entries are left alone.
        module: the network that goes on.
        rule: its rule.
        precision: that of its gradients.
        size: of the run.

    Raises:
        UnfitStateError: a part that is missing or that no such run has written.
    """
    epoch = whole_number(state, "epoch", 0, size.epochs)
    steps = epoch * size.steps
    return TrainingState(
        epoch,
        whole_number(state, "gradients", 0, steps * rule.gradients_per_step),
        _weights(mapping(state, "state_dict"), module.state_dict()),
        _rule_state(mapping(state, "rule"), rule, {"steps": steps, "epochs": epoch}),
        _order(part_of(state, "order")),
        _precision_state(mapping(state, "precision"), precision.state_dict()),
    )


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
        raise UnfitStateError.of(name, f"a whole number from {least} to {most}", found)
    return found


def _require_names(part: str, names: Iterable[Any], known: Iterable[str]) -> None:
    """Refuse names that are not known; that all are there is for the caller to see."""
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
    _require_names("state_dict", found, own)
    for name, entry in own.items():
        stored = part_of(found, name)
        if isinstance(entry, Tensor):
            _require_like(shown(name), stored, entry)
            if name.endswith("running_var") and bool((stored < 0).any()):
                raise UnfitStateError(f"{shown(name)} has a negative variance")
        elif type(stored) is not type(entry):
            raise UnfitStateError.of(shown(name), f"a {type(entry).__name__}", stored)
    return found


def _rule_state(found: Mapping[Any, Any], rule: TrainingRule, counts: Mapping[str, int]) -> dict[str, Any]:
    """What the rule keeps, with its own settings and the counts of the epoch, once the settings are found the same."""
    groups, (own,) = part_of(found, "param_groups"), rule.state_dict()["param_groups"]
    if not isinstance(groups, Sequence) or len(groups) != 1 or not isinstance(groups[0], Mapping):
        raise UnfitStateError.of("param_groups", "one group of settings", groups)
    _require_names("param_groups", groups[0], own)
    for name, value in groups[0].items():
        expected = counts.get(name, own[name])
        if name != _SET_IN_EACH_EPOCH and (type(value) not in _types_like(expected) or value != expected):
            raise UnfitStateError.of(name, f"{expected}", value)
    for name in _COUNTS:
        part_of(groups[0], name)
    kept = mapping(found, "state")
    parameters = [parameter for group in rule.param_groups for parameter in group["params"]]
    for number, entries in kept.items():
        if not isinstance(number, int) or not 0 <= number < len(parameters) or not isinstance(entries, Mapping):
            raise UnfitStateError("state: it is not of the parameters of this network")
        _require_names("state", entries, rule.kept_tensors)
        for name, entry in entries.items():
            _require_like(f"{name} of parameter {number}", entry, parameters[number])
    return {"state": dict(kept), "param_groups": [{**own, **counts}]}


def _types_like(expected: object) -> tuple[type, ...]:
    """The types that a setting may have: 0 and 0.0 are the same one."""
    return (int, float) if type(expected) in (int, float) else (type(expected),)


def _order(found: Any) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    _require_like("order", found, generator.get_state())
    try:
        generator.set_state(found)
    except RuntimeError as error:
        raise UnfitStateError(f"order: {one_line(error)}") from error
    return found  # type: ignore[no-any-return]  # _require_like has found it to be a tensor


def _precision_state(found: Mapping[Any, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    _require_names("precision", found, own)
    for name, expected in own.items():
        value = part_of(found, name)
        if name == "_growth_tracker":
            whole_number(found, name, 0, _MOST_SUCCESSES)
        elif name == "scale":
            if not isinstance(value, float) or not (math.isfinite(value) and value > 0):
                raise UnfitStateError.of("scale", "a positive number", value)
        elif type(value) not in _types_like(expected) or value != expected:
            raise UnfitStateError.of(name, f"{expected}", value)
    return dict(found)
