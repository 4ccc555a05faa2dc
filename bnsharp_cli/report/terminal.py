"""Tables for a terminal of 80 columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bnsharp_cli.errors import named, spelt
from bnsharp_cli.io.files.encodable_text import encodable
from bnsharp_cli.measurement.invariance.invariance_report import CopyReport, InvarianceReport
from bnsharp_cli.measurement.measures.measurement import Measurement, Status
from bnsharp_cli.measurement.measures.measurements import Measurements
from bnsharp_cli.measurement.measures.registry import MEASURES, entry_of
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.measurement.surface.progress import duration

_LINEAR = 0.01
_AGREES = 0.01
_MINUTE = 60.0

_OTHER_PARTITIONS = {
    "bn-extended": "the same with every joint scale-invariance as a block of its own (not in the paper)",
    "bn-filter": "the same with every row and every vector relative to its own norm (not in the paper)",
    "bn-layer": "the same with every tensor relative to its own norm (not in the paper)",
    "bn-element": "the same with every number relative to its own size (not in the paper)",
}


class SpellingConsole(Console):
    """A console on stdout that prints user strings as they are, and spells the arguments that sentences name.

    Args:
        spelling: how an argument is written, from its name in Python.
    """

    def __init__(self, spelling: Callable[[str], str]) -> None:
        super().__init__(highlight=False, markup=False, soft_wrap=False)
        self._spelling = spelling

    def text(self, words: str, style: str = "") -> Text:
        """The words as a text, with every argument in them, as :func:`~bnsharp_cli.errors.named` marks it, spelt."""
        return Text(encodable(spelt(words, self._spelling), self._stream_encoding), style)

    def say(self, words: str) -> None:
        """Print a sentence on lines of its own."""
        self.print(self.text(words))

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as a text, for cells of a table: made fit for the stream before anything is aligned."""
        return super().render_str(encodable(text, self._stream_encoding), **options)

    @property
    def _stream_encoding(self) -> str | None:
        return getattr(self.file, "encoding", None)

    def on_broken_pipe(self) -> None:
        """Leave a closed pipe to the caller, who knows the exit code."""
        raise BrokenPipeError


def console(spelling: Callable[[str], str] = str) -> SpellingConsole:
    """A console on stdout.

    Args:
        spelling: how an argument is written; by its name in Python if this is left out.
    """
    return SpellingConsole(spelling)


def print_subject(out: SpellingConsole, lines: Sequence[str]) -> None:
    """Print what was measured, a line for each fact."""
    for line in lines:
        out.say(line)
    out.print()


def print_measurements(
    out: SpellingConsole, measurements: Measurements, every_sample: bool = False, legend: bool = True
) -> None:
    """Print a row for each measurement, then what each means and how it was found, then what is to be said of each.

    Args:
        out: where it is printed.
        measurements: of one network.
        every_sample: whether they were made on the whole split, so that there are no more samples to speak of.
        legend: whether what they mean is said; else see :func:`print_legend`.
    """
    heading, *subjects = joined_subjects([one.cells[:2] for one in measurements])
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(heading, no_wrap=True)
    for name in ("value", "± error", "cost"):
        table.add_column(name, justify="right")
    table.add_column("status")
    for subject, measurement in zip(subjects, measurements, strict=True):
        _, _, *others, status, cost = measurement.cells
        table.add_row(subject, *others, cost, status)
    out.print(table)
    out.print()
    if legend:
        print_legend(out, measurements)
    for remark in _remarks(measurements, every_sample):
        out.say(remark)
    for name, reason in measurements.skipped.items():
        out.say(f"{name}: not measured. {reason}")


def joined_subjects(rows: Sequence[Sequence[str]]) -> list[str]:
    """The heading, and the measure and the radius of each row; a name without a radius may take the room of both."""
    pairs = [("measure", "δ" if any(radius for _, radius in rows) else ""), *rows]
    width = max((len(name) for name, radius in pairs if radius), default=0)
    return [f"{name.ljust(width)}  {radius}".rstrip() for name, radius in pairs]


def print_legend(out: SpellingConsole, measurements: Sequence[Measurement]) -> None:
    """Print what the measures are, which way is sharper and how they were found, once for all of some measurements."""
    names = [*dict.fromkeys(measurement.name for measurement in measurements)]
    for name in names:
        out.say(f"{name}: {meaning(name)}")
    for direction, large_is_sharp in (("larger is sharper", True), ("larger is flatter", False)):
        if own := [name for name in names if entry_of(name).large_is_sharp is large_is_sharp]:
            out.say(f"{direction}: {', '.join(own)}")
    for status in dict.fromkeys(measurement.status for measurement in measurements):
        out.say(f"{status.value}: {status.marked_meaning}")


def print_cost(out: SpellingConsole, cost: Cost, seconds: float) -> None:
    """Print what all of it took, the search for blocks and the loss of the network itself included."""
    out.say(f"{cost.passes} in {_in_words(seconds)}")


def _in_words(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < _MINUTE else duration(seconds)


def _remarks(measurements: Sequence[Measurement], every_sample: bool) -> Iterator[str]:
    """What a reader must know of each value, and of all of them."""
    for measurement in measurements:
        if measurement.name.startswith("bn"):
            sentences = [regime(measurement), spread(measurement), sampled(measurement, every_sample)]
            yield from filter(None, sentences)
        if "by_sigma" in measurement.details:
            yield by_sigma(measurement)
    yield from dict.fromkeys(note for measurement in measurements for note in measurement.notes)


def meaning(measure: str) -> str:
    """One line on what a measure is, as the registry has it."""
    return _OTHER_PARTITIONS.get(measure) or MEASURES[measure].summary


def is_linear(measurement: Measurement) -> bool | None:
    """Whether a value is that of the limit δ → 0; None where nothing can be said of that."""
    ratio = measurement.details.get("limit_ratio")
    if ratio is None or measurement.status is Status.BELOW_RESOLUTION:
        return None
    return bool(abs(ratio - 1) <= _LINEAR)


def regime(measurement: Measurement) -> str:
    """One line on whether the value comes from the slope or from curvature."""
    ratio, delta, linear = measurement.details["limit_ratio"], measurement.details["delta"], is_linear(measurement)
    if linear is None:
        return f"δ = {delta:g}: nothing can be said of the regime"
    if linear:
        return f"δ = {delta:g}: linear regime (limit/value {ratio:.4f}): the value is the block-scaled gradient norm"
    return f"δ = {delta:g}: curvature speaks (limit/value {ratio:.3g})"


def by_sigma(measurement: Measurement) -> str:
    """One line on the loss changes at every size of noise."""
    each = (
        f"{one['value']:.3g} ± {max(one['sampling'], one['rounding']):.1g} at σ = {one['sigma']:g}"
        for one in measurement.details["by_sigma"]
    )
    return f"{measurement.name}: {', '.join(each)}"


def spread(measurement: Measurement) -> str:
    """One line on how far the starts of the search agree."""
    search, delta = measurement.search, measurement.details["delta"]
    if search is None or search.starts < 2:
        return ""
    best = max(search.values)
    if best <= 0:
        return ""
    close = sum(value >= (1 - _AGREES) * best for value in search.values)
    return (
        f"δ = {delta:g}: {close} of {search.starts} starts ended within {_AGREES:.0%} of the best, "
        f"the lowest at {min(search.values) / best:.3g} of it"
    )


def sampled(measurement: Measurement, every_sample: bool = False) -> str:
    """One line on what more samples would bring the value to."""
    population, delta = measurement.details["population"], measurement.details["delta"]
    if measurement.status is Status.BELOW_RESOLUTION:
        return "" if every_sample else f"δ = {delta:g}: what more samples would bring is not known"
    if population is None:
        unknown = f"δ = {delta:g}: {_crossed(measurement)}what more samples would bring is not known"
        return "" if every_sample else unknown
    known = {"on fresh data": population["fresh"]}
    if population["of"] == "split" and not every_sample:
        known = {"on the whole split": population, **known}
    said = ", ".join(f"{where} {_interval(entry)}" for where, entry in known.items())
    return f"δ = {delta:g}: {said}{_remedy(next(iter(known.values())))}"


def _interval(population: Mapping[str, Any]) -> str:
    if population["low"] is None:
        return f"about {population['value']:.3g}"
    return f"{population['value']:.3g} ({population['low']:.3g} … {population['high']:.3g})"


def _remedy(population: Mapping[str, Any]) -> str:
    """What brings a better answer."""
    needed = population["samples_needed"]
    if population["low"] is None:
        some = f"{named('samples')} all" if needed is None or "of" in population else f"{needed:,} samples"
        return f"; a few batches carry the gradient, so there is no interval: use {some}"
    return "; 95 % intervals" + ("" if needed is None else f", within 10 % from {needed:,} samples on")


def _crossed(measurement: Measurement) -> str:
    sampling = measurement.details["sampling"]
    if sampling is None:
        return ""
    return f"a direction from one half of the batches reaches {sampling['cross_fitted']:.3g} on the other half; "


def print_invariance(out: SpellingConsole, report: InvarianceReport) -> None:
    """Print a row for each copy, a sentence on the copy with (γ, β) scaled, and the verdict."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("copy")
    for heading in ("loss drift", "stored ε", "δ-L2", "δ-L∞", "bound", "bn", "deviation"):
        table.add_column(heading, justify="right", no_wrap=True)
    for copy in report.copies:
        table.add_row(*_copy_cells(copy))
    out.print(table)
    out.print()
    bounded = [copy for copy in report.copies if copy.lower_bound is not None]
    out.say("loss drift: |L(copy) − L|, with ε per channel; stored ε: the same with ε as stored.")
    for copy in bounded[-1:]:
        layer = "" if copy.lower_bound is None else copy.lower_bound[0]
        out.say(f"bound: Theorem 3.1's lower bound on δ-L∞; on {copy.name} the ball holds {layer} = 0.")
    if report.gamma_beta is not None:
        out.print()
        out.say(gamma_beta_sentence(report.gamma_beta, report.reference))
    out.print()
    out.print(out.text(report.marked_verdict, "bold green" if report.invariant else "bold red"))


def gamma_beta_sentence(copy: CopyReport, reference: CopyReport) -> str:
    """What the copy with (γ, β) scaled shows of both partitions."""
    paper = copy.measures["bn"].value / reference.measures["bn"].value
    extended = copy.measures["bn-extended"].value / copy.measures["bn-extended-original"].value - 1
    return (
        f"Not covered by T_a: (γ, β) scaled by {copy.scale:g} where the next norm undoes it (loss drift "
        f"{copy.loss_drift:.1e}) multiplies BN-Sharpness as published by {paper:.3g}; with "
        f"{named('partition')} extended, which is this tool's addition to the paper, it changes by {extended:.1e}."
    )


def print_verdict(out: SpellingConsole, verdict: str, passed: bool) -> None:
    """Print the last line of all, in the colour of its meaning."""
    out.print(out.text(verdict, "bold green" if passed else "bold red"))


def number(value: float) -> str:
    """A value with six significant digits."""
    return f"{value:.6g}"


def _copy_cells(copy: CopyReport) -> list[str]:
    bound = "" if copy.lower_bound is None else f"{copy.lower_bound[1]:.2g}"
    measures = copy.measures
    return [
        copy.name,
        f"{copy.loss_drift:.0e}",
        f"{copy.loss_drift_stored_epsilon:.0e}",
        f"{measures['delta-l2'].value:.1e}",
        f"{measures['delta-linf'].value:.1e}",
        bound,
        f"{measures['bn'].value:.9f}" if 0.01 <= measures["bn"].value < math.inf else f"{measures['bn'].value:.6e}",
        f"{copy.deviation:.0e}",
    ]
