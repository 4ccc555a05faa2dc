"""The documents of a report, each with a name that no other has, and the networks in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsharp_cli.io.checkpoints.samples import checkpoint_title
from bnsharp_cli.io.files.printable_text import escaped
from bnsharp_cli.measurement.comparison.value_interval import ValueInterval
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.report.stored_results import measurements_of

_LONGEST_NAME = 80
JsonRecord = Mapping[str, Any]
"""A document, or a part of one that has names."""


@dataclass(frozen=True)
class ReportedDocument:
    """A document, with what is computed from it.

    Attributes:
        document: in the JSON schema ``bnsharp/1``.
        intervals: the values of its network with their 95 % intervals; empty where it has none, or several networks.
        file: the name of its file; empty for what was measured for the report.
    """

    document: JsonRecord
    intervals: Sequence[ValueInterval] = ()
    file: str = ""

    @property
    def command(self) -> str:
        """What wrote it; ``failure`` for what stands for one that failed."""
        return str(self.document.get("command", "failure"))


@dataclass(frozen=True)
class ReportedNetwork:
    """A network that was measured.

    Attributes:
        name: that no other network of the report has.
        record: what a document says of it: ``checkpoint``, ``loss``, ``accuracy`` and what it was measured with.
        intervals: see :class:`ReportedDocument`.
        document: that holds the record.
    """

    name: str
    record: JsonRecord
    intervals: Sequence[ValueInterval]
    document: JsonRecord

    @property
    def measured(self) -> list[Measurement]:
        """What was measured, every measure at every radius."""
        return [*measurements_of(self.record.get("measures", {}))]

    def interval(self, measure: str, delta: float | None) -> ValueInterval | None:
        """The interval of one value; None where none is known."""
        own = (one for one in self.intervals if (one.measure, one.delta) == (measure, delta))
        return next((one for one in own if one.low is not None and one.high is not None), None)


def networks_of(documents: Sequence[ReportedDocument]) -> list[ReportedNetwork]:
    """The networks of all documents, in their order."""
    records = [(each, *one) for each in documents for one in _records(each)]
    names = file_titles([Path(record["checkpoint"]["path"]) for _, record, _ in records])
    return [
        ReportedNetwork(name, record, intervals, each.document)
        for name, (each, record, intervals) in zip(names, records, strict=True)
    ]


def file_titles(paths: Sequence[Path]) -> list[str]:
    """What files are called: by their names, with their folders where files of several folders have one name.

    >>> file_titles([Path("a/net.pt"), Path("b/net.pt"), Path("other.pt"), Path("other.pt")])
    ['a/net.pt', 'b/net.pt', 'other.pt', 'other.pt']
    """
    titles = [*map(checkpoint_title, paths)]
    several = {title: {path for path, own in zip(paths, titles, strict=True) if own == title} for title in titles}
    return [
        escaped(path if len(several[title]) > 1 else title, _LONGEST_NAME)
        for path, title in zip(paths, titles, strict=True)
    ]


def distinct(networks: Sequence[ReportedNetwork]) -> list[ReportedNetwork]:
    """Networks of which not the same is said twice, as where a comparison holds what was measured before."""
    found: dict[Any, ReportedNetwork] = {}
    for one in networks:
        record, data = one.record, one.document["data"]
        key = (
            record["checkpoint"]["sha256"],
            record["checkpoint"]["key"],
            data["sha256"],
            repr(one.document["options"]),
        )
        if key not in found or len(one.measured) > len(found[key].measured):
            found[key] = one
    return [*found.values()]


def is_several(networks: Sequence[ReportedNetwork]) -> bool:
    """Whether a table of them must say which network a row is of."""
    return len(Counter(one.name for one in networks)) > 1


def _records(each: ReportedDocument) -> Iterator[tuple[JsonRecord, Sequence[ValueInterval]]]:
    if each.command == "failure":
        return
    if each.command != "compare":
        yield each.document, each.intervals
        return
    for network in each.document["networks"]:
        yield network, [ValueInterval(**one) for one in network["values"] if one["value"] is not None]


def titles_of_networks(document: JsonRecord) -> dict[str, str]:
    """What the short names of a comparison stand for."""
    networks = document["networks"]
    titles = file_titles([Path(one["checkpoint"]["path"]) for one in networks])
    return {one["name"]: title for one, title in zip(networks, titles, strict=True)}
