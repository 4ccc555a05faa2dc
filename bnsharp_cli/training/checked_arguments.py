"""Arguments of training rules that no option record declares, checked."""

from __future__ import annotations

import numbers
from typing import Any, TypeVar

from torch import Tensor, nn
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


def known_state(state: Any, needed: list[str]) -> StateDict:
    """``state``, if each group of parameters in it has the entries that a step reads."""
    for group in state["param_groups"]:
        for name in needed:
            if not isinstance(group[name], numbers.Number | Tensor | type(None)):
                raise TypeError(f"{name} is no number")
    return dict(state)


def parameters_of(module: object) -> list[nn.Parameter]:
    """The parameters of a network to train.

    Raises:
        UsageError: it is not a network with parameters.
    """
    if not isinstance(module, nn.Module):
        raise UsageError.of_type("module", "a torch.nn.Module", module, "Pass the network to train.")
    parameters = [*module.parameters()]
    if not parameters:
        raise UsageError.of("module", "a network with parameters", type(module).__name__, "There are none to train.")
    return parameters


def number_in(lr: object) -> object:
    """The step size, which torch also takes as a tensor of one number."""
    return lr.item() if isinstance(lr, Tensor) and lr.numel() == 1 else lr
