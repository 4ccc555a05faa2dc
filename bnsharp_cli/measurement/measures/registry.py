"""Every measure by its name: what it is, what it costs, and where its function is.

A new measure is a function ``(surface, point, blocks, options) -> Measurement`` in a file of its own, and an entry in
one of the lists that are put together here. Importing this module does not import torch.
"""

from __future__ import annotations

from typing import Any

from bnsharp_cli.measurement.measures.control_entries import CONTROL_ENTRIES
from bnsharp_cli.measurement.measures.curvature_entries import CURVATURE_ENTRIES
from bnsharp_cli.measurement.measures.measure_entry import MeasureEntry
from bnsharp_cli.measurement.measures.perturbation_entries import PERTURBATION_ENTRIES
from bnsharp_cli.measurement.measures.sharpness_entries import SHARPNESS_ENTRIES
from bnsharp_cli.option_records import declared_fields

MEASURES: dict[str, MeasureEntry] = {
    entry.name: entry for entry in (*SHARPNESS_ENTRIES, *PERTURBATION_ENTRIES, *CURVATURE_ENTRIES, *CONTROL_ENTRIES)
}


def entry_of(name: str) -> MeasureEntry:
    """The entry of what a result is called; BN-Sharpness by another partition has none of its own.

    >>> entry_of("bn-filter").name
    'bn'
    """
    return MEASURES.get(name) or MEASURES["bn"]


def particular_defaults() -> dict[str, Any]:
    """The options that only single measures have, at their defaults: for a command that takes none of them."""
    records = (entry.options for entry in MEASURES.values() if entry.options is not None)
    return {one.name: one.default for record in records for one in declared_fields(record)}
