"""JSON documents of schema ``bnsharp/1``: finite numbers, plain containers, a key is only ever added."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

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
    return json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def render_line(document: Mapping[str, Any]) -> str:
    """The document as one line, for files that hold several."""
    return json.dumps(_finite(document), ensure_ascii=False, allow_nan=False) + "\n"


def blocks_entry(blocks: Blocks, point: Point) -> dict[str, Any]:
    """The ``blocks`` entry of a document.

    Args:
        blocks: of the network.
        point: its parameters.
    """
    radii = blocks.spheres(point).radii[: blocks.invariant]
    return {
        "partition": blocks.partition,
        "invariant": blocks.invariant,
        "joint": len(blocks.joint),
        "zero_rows": int((radii == 0).sum()),
        "free_parameters": blocks.free_parameters(point),
        "tensors": [
            {"name": tensor.name, "rows": tensor.rows, "invariant": tensor.invariant, "reason": tensor.reason}
            for tensor in blocks.tensors
        ],
    }


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
