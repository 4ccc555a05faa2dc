"""What somebody may have meant who named a network in a way that names none."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

from bnsharp_cli.errors import UsageError, shown
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.io.files.printable_text import one_line, shown_path
from bnsharp_cli.io.files.python_files import functions_in
from bnsharp_cli.io.networks.forms import ALL_ARCHITECTURE_FORMS, ARCHITECTURE_NAMES, LIBRARIES

_MOST = 3
_RESEMBLING, _AS_ALIKE = 0.6, 0.15
"""How alike two names must be, from 0 to 1, and how much less alike than the best a further one may be."""
_LONGEST_NAME = 100


def unknown_network(spec: str) -> UsageError:
    """The refusal of a network that is named neither as a library's nor as a function.

    >>> unknown_network("lenet_bn").remedy
    'Did you mean lenet-bn?'
    """
    functions = functions_in(spec)[:_MOST]
    if functions:
        return _refusal(
            spec, f"Name a function of that file: {_listed([f'{shown_path(spec)}:{f}' for f in functions])}."
        )
    meant = meant_networks(spec)
    return _refusal(spec, f"Did you mean {_listed(meant)}?" if meant else f"Use one of: {ALL_ARCHITECTURE_FORMS}.")


def meant_networks(word: str) -> list[str]:
    """Networks with names like ``word``, the most alike first; a name that is right comes with its library.

    >>> meant_networks("torchvision:resnet19")[0]
    'torchvision:resnet18'
    """
    library, _, name = word[:_LONGEST_NAME].rpartition(":")
    known: dict[str, str] = {}
    for owner in reversed(LIBRARIES):  # of two libraries with one name, the first one counts
        if library in ("", owner):
            known.update({one: f"{owner}:{one}" for one in _names_of(owner)})
    known.update({one: one for one in ARCHITECTURE_NAMES if not library})
    alike = {one: _likeness(name, one) for one in get_close_matches(name.lower(), known, _MOST, _RESEMBLING)}
    return [known[one] for one, likeness in alike.items() if likeness > max(alike.values()) - _AS_ALIKE]


def _likeness(word: str, name: str) -> float:
    return SequenceMatcher(None, word.lower(), name).ratio()


def suggestion(meant: Iterable[str], otherwise: str) -> str:
    """A remedy that names what was meant, if anything was."""
    listed = _listed([*meant])
    return f"Did you mean {listed}?" if listed else otherwise


def _refusal(spec: str, remedy: str) -> UsageError:
    return UsageError(
        f"Unknown network '{one_line(spec)}'.",
        remedy,
        argument="arch",
        expected=ALL_ARCHITECTURE_FORMS,
        found=shown(spec),
    )


def _names_of(library: str) -> list[str]:
    try:
        with importing_libraries():
            if library == "torchvision":
                from torchvision import models

                return list(models.list_models(module=models))
            import timm

            return list(timm.list_models())
    except ImportError:
        return []


def _listed(words: list[str]) -> str:
    return " or ".join([*filter(None, [", ".join(words[:-1])]), *words[-1:]])
