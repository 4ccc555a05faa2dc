"""What a rule trains: the parameters of groups, and the optimiser of torch that takes its steps."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.measurement.surface.module_pool import unwrapped
from bnsharp_cli.training.ranges import FRACTION, FROM_ZERO, require_number

REFUSED_BY_TORCH = (KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError)
"""What torch's optimisers raise over parameters and states that they cannot take."""

_RANGES: Mapping[str, Mapping[str, Any]] = {"lr": FROM_ZERO, "momentum": FRACTION, "weight_decay": FROM_ZERO}
_FOR_EXAMPLE = "For example base=torch.optim.AdamW(model.parameters(), lr=1e-3)."


def of_base(name: str) -> Any:
    """An attribute that the rule shares with the optimiser below it, so that neither can go on without the other."""

    def read(rule: Any) -> Any:
        return getattr(rule._base, name)

    def write(rule: Any, value: Any) -> None:
        setattr(rule._base, name, value)

    return property(read, write)


def groups_of(params: Any) -> list[dict[str, Any]]:
    """What is to be trained, as groups that torch's optimisers take; nothing of the user's is changed.

    Args:
        params: a network, parameters, pairs of names and parameters, or groups of them.

    Raises:
        UsageError: it is none of these, or there is nothing to train.
    """
    expected = "a torch.nn.Module, parameters or groups of them"
    if isinstance(params, Tensor | str | set | Mapping) or not isinstance(params, nn.Module | Iterable):
        raise UsageError.of_type("params", expected, params, "Pass the network to train.")
    found = [*params.parameters()] if isinstance(params, nn.Module) else [*params]
    if not found:
        what = type(params).__name__
        raise UsageError.of("params", "a network with parameters", what, "There are none to train.")
    if not isinstance(found[0], Mapping):
        return [{"params": found}]
    for group in found:
        if not isinstance(group, Mapping):
            raise UsageError.of_type("params", "groups alone", group, "Put every parameter into a group.")
    return [dict(group) for group in found]


def require_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings of SGD that are out of range; of any other optimiser those of the same names.

    Args:
        settings: by name; others are left alone.

    Raises:
        UsageError: naming the setting.
    """
    for name, accepted in _RANGES.items():
        if name in settings:
            require_number(name, number_in(settings[name]), **accepted)
    nesterov = settings.get("nesterov", False)
    if not isinstance(nesterov, bool):
        raise UsageError.of("nesterov", "True or False", nesterov, f"Change {named('nesterov')}.")
    if nesterov and not settings.get("momentum"):
        raise UsageError.of("nesterov", f"a {named('momentum')} above 0", nesterov, "For example momentum=0.9.")
    if settings.get("maximize"):
        raise UsageError.of("maximize", "False", settings["maximize"], "Let the closure return the negative loss.")


def trained_parameters(module: nn.Module | None, groups: Iterable[Mapping[str, Any]]) -> dict[str, nn.Parameter]:
    """The parameters of groups that take a gradient, by name and in the order of the network.

    The name is that in the network itself, without the marks of wrappers. Where only parameters were given it is that
    which came with them, or their place in the groups.
    """
    names = {} if module is None else {id(one): name for name, one in unwrapped(module).named_parameters()}
    found: dict[str, nn.Parameter] = {}
    for number, group in enumerate(groups):
        given = group.get("param_names", ())
        for index, parameter in enumerate(group["params"]):
            name = names.get(id(parameter), given[index] if index < len(given) else "")
            if parameter.requires_grad:
                found[name if name and name not in found else f"param_groups.{number}.{index}"] = parameter
    return {**{name: found[name] for name in names.values() if name in found}, **found}


def require_base(base: Any, params: Any, given: Mapping[str, Any]) -> None:
    """Refuse what cannot take the steps of a rule.

    Args:
        base: the optimiser.
        params: what the rule is to train.
        given: arguments of SGD, which have no meaning beside another optimiser, with None for those left out.

    Raises:
        UsageError: naming the argument.
    """
    expected = "an optimiser of torch that takes a step without a closure"
    if isinstance(base, type) or not isinstance(base, torch.optim.Optimizer):
        raise UsageError.of_type("base", expected, base, _FOR_EXAMPLE)
    takes_closures = _needs_more(base.step) or hasattr(base, "batches_per_step")  # as a rule does
    if takes_closures or isinstance(base, torch.optim.SparseAdam):
        raise UsageError.of_type("base", expected, base, _FOR_EXAMPLE)
    for name, found in given.items():
        if found:
            raise UsageError.of(name, f"none beside {named('base')}", found, f"Give {named(name)} to the base.")
    mine = {id(parameter) for group in groups_of(params) for parameter in _tensors(group.get("params", ()))}
    theirs = {id(parameter) for group in base.param_groups for parameter in group["params"]}
    if not theirs & mine if isinstance(params, nn.Module) else theirs != mine:
        raise UsageError.of("base", "an optimiser of the same parameters", type(base).__name__, _FOR_EXAMPLE)
    for group in base.param_groups:
        require_settings(group)


def sgd_of(groups: list[dict[str, Any]], settings: Mapping[str, Any]) -> torch.optim.SGD:
    """SGD with settings that are checked here.

    Raises:
        UsageError: a setting out of range, or what torch cannot train.
    """
    require_settings(settings)
    try:
        return torch.optim.SGD(groups, **settings)
    except REFUSED_BY_TORCH as error:
        raise not_trainable("params", error) from error


def not_trainable(argument: str, error: Exception) -> UsageError:
    """What torch says about parameters that it does not take, as one of our errors."""
    found = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return UsageError(
        f"{named(argument)}: torch cannot train these: {found}.",
        "Pass the network, or its parameters() in groups that do not overlap.",
        argument=argument,
        expected="parameters that torch can train",
        found=found,
    )


def number_in(lr: object) -> object:
    """The step size, which torch also takes as a tensor of one number."""
    return lr.item() if isinstance(lr, Tensor) and lr.numel() == 1 else lr


def _tensors(params: Any) -> list[Any]:
    """The parameters of one group, without their names."""
    listed = [params] if isinstance(params, Tensor) else [*params]
    return [entry[1] if isinstance(entry, tuple) else entry for entry in listed]


def _needs_more(step: Any) -> bool:
    """Whether a step cannot do without an argument, as that of LBFGS."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    taken = inspect.signature(inspect.unwrap(step)).parameters.values()
    return any(one.default is one.empty and one.kind not in kinds and one.name != "self" for one in taken)
