"""Compares networks that were measured alike, now or before, and says which is sharper and how sure that is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bnsharp_cli import __version__
from bnsharp_cli.errors import UsageError, counted, named, shown, spelt
from bnsharp_cli.io.checkpoints.samples import checkpoint_title
from bnsharp_cli.measurement.comparison.comparison import LOSS, NetworkComparison, compared_networks, order_by_radius
from bnsharp_cli.measurement.comparison.value_interval import ValueInterval, value_intervals
from bnsharp_cli.measurement.measures.measurements import Measurements
from bnsharp_cli.measurement.surface.cost import NO_PASSES, Cost
from bnsharp_cli.report.along_table import Stage
from bnsharp_cli.report.comparison_plots import plot_networks, plot_stages
from bnsharp_cli.report.numbered_names import natural_key
from bnsharp_cli.report.stored_results import read_results, total_cost
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.alike import Side, not_alike, require_alike
from bnsharp_cli.workflows.compared_subjects import fit_to_compare, subject
from bnsharp_cli.workflows.measured_network import Spelling
from bnsharp_cli.workflows.measuring import ResultDocument
from bnsharp_cli.workflows.reporter import SILENT, Reporter
from bnsharp_cli.workflows.results_folders import FolderResults, is_kept

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FAR = 2.0
"""Losses that differ by a larger factor are told, since sharpness at small δ follows the loss."""


@dataclass(frozen=True)
class ComparedNetworks:
    """Several networks side by side.

    Attributes:
        names: short ones, in the order of the networks.
        results: of each network.
        values: of each network with its interval, measure by measure.
        comparisons: of the first network with each other one, measure by measure; the loss first.
        notes: what a reader must know; arguments are marked.
        seconds: how long it took, in seconds.
    """

    names: tuple[str, ...]
    results: tuple[ResultDocument, ...]
    values: tuple[tuple[ValueInterval, ...], ...]
    comparisons: tuple[NetworkComparison, ...]
    notes: tuple[str, ...]
    seconds: float

    @property
    def cost(self) -> Cost:
        """The passes that were made now."""
        made = (total_cost(one.document)[0] for one in self.results if one.kept is None)
        return sum(made, NO_PASSES)

    @property
    def stages(self) -> list[Stage]:
        """The values of each network."""
        return [*zip(self.names, self.values, strict=True)]

    def document(self, spelling: Spelling = str) -> dict[str, Any]:
        """Plain containers, in the JSON schema ``bnsharp/1``; sentences in it name arguments by ``spelling``."""
        first = self.results[0].document
        return {
            "schema": "bnsharp/1",
            "command": "compare",
            "version": __version__,
            "networks": [
                {
                    "name": name,
                    "checkpoint": result.document["checkpoint"],
                    "key": result.document["key"],
                    "loss": result.document["loss"],
                    "accuracy": result.document["accuracy"],
                    "test": result.document["test"],
                    "measures": result.document["measures"],
                    "values": [dict(vars(one)) for one in values],
                }
                for name, result, values in zip(self.names, self.results, self.values, strict=True)
            ],
            "data": first["data"],
            "options": first["options"],
            "comparison": [{**one.to_dict(), "sentence": one.sentence} for one in self.comparisons],
            "notes": [spelt(note, spelling) for note in self.notes],
            "cost": {**vars(self.cost), "seconds": self.seconds},
        }


def compare_networks(
    paths: Sequence[Path],
    answer: Callable[[Path], ResultDocument],
    along: bool = False,
    reporter: Reporter = SILENT,
) -> ComparedNetworks:
    """Measure checkpoints alike, take what was measured before as it is, and compare.

    Args:
        paths: checkpoints, ``sample:NAME``, results that ``measure`` wrote, or folders of such results.
        answer: measures a checkpoint, as :func:`~bnsharp_cli.workflows.measuring.answered` does.
        along: whether they are stages of a training, in the order of the numbers in their names.
        reporter: told what was left out where nothing can be compared.

    Raises:
        UsageError: fewer than two networks, or results that were not measured alike.
        BnsharpError: what cannot be opened or measured, with its remedy.
    """
    began, folders = time.monotonic(), FolderResults.of(paths)
    try:
        results: list[ResultDocument] = []
        for path in paths:
            kept = folders.take(path)
            results += _results_of(path, answer) if kept is None else kept
        found = compared_results(results, along, began)
    except UsageError:
        for note in folders.notes:
            reporter.notice(note)
        raise
    return replace(found, notes=(*folders.notes, *found.notes))


def compared_results(results: Sequence[ResultDocument], along: bool, began: float) -> ComparedNetworks:
    """Compare networks that were measured.

    Args:
        results: of each network.
        along: whether they are stages of a training, in the order of the numbers in their names.
        began: since when, by ``time.monotonic``.

    Raises:
        UsageError: fewer than two networks, or results that were not measured alike.
    """
    _require_several(results)
    if along:
        results = sorted(results, key=lambda one: natural_key(one.document["checkpoint"]["path"]))
    names = titles_of(results) if along else tuple(_name(number) for number in range(len(results)))
    for name, result in [*zip(names, results, strict=True)][1:]:
        called = (f"'{shown(names[0])}'", f"'{shown(name)}'") if along else (names[0], name)
        _require_alike(results[0], result, called)
    subjects = [subject(name, result) for name, result in zip(names, results, strict=True)]
    subjects, notes = fit_to_compare(subjects, results)
    comparisons = compared_networks(subjects)
    told = [*_on_orders(comparisons)] if along else notes_on(comparisons)  # losses fall along any training
    notes += [*_on_test_data(names, results), *told]
    values, seconds = tuple(tuple(value_intervals(one)) for one in subjects), time.monotonic() - began
    return ComparedNetworks(names, tuple(results), values, tuple(comparisons), tuple(notes), seconds)


def draw_networks(path: Path, found: ComparedNetworks, along: bool = False) -> None:
    """Draw networks side by side, or as stages of a training.

    Args:
        path: where to write the picture.
        found: the networks.
        along: whether they are stages.
    """
    if torchrun.is_first():
        data = found.results[0].document["data"]
        title = f"{data['samples']:,} samples of {data['spec']} ({data['split']})"
        if along:
            plot_stages(path, found.stages, title)
        else:
            names = [f"{name}  {title}" for name, title in zip(found.names, titles_of(found.results), strict=True)]
            plot_networks(path, [*zip(names, found.values, strict=True)], title)


def results_of(paths: Sequence[Path], answer: Callable[[Path], ResultDocument]) -> list[ResultDocument]:
    """The results that files hold, and those of checkpoints.

    Args:
        paths: checkpoints, ``sample:NAME``, or results that ``measure`` wrote.
        answer: measures a checkpoint.
    """
    return [one for path in paths for one in _results_of(path, answer)]


def _results_of(path: Path, answer: Callable[[Path], ResultDocument]) -> list[ResultDocument]:
    if is_kept(path):
        return [ResultDocument(one.document, one.measured, path) for one in read_results(path)]
    return [answer(path)]


def titles_of(results: Sequence[ResultDocument]) -> tuple[str, ...]:
    """The names of the checkpoints, with their folders where two are the same."""
    paths = [Path(one.document["checkpoint"]["path"]) for one in results]
    titles = tuple(map(checkpoint_title, paths))
    return titles if len({*titles}) == len(titles) else tuple(map(str, paths))


def _name(number: int) -> str:
    return _LETTERS[number] if number < len(_LETTERS) else f"N{number + 1}"


def _require_several(results: Sequence[ResultDocument]) -> None:
    if len(results) < 2:
        raise UsageError(
            f"Two networks are compared, and there is {counted(len(results), 'network')}.",
            "Name two checkpoints or results.",
            argument="checkpoint",
            expected="at least two networks",
            found=len(results),
        )


def _require_alike(first: ResultDocument, other: ResultDocument, names: tuple[str, str]) -> None:
    """Refuse results that do not belong to the same batches, options and radii.

    Raises:
        UsageError: naming the first argument that differs.
    """
    sides = _side(first, names[0]), _side(other, names[1])
    require_alike(*sides, [one for one in first.measured.profiles if one in other.measured.profiles])
    own, their = _radii(first.measured), _radii(other.measured)
    if own != their:
        raise not_alike("delta", shown(own)[:60], shown(their)[:60], *sides)


def _side(result: ResultDocument, name: str) -> Side:
    return Side(
        name, result.document, Path(result.document["checkpoint"]["path"]) if result.kept is None else result.kept
    )


def _radii(measured: Measurements) -> list[float]:
    return sorted({one.details["delta"] for one in measured if "delta" in one.details})


def _on_test_data(names: Sequence[str], results: Sequence[ResultDocument]) -> Iterator[str]:
    without = [name for name, one in zip(names, results, strict=True) if one.document["test"] is None]
    if without and len(without) < len(results):
        yield (
            f"{', '.join(without)} {'has' if len(without) == 1 else 'have'} no test data, so neither test losses nor "
            f"gaps are compared: measure every network with {named('test_data')}"
        )


def notes_on(comparisons: Sequence[NetworkComparison]) -> list[str]:
    """What a reader must know of some comparisons; arguments are marked."""
    return [*_on_losses(comparisons), *_on_orders(comparisons)]


def _on_losses(comparisons: Sequence[NetworkComparison]) -> Iterator[str]:
    for one in comparisons:
        low, high = sorted(one.values)
        if one.measure == LOSS and low > 0 and high > _FAR * low:
            yield (
                f"the losses of {one.networks[0]} and {one.networks[1]} differ by a factor of {high / low:.2g}: "
                f"sharpness at small {named('delta')} follows the loss, so compare networks of about the same loss"
            )


def _on_orders(comparisons: Sequence[NetworkComparison]) -> Iterator[str]:
    for measure, order in order_by_radius(comparisons).items():
        said = ", ".join(f"{name} at {delta:g}" for delta, name in order.items())
        yield f"{measure}: the order depends on {named('delta')}: {said}"
