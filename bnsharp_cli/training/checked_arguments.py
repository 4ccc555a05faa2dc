"""Arguments of training rules that no option record declares, checked."""

from __future__ import annotations

import numbers
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from torch import Tensor
from torch.optim.optimizer import StateDict

from bnsharp_cli.errors import UsageError

RecordT = TypeVar("RecordT")


def chosen_options(options: Any, record: type[RecordT]) -> RecordT:
    """The options of a rule; the record's defaults where none were given.

    Raises:
        UsageError: they are of another type.
    """
    if options is not None and not isinstance(options, record):
        raise UsageError.of_type("options", f"{record.__name__} or None", options, f"Pass {record.__name__}(...).")
    return record() if options is None else options


def known_state(state: Any, defaults: Mapping[str, Any], kept: Collection[str], groups: Iterable[Any]) -> StateDict:
    """``state``, if it is one of an optimiser like this.

    Counts and switches that it lacks, as states of torch's optimisers and of older versions do, are those of a new one.

    Args:
        state: what ``state_dict()`` returned.
        defaults: the settings of this optimiser.
        kept: what it keeps for a parameter, each a tensor of the parameter's shape.
        groups: those of this optimiser.
    """
    needed = [name for name, value in defaults.items() if value is not None and not isinstance(value, bool)]
    for group in state["param_groups"]:
        for name in [*needed, *(name for name in ("steps", "epochs") if name in group)]:
            if not isinstance(group[name], numbers.Number | Tensor | tuple | type(None)):
                raise TypeError(f"{name} is no number")
    parameters = [parameter for group in groups for parameter in group["params"]]
    for number, entries in state["state"].items():
        for name in {*kept} & entries.keys():
            if entries[name] is not None and entries[name].shape != parameters[number].shape:
                raise ValueError(f"{name} of parameter {number} is of another shape")
    return {**state, "param_groups": [{**defaults, **group} for group in state["param_groups"]]}
