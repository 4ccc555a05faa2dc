"""Figures of what ``measure`` measures: drawn from its results, so that both show the same numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import UsageError, counted, shown
from bnsharp_cli.measurement.comparison.value_interval import ValueInterval, value_intervals
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.surface.cost import NO_PASSES, Cost
from bnsharp_cli.report.along_table import Stage
from bnsharp_cli.report.stored_results import NAME, total_cost
from bnsharp_cli.workflows.compared_subjects import subject
from bnsharp_cli.workflows.comparing_networks import compared_results, results_of, titles_of
from bnsharp_cli.workflows.figure_options import FigureOptions
from bnsharp_cli.workflows.measuring import ResultDocument

FigureRow = Mapping[str, Any]
"""One row of the numbers of a picture: texts, numbers, or None."""


@dataclass(frozen=True)
class MeasuredNetworks:
    """What was measured of the networks of a figure.

    Attributes:
        names: of their files or samples.
        results: of each.
        values: of each with their intervals.
        cost: the passes that were made for it.
        seconds: how long it took.
    """

    names: tuple[str, ...]
    results: tuple[ResultDocument, ...]
    values: tuple[tuple[ValueInterval, ...], ...]
    cost: Cost
    seconds: float

    @property
    def stages(self) -> list[Stage]:
        """The values of each network."""
        return [*zip(self.names, self.values, strict=True)]

    def records(self, entry: str, what: str) -> list[Measurement]:
        """The first measurement of each network that has an entry of its record.

        Args:
            entry: in the details.
            what: the entry, in words.

        Raises:
            UsageError: a result that was kept without it.
        """
        found = [next((one for one in result.measured if one.details.get(entry)), None) for result in self.results]
        for name, one in zip(self.names, found, strict=True):
            if one is None:
                remedy = "Name the checkpoint itself, which is measured for the figure."
                raise UsageError.of("checkpoint", f"results with {what}", name, remedy)
        return [one for one in found if one is not None]

    def about(self, kind: str, caption: str) -> dict[str, Any]:
        """What a document of numbers says of their figure, so that it can be drawn again.

        Args:
            kind: of the figure.
            caption: of the figure.
        """
        documents = [result.document for result in self.results]
        shared = ("version", "checkpoint", "data", "options", "environment")
        return {
            "schema": NAME,
            "command": "figure",
            "kind": kind,
            "caption": caption,
            "networks": [{name: document[name] for name in shared} for document in documents],
            "cost": vars(self.cost),
        }

    @property
    def data(self) -> str:
        """What all were measured on, for a title."""
        data = self.results[0].document["data"]
        return f"{data['samples']:,} samples of {data['spec']} ({data['split']})"

    @property
    def described(self) -> str:
        """The same for a caption, with all that decides the numbers."""
        document = self.results[0].document
        data, options = document["data"], document["options"]
        search = "" if options["restarts"] == 0 else f", {counted(options['restarts'], 'restart')}"
        return (
            f"{shown(options['loss'])} on {data['samples']:,} samples of {shown(data['spec'])} ({data['split']}), "
            f"batches of {data['batch_size']}, seed {data['seed']}, {options['bn']} statistics, partition "
            f"{document['blocks']['partition']}, p = {options['power']:g}{search}."
        )

    @property
    def whole(self) -> bool:
        """Whether the samples are all of the split."""
        data = self.results[0].document["data"]
        return bool(data["samples"] == data["available"])

    def about_bars(self, drawn: Iterable[ValueInterval]) -> str:
        """What the bars at the values that are drawn are, for a caption."""
        computed = "the errors of the computation"
        if self.whole:
            return f"Bars: {computed}; the samples are the whole split."
        known = any(one.low is not None for one in drawn)
        of = "the whole split" if self.results[0].document["data"]["available"] else "more samples"
        return f"Bars: 95 % intervals for {of} where one is known, else {computed}." if known else f"Bars: {computed}."


@dataclass(frozen=True)
class MeasuredKind:
    """One kind of figure that shows what was measured.

    Attributes:
        picture: draws it, to a file.
        rows: the numbers in it.
        caption: what it shows, in sentences.
        networks: the least number of them, and the largest; None for no largest.
        refusal: the sentence for another number of them.
        remedy: what to do then.
        along: whether the networks are stages of a training.
    """

    picture: Callable[[Path, MeasuredNetworks, FigureOptions, float], None]
    rows: Callable[[MeasuredNetworks], Sequence[FigureRow]]
    caption: Callable[[MeasuredNetworks], str]
    networks: tuple[int, int | None] = (1, None)
    refusal: str = ""
    remedy: str = ""
    along: bool = False

    def require_number(self, found: int) -> None:
        """Refuse another number of networks than the figure shows.

        Raises:
            UsageError: a training of one, or the spectrum of several.
        """
        least, most = self.networks
        if found < least or (most is not None and found > most):
            expected = counted(least, "checkpoint") if most == least else f"at least {least} checkpoints"
            raise UsageError(
                self.refusal,
                self.remedy,
                argument="checkpoint",
                expected=expected,
                found=counted(found, "checkpoint"),
            )


def measured_networks(
    paths: Sequence[Path], answer: Callable[[Path], ResultDocument], along: bool = False
) -> MeasuredNetworks:
    """What was measured of checkpoints, all alike.

    Args:
        paths: checkpoints, ``sample:NAME``, or results that ``measure`` wrote, which are not measured again.
        answer: measures a checkpoint.
        along: whether they are stages of a training, in the order of the numbers in their names.

    Raises:
        UsageError: results that were not measured alike.
        BnsharpError: what cannot be opened or measured, with its remedy.
    """
    began, results = time.monotonic(), results_of(paths, answer)
    made = sum((total_cost(one.document)[0] for one in results if one.kept is None), NO_PASSES)
    values: Sequence[tuple[ValueInterval, ...]]
    if len(results) == 1:
        values = [
            tuple(value_intervals(subject(name, one))) for name, one in zip(titles_of(results), results, strict=True)
        ]
    else:
        compared = compared_results(results, along, began)
        results, values = [*compared.results], compared.values
    return MeasuredNetworks(titles_of(results), tuple(results), tuple(values), made, time.monotonic() - began)
