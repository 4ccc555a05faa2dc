"""The parameters that a measure varies: all of them, those that are trained, or those whose names match.

To measure over some parameters is to measure the loss as a function of these alone. The others are constants of the
network, as its buffers are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from bnsharp_cli.errors import UsageError, named, shown
from bnsharp_cli.measurement.surface.real_pairs import as_real
from bnsharp_cli.measurement.surface.settings import EVERY_PARAMETER, TRAINED_PARAMETERS

_MOST_NAMES = 3
_RESEMBLING = 0.3


@dataclass(frozen=True)
class ParameterChoice:
    """The parameters of one network that are varied.

    Attributes:
        asked: how they were chosen: ``all``, ``trainable`` or globs.
        names: theirs, in the network's order.
        measured: how many numbers they are.
        total: how many numbers all parameters are.
        frozen: how many of all are frozen, which is to say that they have ``requires_grad=False``.
    """

    asked: tuple[str, ...]
    names: tuple[str, ...]
    measured: int
    total: int
    frozen: int

    @property
    def partial(self) -> bool:
        """Whether some are constants."""
        return self.measured < self.total

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the result must know; nothing where every parameter is trained and varied."""
        frozen = f"{self.frozen:,} of {self.total:,} parameters are frozen (requires_grad=False)"
        if self.partial:
            what = f"measured over {self.measured:,} of {self.total:,} parameters ({shown(', '.join(self.asked))})"
            return (f"{what}, the others are constants" + (f"; {frozen}" if self.frozen else ""),)
        return (f"{frozen} and were varied like the others",) if self.frozen else ()

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as in the JSON schema ``bnsharp/1``."""
        return {
            "chosen": list(self.asked),
            "measured": self.measured,
            "total": self.total,
            "frozen": self.frozen,
        }


def choose_parameters(module: nn.Module, asked: Sequence[str]) -> ParameterChoice:
    """The parameters of ``module`` that ``asked`` names, each once.

    A tensor that has several names, as tied weights do, is chosen by any of them.

    Args:
        module: a network as its user has it, so that what is frozen shows.
        asked: ``all``, ``trainable`` or globs of names; what any of them chooses is taken.

    Raises:
        UsageError: one of them chooses nothing.
    """
    own = dict(module.named_parameters())
    first = {id(tensor): name for name, tensor in own.items() if is_continuous(tensor)}
    every = module.named_parameters(remove_duplicate=False)
    names = {name: first[id(tensor)] for name, tensor in every if id(tensor) in first}
    trained = [name for name, tensor in own.items() if tensor.requires_grad]
    chosen: set[str] = set()
    for word in asked:
        chosen.update(_chosen_by(word, names, trained))
    numbers = {name: as_real(tensor.detach()).numel() for name, tensor in own.items()}
    return ParameterChoice(
        asked=tuple(dict.fromkeys(asked)),
        names=tuple(name for name in own if name in chosen),
        measured=sum(numbers[name] for name in chosen),
        total=sum(numbers.values()),
        frozen=sum(size for name, size in numbers.items() if name not in trained),
    )


def is_continuous(tensor: Tensor) -> bool:
    """Whether it can be varied: whole numbers, such as quantized weights, are constants."""
    return tensor.is_floating_point() or tensor.is_complex()


def _chosen_by(word: str, names: Mapping[str, str], trained: Sequence[str]) -> Iterable[str]:
    """The names of the tensors that one word chooses; ``names`` leads from every name to the first of its tensor."""
    if word == EVERY_PARAMETER and names:
        return names.values()
    if word == TRAINED_PARAMETERS:
        if trained:
            return trained
        remedy = f"Choose {named('parameters')} all, or some by their names."
        found = f"{TRAINED_PARAMETERS}, where all of them are frozen"
        raise UsageError.of("parameters", "parameters to measure", found, remedy)
    matching = [own for name, own in names.items() if name == word or fnmatchcase(name, word)]
    if matching:
        return matching
    expected = f"{EVERY_PARAMETER}, {TRAINED_PARAMETERS} or a glob of the network's parameters"
    instead = " or ".join(map(shown, _nearest(word, [*names]))) or "weights that are no whole numbers"
    raise UsageError.of("parameters", expected, word, f"For example {instead}.")


def _nearest(word: str, names: Sequence[str]) -> list[str]:
    """What a user may have meant: the parts of a module of that name, or the names that resemble it most."""
    if any(name.startswith(f"{word}.") for name in names):
        return [f"{word}.*"]
    return get_close_matches(word, names, _MOST_NAMES, _RESEMBLING) or [*names[:_MOST_NAMES]]
