"""Finds a checkpoint's network: what the user says, else what the file says, else what its names and shapes fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.checkpoints.checkpoint import Checkpoint
from bnsharp_cli.io.checkpoints.entries import some
from bnsharp_cli.io.checkpoints.model_directory import HUGGINGFACE
from bnsharp_cli.io.checkpoints.own_format import OWN_FORMAT
from bnsharp_cli.io.checkpoints.state_dicts import below, shared_prefixes
from bnsharp_cli.io.files.printable_text import one_line
from bnsharp_cli.io.networks.architecture_from_metadata import (
    bounded_options,
    names_in,
    require_no_code,
    timms_network_arguments,
)
from bnsharp_cli.io.networks.constructor_arguments import completed, has_shapes
from bnsharp_cli.io.networks.constructors import OWN, construct_on_meta, family, import_library, installed
from bnsharp_cli.io.networks.earlier_names import timms_names, torchvisions_names, without_counters
from bnsharp_cli.io.networks.forms import ALL_ARCHITECTURE_FORMS
from bnsharp_cli.io.networks.network_identity import GUESS, METADATA, OPTION, UNKNOWN, Candidate, NetworkIdentity, built
from bnsharp_cli.io.networks.outline_index import matching_outlines, nearest_outlines
from bnsharp_cli.io.networks.outline_limits import CallLimit
from bnsharp_cli.io.networks.outlines import Shapes, shapes_of, shapes_of_network
from bnsharp_cli.io.networks.suggestions import unknown_network
from bnsharp_cli.io.networks.weight_norm import composed, modern_names

_NEAREST = 3
_MOST_NAMES = 4

Constructor = tuple[str, dict[str, Any]]
"""A network's name with the arguments of its constructor."""


def identify(
    checkpoint: Checkpoint, arch: str | None = None, options: Mapping[str, Any] | None = None
) -> NetworkIdentity:
    """Find out which network the weights of a checkpoint belong to.

    What the user names comes first. What the file names comes second; it is untrusted, so it can name no code to
    import, and only known networks that have the names and shapes of the weights. Third comes the only constructor of
    torchvision and timm whose network has these names and shapes, or torchvision's where timm has variants of it.
    Arguments of the constructor that are not given are read off the shapes.

    Args:
        checkpoint: verified weights.
        arch: what the user names, one of ``ALL_ARCHITECTURE_FORMS``.
        options: arguments of the constructor that the user gives.

    Raises:
        UsageError: an unknown name or option.
        CheckpointRefusedError: a file of our own format that asks for code to import, or for arguments out of bounds;
            one of timm's that states arguments which change what the network computes.
    """
    given = dict(options or {})
    readings = _readings(checkpoint.state_dict)
    if arch is not None:
        return _named(arch, given, readings, OPTION)
    stated = str(checkpoint.metadata.get("architecture", ""))
    if checkpoint.format == OWN_FORMAT and stated:
        bounded = bounded_options(require_no_code(stated), checkpoint.metadata.get("architecture_options"))
        return _named(stated, {**bounded, **given}, readings, METADATA)
    if checkpoint.format == HUGGINGFACE and stated.startswith(f"{HUGGINGFACE}:"):
        return NetworkIdentity(stated, given, METADATA)
    notes, limit, as_stated = [], CallLimit(), {**timms_network_arguments(checkpoint.metadata), **given}
    for name, meanings in islice(names_in(checkpoint.metadata), _MOST_NAMES):
        found = _first_that_fits(meanings, as_stated, readings, limit)
        if found is not None:
            return NetworkIdentity(*found, METADATA)
        notes.append(f"the file calls its network '{one_line(name)}', but that is none known here whose shapes it has")
    return _guessed(readings, given, tuple(notes))


def _named(spec: str, options: dict[str, Any], readings: list[Shapes], source: str) -> NetworkIdentity:
    """The network ``spec``, its arguments completed from the reading of the weights that it fits best."""
    if not family(spec):
        if not spec.partition(":")[2]:
            if source == OPTION:
                raise unknown_network(spec)  # which may look into a file that the user names
            raise UsageError(
                f"Unknown network '{one_line(spec)}'.",
                f"Use one of: {ALL_ARCHITECTURE_FORMS}.",
                argument="arch",
                expected=ALL_ARCHITECTURE_FORMS,
                found=spec,
            )
        return NetworkIdentity(spec, options, source)

    def complete() -> dict[str, Any]:
        with nullcontext() if source == OPTION else _limited(spec, readings, CallLimit()):
            found = [(completed(spec, options, shapes), shapes) for shapes in readings]
            if not any(has_shapes(spec, *pair) for pair in found):
                read = _timms_readings(spec, options, readings)
                found += [(completed(spec, options, shapes), shapes) for shapes in read]
            return max(found, key=lambda pair: has_shapes(spec, *pair))[0]

    return NetworkIdentity(spec, built(spec, source, complete), source, given=options)


def _timms_readings(spec: str, options: dict[str, Any], readings: list[Shapes]) -> Iterator[Shapes]:
    """The readings as timm's own filter for files names them, where ``spec`` is a network of timm's."""
    if family(spec) != "timm":
        return
    outline = construct_on_meta(spec, options)
    for shapes in readings:
        named = timms_names(outline, {name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
        if named is not None:
            yield shapes_of(named)


def _first_that_fits(
    specs: list[str], given: dict[str, Any], readings: list[Shapes], limit: CallLimit
) -> Constructor | None:
    """The first of ``specs`` that is installed and whose network has the names and shapes of a reading."""
    for spec in filter(installed, specs):
        try:
            with _limited(spec, readings, limit):
                known = shapes_of_network(spec, given).keys()
                for shapes in readings:
                    if shapes.keys() <= known and has_shapes(spec, options := completed(spec, given, shapes), shapes):
                        return spec, options
        except Exception:  # a name that is none of its library's, or arguments that its constructor refuses
            continue
    return None


def _limited(spec: str, readings: list[Shapes], limit: CallLimit) -> AbstractContextManager[None]:
    """``limit``, unless the network ``spec``, which only a file names, is known to have its names and shapes."""
    import_library(spec)
    fitting = (known.functions for shapes in readings for known in matching_outlines(shapes))
    return nullcontext() if any(spec in group for functions in fitting for group in functions) else limit


def _guessed(readings: list[Shapes], given: dict[str, Any], notes: tuple[str, ...]) -> NetworkIdentity:
    """The only known network that has the names and shapes of a reading; unknown where there is none, or several."""
    limit = CallLimit()
    own = _first_that_fits(list(OWN), given, readings, limit)
    if own is not None:
        return NetworkIdentity(*own, GUESS, notes)
    functions = [group for shapes in readings for known in matching_outlines(shapes) for group in known.functions]
    tried = (_first_that_fits(list(group), given, readings, limit) for group in functions)
    here = [found for found in tried if found is not None]
    chosen = here[0] if len(here) == 1 else _torchvisions(here)
    if chosen is not None:
        return NetworkIdentity(*chosen, GUESS, (*notes, *_others(chosen[0], functions, here)))
    fitting = [spec for spec, _ in here] or [group[0] for group in functions]
    if fitting:
        count = len(readings[0])
        return NetworkIdentity("", given, UNKNOWN, notes, tuple(Candidate(spec, count, count) for spec in fitting))
    return NetworkIdentity("", given, UNKNOWN, notes, tuple(_nearest(readings)))


def _torchvisions(found: list[Constructor]) -> Constructor | None:
    """The only one of torchvision's among variants of other libraries, such as resnet18 beside timm's resnetblur18."""
    torchvisions = [pair for pair in found if pair[0].startswith("torchvision:")]
    return torchvisions[0] if len(torchvisions) == 1 else None


def _others(chosen: str, functions: list[tuple[str, ...]], here: list[Constructor]) -> Iterator[str]:
    """Notes on the other networks with the names and shapes of the one that was chosen."""
    alike = next(group for group in functions if chosen in group)
    same = [spec for spec in alike if spec != chosen]
    other = [spec for spec, _ in here if spec != chosen]
    if same:
        yield f"{some(same, 3)} computes the same"
    if other:
        yield f"{some(other, 3)} has the same names and shapes, and computes something else"


def _nearest(readings: list[Shapes]) -> Iterator[Candidate]:
    """The known networks that share most names and shapes with the weights, best first."""
    found: dict[str, Candidate] = {}
    for shapes in readings:
        for known in nearest_outlines(shapes, 2 * _NEAREST):
            spec = next((spec for group in known.functions for spec in group if installed(spec)), None)
            if spec is not None:
                other = shapes_of_network(spec, {})
                shared = sum(other.get(name) == shape for name, shape in shapes.items())
                candidate = Candidate(spec, shared, len(shapes) + len(other) - shared)
                found[spec] = max(found.get(spec, candidate), candidate, key=_likeness)
    yield from sorted(found.values(), key=_likeness, reverse=True)[:_NEAREST]


def _likeness(candidate: Candidate) -> float:
    return candidate.shared / candidate.tensors


def _readings(tensors: Mapping[str, Tensor]) -> list[Shapes]:
    """Names and shapes, with weight norm undone, in every way in which the names may be read.

    First as they are, then without each leading part that all names share. A part that only most names share is left
    off too, together with the entries that do not have it. The same follows for names of earlier versions.
    """
    plain = composed(modern_names(without_counters(tensors)))
    today = torchvisions_names(plain)
    return [*_read(plain), *(_read(today) if today.keys() != plain.keys() else ())]


def _read(plain: Mapping[str, Tensor]) -> list[Shapes]:
    """The readings of tensors under one kind of names."""
    (common, count), *_ = Counter(name.partition(".")[0] for name in plain).most_common(1) or [("", 0)]
    prefixes = shared_prefixes(plain)
    if len(plain) / 2 < count < len(plain):  # beside the network there is a loss, or a metric
        prefixes += [f"{common}.{inner}" for inner in shared_prefixes(below(plain, f"{common}."))]
    return [shapes_of(below(plain, prefix)) for prefix in prefixes]
