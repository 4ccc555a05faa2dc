"""The list of all measures as text and as a JSON document. Nothing heavy is imported."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from bnsharp_cli import __version__
from bnsharp_cli.measurement.measures.measure_entry import MeasureEntry
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.measures.survival import Rescaling, rows_of
from bnsharp_cli.measurement.measures.tables import WIDTH, aligned
from bnsharp_cli.option_records import declared_fields

_HEAD = "What a rescaling that leaves the function of a network as it is does to each measure:"


def measures_document() -> dict[str, Any]:
    """Plain containers, as in the JSON schema ``bnsharp/1``."""
    return {
        "schema": "bnsharp/1",
        "command": "measures",
        "version": __version__,
        "measures": [_record(entry) for entry in MEASURES.values()],
        "rescalings": {rescaling.value: rescaling.meaning for rescaling in Rescaling},
    }


def measures_text() -> str:
    """Two tables within 80 columns: what rescalings do to the measures, and what these are."""
    meanings = [[rescaling.value, rescaling.meaning] for rescaling in Rescaling]
    return "\n".join(
        [
            *_filled(_HEAD, ""),
            "",
            aligned([["measure", *Rescaling], *_survival()]),
            "",
            "\n".join(aligned([["", ""], *meanings]).splitlines()[1:]),
            "",
            *(line for entry in MEASURES.values() for line in _described(entry)),
        ]
    )


def _record(entry: MeasureEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "summary": entry.summary,
        "formula": entry.formula,
        "cost": entry.cost,
        "source": entry.source,
        "invariance": entry.invariance,
        "survives": {name: [*own] for name, own in rows_of(entry.name).items()},
        "options": [] if entry.options is None else [one.name for one in declared_fields(entry.options)],
        "extra": entry.extra or None,
    }


def _survival() -> Iterator[list[str]]:
    for measure in MEASURES:
        for name, own in rows_of(measure).items():
            yield [name, *("same" if rescaling in own else "moves" for rescaling in Rescaling)]


def _described(entry: MeasureEntry) -> Iterator[str]:
    yield from _filled(f"{entry.name}: {entry.summary}", "    ")
    needs = {"needs": f"pip install 'bnsharp[{entry.extra}]'"} if entry.extra else {}
    for what, words in {"formula": entry.formula, "cost": entry.cost, **needs, "source": entry.source}.items():
        yield from _filled(f"    {what:<9}{words}", " " * 13)


def _filled(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False)
