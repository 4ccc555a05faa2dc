"""Finds the weights among a file's entries, and takes the names of a network's wrappers off theirs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsharp_cli.errors import CheckpointRefusedError, UsageError, named
from bnsharp_cli.io.checkpoints.entries import MOST_LOOKED_AT, NO_NETWORK, rank, some
from bnsharp_cli.io.checkpoints.modest_names import LONGEST, require_modest_names
from bnsharp_cli.io.checkpoints.no_weights import no_weights, outranked
from bnsharp_cli.io.checkpoints.unread_objects import Unread, note, unread_objects
from bnsharp_cli.io.containers.remedies import SAVE_WEIGHTS
from bnsharp_cli.io.files.printable_text import one_line, shown_path

NamedTensors = Mapping[str, Tensor]
"""Parameters and buffers by name."""

_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_AVERAGES, _COUNTS = "n_averaged", {torch.int64, torch.int32}
_MOST_WRAPPERS = 8
"""How many wrappers around a network are looked through."""

_DEPTH = 2
"""How many levels of entries below a file's own are searched for weights first; deeper ones if they have none."""

_DEEPEST = 100
"""Levels that a key may lead through."""


@dataclass(frozen=True)
class Weights:
    """One state dict of a file.

    Attributes:
        key: where it was found, a dotted path; empty for the file itself.
        tensors: by name, without the marks of DDP, FSDP, ``torch.compile`` and weight averaging.
        notes: what the user should know about the choice, a line each, with arguments marked by ``errors.named``.
        unread: objects in the file that are not read.
    """

    key: str
    tensors: NamedTensors
    notes: tuple[str, ...] = ()
    unread: tuple[Unread, ...] = ()


def choose_weights(path: Path, content: Mapping[str, Any], key: str | None = None) -> Weights:
    """The state dict that ``key`` names, or else the one that the file's own keys mark as the trained weights.

    What is taken without ``key`` is the first of ``entries.TRAINED``, then of ``AVERAGED``, then the only other one.

    Args:
        path: for the messages.
        content: of the file.
        key: a dotted path to a state dict, or to a part of one: ``state_dict.student`` are those entries of
            ``state_dict`` whose names begin with ``student.``, with the marks of wrappers or without them. A part of
            the weights that are taken without ``key`` may be named alone: ``student``.

    Raises:
        CheckpointRefusedError: none is there, or several without one that is preferred.
        UsageError: ``key`` names none.
    """
    unread = unread_objects(content)
    found = find_state_dicts(content, _DEPTH) or find_state_dicts(content)
    if not found:
        raise no_weights(path, content, unread)
    ranked = sorted(found, key=rank)
    weights = _chosen(path, found, ranked, unread) if key is None else _named(path, content, ranked, key, unread)
    return replace(weights, notes=(*weights.notes, *note(unread)), unread=tuple(unread))


def _chosen(path: Path, found: Mapping[str, NamedTensors], ranked: Sequence[str], unread: Sequence[Unread]) -> Weights:
    """The first of ``ranked``, if nothing else may be meant."""
    refusal = outranked(path, ranked, unread)
    if refusal is not None:
        raise refusal
    if len(found) > 1 and rank(ranked[0]) == rank(ranked[1]):
        raise CheckpointRefusedError(
            f"{shown_path(path)} holds several state_dicts: {some(ranked)}.",
            f"Choose one with {named('key')}.",
            subject=path,
        )
    chosen = ranked[0]
    said = f"{shown_path(path.name)} holds several state_dicts: {some(ranked)}; {one_line(chosen)} is taken"
    notes = (f"{said}, see {named('key')}",) if len(found) > 1 else ()
    return _stripped(chosen, found[chosen], notes)


def find_state_dicts(content: Mapping[str, Any], depth: int = _DEEPEST) -> dict[str, NamedTensors]:
    """All state dicts among ``content`` and ``depth`` levels of its entries, by their dotted paths.

    A state dict is a mapping from names to tensors, one of which at least is no single number; what optimisers,
    schedulers and the like keep is left out, and so is what follows after some hundred entries of a level. Deep down,
    an entry that stands in several places is found in the first.

    Raises:
        CheckpointRefusedError: two entries have the same dotted path.
    """
    found: dict[str, NamedTensors] = {}
    level: dict[str, Any] = {"": content}
    known = {""}
    seen: set[int] = set()
    for step in range(depth + 1):
        if not level:
            break
        if step > _DEPTH:  # otherwise a file of few entries, shared by many, takes long to search
            level = {key: mapping for key, mapping in level.items() if id(mapping) not in seen}
            seen |= {id(mapping) for mapping in level.values()}
        found |= {key: mapping for key, mapping in level.items() if _is_state_dict(mapping)}
        inner = (
            (f"{key}.{name}".removeprefix("."), entry)
            for key, mapping in level.items()
            if key not in found
            for name, entry in mapping.items()
            if isinstance(name, str) and isinstance(entry, Mapping) and not NO_NETWORK.match(name)
            if len(key) + len(name) < LONGEST
        )
        level = _by_path(islice(inner, MOST_LOOKED_AT), known)
        known |= level.keys()
    return found


def _by_path(entries: Iterable[tuple[str, Any]], known: Collection[str]) -> dict[str, Any]:
    """The entries by their dotted paths, none of which is known already: names may hold dots, and may be empty."""
    level: dict[str, Any] = {}
    for path, entry in entries:
        if path in level or path in known:
            raise CheckpointRefusedError(
                f"The file holds two entries that are both called '{one_line(path)}'.",
                SAVE_WEIGHTS,
                expected="entries with different names",
                found=path,
            )
        level[path] = entry
    return level


def without_wrappers(names: Iterable[str]) -> dict[str, str]:
    """Names without the marks that DDP, FSDP and ``torch.compile`` leave, by the names as they are.

    ``module.`` goes where every name begins with it, the others wherever they stand.
    """
    plain = {name: ".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in names}
    for _ in range(_MOST_WRAPPERS):
        if not all(name.startswith("module.") for name in plain.values()):
            break
        plain = {name: shorter.removeprefix("module.") for name, shorter in plain.items()}
    return plain if len(set(plain.values())) == len(plain) else {name: name for name in plain}


def shared_prefixes(names: Iterable[str]) -> list[str]:
    """Nothing, and the first part of the names if all of them share it, and their first two parts, and so on."""
    rest, prefixes = list(names), [""]
    while (
        len(prefixes) <= _MOST_WRAPPERS
        and rest
        and all("." in name for name in rest)
        and len({name.partition(".")[0] for name in rest}) == 1
    ):
        prefixes.append(f"{prefixes[-1]}{rest[0].partition('.')[0]}.")
        rest = [name.partition(".")[2] for name in rest]
    return prefixes


def below(tensors: NamedTensors, prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, by what follows."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def widest_precision(tensors: Iterable[Tensor]) -> torch.dtype:
    """float64 if one of the tensors has it, else float32: the precision of a network that takes all of them."""
    double = {torch.float64, torch.complex128}
    return torch.float64 if any(tensor.dtype in double for tensor in tensors) else torch.float32


def in_precision(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Floating numbers in ``dtype``, complex ones in pairs of it, whole ones as they are."""
    if tensor.is_complex():
        return tensor.to(torch.complex128 if dtype == torch.float64 else torch.complex64)
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _stripped(key: str, tensors: NamedTensors, notes: tuple[str, ...] = ()) -> Weights:
    """Weights without wrappers; the count that ``AveragedModel`` keeps beside them becomes a note."""
    require_modest_names(tensors)
    for _ in range(_MOST_WRAPPERS):
        tensors = {name: tensors[longer] for longer, name in without_wrappers(tensors).items()}
        others = {name: tensor for name, tensor in tensors.items() if name != _AVERAGES}
        if len(others) == len(tensors) or not all(name.startswith("module.") for name in others):
            break
        count = tensors[_AVERAGES]
        known = count.numel() == 1 and count.dtype in _COUNTS and not count.is_meta
        number = f" of {int(count)} states" if known else ""
        notes = (*notes, f"the weights are an average{number} (n_averaged)")
        tensors = others
    return Weights(key, tensors, notes)


def _named(
    path: Path, content: Mapping[str, Any], preferred: Sequence[str], key: str, unread: Sequence[Unread]
) -> Weights:
    """What ``key`` names in full, or else a part of the first of ``preferred``, or of the only one that has it."""
    found = find_state_dicts(content)
    if key in found:
        return _stripped(key, found[key])
    for holder in sorted(found, key=len, reverse=True):
        if not holder or key.startswith(f"{holder}."):
            part = _part(found[holder], key.removeprefix(f"{holder}."))
            if part:
                return _stripped(key, part)
    parts = {holder: part for holder, tensors in found.items() if (part := _part(tensors, key))}
    ambiguous = len(preferred) > 1 and rank(preferred[0]) == rank(preferred[1])
    holders = [preferred[0]] if preferred[0] in parts and not ambiguous else [*parts]
    if len(holders) == 1:
        return _stripped(f"{holders[0]}.{key}", parts[holders[0]])
    raise _wrong_key(path, found, key, holders, [one for one in unread if f"{one.place}.".startswith(f"{key}.")])


def _part(tensors: NamedTensors, key: str) -> NamedTensors:
    """The tensors below ``key``, whose parts may stand behind marks of wrappers or name these; empty if none are."""
    for word in key.split("."):
        tensors = below(tensors, f"{word}.") or below(_stripped("", tensors).tensors, f"{word}.")
    return tensors


def _wrong_key(
    path: Path, found: Mapping[str, NamedTensors], key: str, holders: Sequence[str], unread: Sequence[Unread]
) -> UsageError:
    """The refusal of a key that names nothing, or something in each of several ``holders``."""
    keys = [f"{holder}.{key}" for holder in holders]
    holder = next((one for one in sorted(found, key=len, reverse=True) if key.startswith(f"{one}.")), "")
    depth = 2 if holder else 1  # of a state_dict that is one among others, layers are no parts
    names = _stripped("", found.get(holder, {})).tensors
    parts = {name.partition(".")[0] for name in names if name.count(".") >= depth}
    keys = keys or [f"{holder}.{part}".removeprefix(".") for part in sorted(parts)]
    known = some(keys or [holder for holder in sorted(found, key=rank) if holder])
    why = f" ({unread[0]}, which is not read)" if unread else ""
    return UsageError(
        f"{named('key')}: {shown_path(path)} has no weights at '{one_line(key)}'{why}; it has {known or 'no parts'}.",
        "Name one of these." if known else f"Leave {named('key')} out.",
        argument="key",
        expected=f"one of {known}" if known else "none",
        found=key,
    )


def _is_state_dict(mapping: Mapping[Any, Any]) -> bool:
    named = all(isinstance(name, str) and isinstance(entry, Tensor) for name, entry in mapping.items())
    return named and any(entry.ndim for entry in mapping.values())
