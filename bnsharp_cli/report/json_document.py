"""JSON documents of schema ``bnsharp/1``: finite numbers, plain containers, a key is only ever added.

Characters of names that cannot be printed are written as JSON's own escapes. So every document is text that any file
can hold and that does nothing to a terminal, and whoever reads it gets the names as they are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsharp_cli.errors import BnsharpError, spelt
from bnsharp_cli.io.files.printable_text import printable

if TYPE_CHECKING:
    from bnsharp_cli.core.point import Point
    from bnsharp_cli.measurement.blocks.blocks import Blocks


def render(document: Mapping[str, Any]) -> str:
    """The document as indented JSON; infinite and undefined numbers become null.

    >>> print(render({"value": math.inf, "status": "sampled"}), end="")
    {
      "value": null,
      "status": "sampled"
    }
    """
    return _written(document, indent=2)


def render_line(document: Mapping[str, Any]) -> str:
    """The document as one line, for files that hold several."""
    return _written(document)


def failure_document(
    checkpoint: Path | None, failure: BnsharpError, spelling: Callable[[str], str] = str
) -> dict[str, Any]:
    """What stands for the document of a checkpoint that could not be measured, or of a command that failed.

    Args:
        checkpoint: as the user named it; None where the failure is not of one checkpoint.
        failure: why.
        spelling: how an argument that a sentence names is written.
    """
    error = {
        "reason": spelt(failure.marked_reason, spelling),
        "remedy": spelt(failure.marked_remedy, spelling),
        "argument": failure.argument,
        "expected": failure.expected,
        "found": printable(failure.found),
        "exit_code": failure.exit_code,
    }
    return {"schema": "bnsharp/1", "path": None if checkpoint is None else str(checkpoint), "error": error}


def for_encoding(text: str, encoding: str | None) -> str:
    r"""A document with JSON's own escapes for each character that ``encoding`` lacks; as it is where that is None.

    >>> for_encoding('{"δ": "±"}', "cp1252")
    '{"\\u03b4": "±"}'
    """
    if encoding is None or text.isascii():
        return text
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(map(partial(_escaped_for, encoding), text))
    return text


def _escaped_for(encoding: str, character: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(character)[1:-1]
    return character


def blocks_entry(blocks: Blocks, point: Point) -> dict[str, Any]:
    """The ``blocks`` entry of a document.

    Args:
        blocks: of the network.
        point: its parameters.
    """
    return {
        "partition": blocks.partition,
        "relative": blocks.relative,
        "invariant": blocks.invariant,
        "joint": len(blocks.joint),
        "zero_blocks": blocks.zero_blocks(blocks.spheres_at(point)),
        "free_parameters": blocks.free_parameters(point),
        "tensors": [
            {"name": tensor.name, "rows": tensor.rows, "invariant": tensor.invariant, "reason": tensor.reason}
            for tensor in blocks.tensors
        ],
    }


def _written(document: Mapping[str, Any], indent: int | None = None) -> str:
    text = json.dumps(_finite(document), indent=indent, ensure_ascii=False, allow_nan=False)
    return "\n".join(map(_escaped, text.split("\n"))) + "\n"


def _escaped(line: str) -> str:
    """A line of JSON with escapes for what cannot be printed, which is found inside strings alone."""
    if line.isprintable():
        return line
    return "".join(character if character.isprintable() else json.dumps(character)[1:-1] for character in line)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
