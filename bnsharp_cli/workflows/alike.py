"""Whether two results belong to the same batches and options, so that they may be held against each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import UsageError, named, shown
from bnsharp_cli.io.checkpoints.model_directory import HUGGINGFACE
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.measures.sharpness_entries import PartsOptions
from bnsharp_cli.option_records import declared_fields

_ALIKE: Mapping[str, tuple[str, ...]] = {
    "data": ("data", "spec"),
    "split": ("data", "split"),
    "context": ("data", "text", "context"),
    "samples": ("data", "samples"),
    "batch_size": ("data", "batch_size"),
    "seed": ("data", "seed"),
    "loss": ("options", "loss"),
    "output_key": ("options", "output_key"),
    "bn": ("options", "bn"),
    "power": ("options", "power"),
    "partition": ("options", "partition"),
    "parameters": ("options", "parameters"),
    "memory": ("options", "memory"),
}
"""What two results must have alike, by the argument that decides it: where it is in a document."""

_IF_NOT_SAID: Mapping[str, object] = {"memory": "ample"}
"""What documents that do not name an argument were measured with."""

_CONTENTS: Mapping[str, tuple[str, ...]] = {"data": ("data",), "test_data": ("test", "data")}
"""Data whose samples must be the same, by the argument that names them; test data only where both have some."""

_WITHOUT_EFFECT = frozenset(one.name for one in declared_fields(PartsOptions))
"""Options of single measures that change no value."""


@dataclass(frozen=True)
class Side:
    """One of two results.

    Attributes:
        name: what it is called in a sentence.
        document: in the JSON schema ``bnsharp/1``.
        path: of its checkpoint, or of the file that holds it.
    """

    name: str
    document: Mapping[str, Any]
    path: Path


def architecture_of(document: Mapping[str, Any]) -> tuple[object, ...]:
    """What two networks of one architecture have alike.

    That of a directory is named by its path, so its tensors stand for it.

    Args:
        document: in the JSON schema ``bnsharp/1``.
    """
    checkpoint = document["checkpoint"]
    name, parameters = checkpoint["architecture"], checkpoint["parameters"]
    if not name.startswith(f"{HUGGINGFACE}:"):
        return name, parameters
    return HUGGINGFACE, parameters, *((tensor["name"], tensor["rows"]) for tensor in document["blocks"]["tensors"])


def require_alike(first: Side, other: Side, measures: Iterable[str]) -> None:
    """Refuse results that do not belong to the same batches and options.

    Args:
        first: a result.
        other: one that is held against it.
        measures: those whose own options must be alike too.

    Raises:
        UsageError: naming the first argument that differs.
    """
    own_options = {
        one.name: ("options", one.name)
        for measure in measures
        if measure in MEASURES and (record := MEASURES[measure].options) is not None
        for one in declared_fields(record)
        if one.name not in _WITHOUT_EFFECT
    }
    for argument, path in {**_ALIKE, **own_options}.items():
        missing = _IF_NOT_SAID.get(argument)
        own, their = (_entry(one.document, path, missing) for one in (first, other))
        if own != their:
            raise not_alike(argument, shown(own)[:60], shown(their)[:60], first, other)
    for argument, path in _CONTENTS.items():
        data = [_entry(one.document, path) for one in (first, other)]
        if None in data or data[0]["sha256"] == data[1]["sha256"]:
            continue
        own, their = (f"{shown(one['spec'])[:60]}, {one['samples']:,} samples" for one in data)
        words = (own, their) if own != their else ("one content", "another one of the same name")
        raise not_alike(argument, *words, first, other)


def not_alike(argument: str, own: str, their: str, first: Side, other: Side) -> UsageError:
    """The error for an argument that differs."""
    beginning = first.name[:1].upper() + first.name[1:]
    return UsageError(
        f"{beginning} and {other.name} ({shown_path(other.path)}) were not measured alike: {named(argument)} is {own} "
        f"for {first.name} and {their} for {other.name}.",
        f"Measure both with the same {named(argument)}.",
        argument=argument,
        expected=own,
        found=their,
    )


def _entry(document: Mapping[str, Any], path: Sequence[str], missing: object = None) -> Any:
    """What is at a place of a document, lists as tuples are; ``missing`` where there is nothing."""
    inner: Any = document
    for part in path:
        inner = inner.get(part) if isinstance(inner, Mapping) else None
    return missing if inner is None else list(inner) if isinstance(inner, tuple) else inner
