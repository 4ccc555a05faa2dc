"""What a checkpoint holds, for a terminal of 80 columns and as JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.table import Table

from bnsharp_cli.errors import named, spelt
from bnsharp_cli.io.checkpoints.checkpoint import Checkpoint
from bnsharp_cli.io.checkpoints.own_format import OWN_FORMAT
from bnsharp_cli.io.checkpoints.samples import checkpoint_title
from bnsharp_cli.io.files.printable_text import one_line, printable
from bnsharp_cli.io.networks.network_identity import GUESS, METADATA, OPTION, NetworkIdentity
from bnsharp_cli.measurement.blocks.blocks import NO_EFFECT
from bnsharp_cli.report.inspection_record import InspectedNetwork, Inspection
from bnsharp_cli.report.json_document import blocks_entry
from bnsharp_cli.report.module_tree import ModuleNode, TensorLeaf, TreeLine, module_tree, tree_lines
from bnsharp_cli.report.quick_table import Column, print_table
from bnsharp_cli.report.terminal import SpellingConsole

_ENTRIES, _ENTRY_LENGTH = 12, 60
_NOTES, _UNREAD = 8, 4
_KIND_LENGTH = 20
_TOLD = ("format", "architecture", "architecture_options", "preprocessing")
_NORMALISED = "normalised by "
_SOURCES = {OPTION: "as you say", METADATA: "as the file says", GUESS: "a guess from names and shapes"}


def print_inspection(out: SpellingConsole, inspection: Inspection, every: bool) -> None:
    """The facts, one a line; the tree of modules; the notes.

    Args:
        out: where it is printed.
        inspection: of one checkpoint.
        every: show every tensor, entry and note, however many.
    """
    facts = Table(box=None, pad_edge=False, show_header=False)
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, text in _facts(inspection, every):
        facts.add_row(name, out.text(text))
    out.print(facts)
    out.print()
    _print_tree(out, inspection, every)
    notes = inspection.notes if every else inspection.notes[:_NOTES]
    if notes:
        out.print()
    for note in notes:
        out.say(f"note: {note}")
    if len(notes) < len(inspection.notes):
        out.say(f"and {len(inspection.notes) - len(notes)} more notes, see {named('every')}")


def inspection_entries(inspection: Inspection, spelling: Callable[[str], str] = str) -> dict[str, Any]:
    """The document's entries from ``checkpoint`` on; notes name arguments by ``spelling``."""
    checkpoint, identity, anatomy = inspection.checkpoint, inspection.identity, inspection.anatomy
    return {
        "checkpoint": {
            "path": str(checkpoint.path),
            "sha256": checkpoint.sha256,
            "format": checkpoint.format,
            "key": checkpoint.key,
            "notes": [spelt(note, spelling) for note in inspection.notes],
            "architecture": identity.spec or None,
            "architecture_source": identity.source,
            "architecture_options": printable(identity.options),
            "candidates": [vars(candidate) for candidate in identity.candidates],
            "parameters": None if anatomy is None else sum(tensor.numel() for tensor in anatomy.point.values()),
        },
        "metadata": printable(checkpoint.metadata),
        "unread": [
            {"place": one.place, "name": one.name, "holds_tensors": one.holds_tensors} for one in checkpoint.unread
        ],
        "preprocessing": inspection.preprocessing.to_dict() if inspection.preprocessing else None,
        "dtypes": dict(Counter(_dtype(tensor.dtype) for tensor in checkpoint.state_dict.values())),
        "tensors": [
            {"name": one_line(name), "shape": list(tensor.shape), "dtype": _dtype(tensor.dtype)}
            for name, tensor in checkpoint.state_dict.items()
        ],
        "norms": None if anatomy is None else [vars(norms) for norms in anatomy.norms],
        "inputs": None if anatomy is None else list(anatomy.inputs),
        "blocks": None if anatomy is None else blocks_entry(anatomy.blocks, dict(anatomy.point)),
    }


def _facts(inspection: Inspection, every: bool) -> Iterator[tuple[str, str]]:
    checkpoint, anatomy = inspection.checkpoint, inspection.anatomy
    yield "checkpoint", one_line(checkpoint_title(checkpoint.path))
    inside = f", weights at '{one_line(checkpoint.key)}'" if checkpoint.key and checkpoint.format != OWN_FORMAT else ""
    yield "format", f"{checkpoint.format}{inside}, sha256 {checkpoint.sha256[:12]}…"
    yield from _network(inspection.identity)
    if inspection.head:
        yield "head", inspection.head
    tensors = checkpoint.state_dict
    kinds = Counter(
        _dtype(tensor.dtype) for tensor in tensors.values() if tensor.is_floating_point() or tensor.is_complex()
    )
    dtypes = ", ".join(kinds) if len(kinds) == 1 else ", ".join(f"{kind} × {count}" for kind, count in kinds.items())
    if anatomy is None:
        yield "numbers", f"{sum(tensor.numel() for tensor in tensors.values()):,} in {len(tensors)} tensors, {dtypes}"
    else:
        count = sum(tensor.numel() for tensor in anatomy.point.values())
        yield "parameters", f"{count:,} in {len(anatomy.point)} tensors, {dtypes}"
        yield from _network_parts(anatomy, of_texts=bool(inspection.head))
    if inspection.preprocessing is not None:
        yield "images", str(inspection.preprocessing)
    told = _TOLD if checkpoint.format == OWN_FORMAT else ("format",)
    entries = {name: entry for name, entry in checkpoint.metadata.items() if name not in told}
    shown = list(entries.items()) if every else list(entries.items())[:_ENTRIES]
    for number, (name, entry) in enumerate(shown):
        yield "metadata" if number == 0 else "", f"{one_line(name, 40)}: {_brief(entry, every)}"
    if len(shown) < len(entries):
        yield "", f"and {len(entries) - len(shown)} more entries, see {named('every')}"
    yield from _unread(checkpoint, every)


def _unread(checkpoint: Checkpoint, every: bool) -> Iterator[tuple[str, str]]:
    """The objects whose classes are not read."""
    shown = checkpoint.unread if every else checkpoint.unread[:_UNREAD]
    for number, one in enumerate(shown):
        inside = ", tensors inside" if one.holds_tensors else ""
        yield "not read" if number == 0 else "", f"{one.place}: {one.name}{inside}"
    if len(shown) < len(checkpoint.unread):
        yield "", f"and {len(checkpoint.unread) - len(shown)} more objects, see {named('every')}"


def _network(identity: NetworkIdentity) -> Iterator[tuple[str, str]]:
    if identity.spec:
        options = "".join(f", {name}={one_line(repr(value), 40)}" for name, value in identity.options.items())
        yield "network", f"{one_line(identity.spec)}{options} ({_SOURCES[identity.source]})"
        return
    fitting = any(candidate.shared == candidate.tensors for candidate in identity.candidates)
    yield "network", f"unknown: name it with {named('arch')} to see its blocks"
    for candidate in identity.candidates:
        yield "fits" if fitting else "nearest", str(candidate)


def _network_parts(anatomy: InspectedNetwork, *, of_texts: bool) -> Iterator[tuple[str, str]]:
    for norms in anatomy.norms:
        count = len(norms.owners)
        epsilon = "" if norms.epsilon is None else f", ε {norms.epsilon:g}"
        yield "norms", f"{count} {norms.kind} norm{'s' * (count != 1)}{epsilon}"
    if not anatomy.norms:
        yield "norms", "none"
    blocks = anatomy.blocks
    joint = f", {len(blocks.joint)} of them joint" if blocks.joint else ""
    samples, *shape = anatomy.inputs
    sizes = _sizes(tuple(shape))
    inputs = f"random texts of {sizes} tokens" if of_texts else f"random inputs of {sizes}"
    yield (
        "blocks",
        f"{blocks.invariant:,} scale-invariant{joint} (partition {blocks.partition}), "
        f"{blocks.free_parameters(dict(anatomy.point)):,} free parameters; "
        f"found on {samples} {inputs}",
    )


def _print_tree(out: SpellingConsole, inspection: Inspection, every: bool) -> None:
    known = inspection.anatomy is not None
    columns = [Column("tensor" if every else "module", shrinks=True), Column("shape"), Column("numbers", right=True)]
    if known:
        columns += [Column("blocks", right=True), Column("normalised by", shrinks=True)]
    rows = []
    for line in tree_lines(_module_tree(inspection), every):
        kind = _sizes(line.leaves[0].shape) if line.simple else line.kind
        numbers = sum(leaf.numbers for leaf in line.leaves)
        cells = (line.guides + one_line(line.name), one_line(kind, _KIND_LENGTH), f"{numbers:,}")
        rows.append((*cells, *(_block_cells(line) if known else ())))
    print_table(out, columns, rows)


def _module_tree(inspection: Inspection) -> ModuleNode:
    anatomy = inspection.anatomy
    if anatomy is None:
        tensors = inspection.checkpoint.state_dict
        return module_tree({name: TensorLeaf(name, tuple(tensor.shape)) for name, tensor in tensors.items()}, {})
    found = {entry.name: entry for entry in anatomy.blocks.tensors}
    leaves = {
        name: TensorLeaf(
            name, tuple(tensor.shape), found[name].invariant, found[name].reason, found[name].without_effect
        )
        for name, tensor in anatomy.point.items()
    }
    return module_tree(leaves, {name: type(module).__name__ for name, module in anatomy.module.named_modules()})


def _block_cells(line: TreeLine) -> tuple[str, str]:
    """How many blocks, and which norm makes them, or how many do."""
    blocks = sum(leaf.blocks or 0 for leaf in line.leaves)
    reasons = {leaf.reason for leaf in line.leaves if leaf.blocks}
    if not blocks:
        silent = all(leaf.without_effect for leaf in line.leaves)
        return "", NO_EFFECT if silent else ""
    several = len(reasons) > 1 or not line.simple
    why = f"{len(reasons)} norm{'s' * (len(reasons) != 1)}" if several else _beside(line.leaves[0].path, *reasons)
    return f"{blocks:,}", one_line(why)


def _beside(path: str, reason: str) -> str:
    """The norm of a reason, without the modules that it shares with ``path``."""
    if not reason.startswith(_NORMALISED):
        return reason
    own, norm = path.split("."), reason.removeprefix(_NORMALISED).split(".")
    while len(norm) > 1 and own and own[0] == norm[0]:
        own, norm = own[1:], norm[1:]
    return ".".join(norm)


def _sizes(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) if len(shape) < 3 else "×".join(map(str, shape))


def _dtype(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")


def _brief(entry: object, every: bool) -> str:
    bounded = printable(entry)
    if isinstance(bounded, Mapping):
        text = ", ".join(f"{name}={_value(value)}" for name, value in bounded.items())
    elif isinstance(bounded, list):
        text = ", ".join(map(_value, bounded))
    else:
        text = _value(bounded)
    return one_line(text, 1000 if every else _ENTRY_LENGTH)


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}" if math.isfinite(value) else str(value)
    return str(value)
