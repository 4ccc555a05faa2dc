"""Compares networks with several seeds, and says how far the verdicts depend on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import UsageError, named, spelt
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.measurement.comparison.comparison import NetworkComparison
from bnsharp_cli.measurement.comparison.seed_comparison import compared_over_seeds
from bnsharp_cli.measurement.surface.cost import NO_PASSES, Cost
from bnsharp_cli.workflows.comparing_networks import ComparedNetworks, compare_networks, notes_on
from bnsharp_cli.workflows.measured_network import Spelling
from bnsharp_cli.workflows.measuring import ResultDocument
from bnsharp_cli.workflows.reporter import SILENT, Reporter
from bnsharp_cli.workflows.results_folders import is_kept, result_files


@dataclass(frozen=True)
class ComparedSeeds:
    """Several networks side by side, with each seed.

    Attributes:
        seeds: in their order.
        each: the comparison with each of them.
    """

    seeds: Sequence[int]
    each: tuple[ComparedNetworks, ...]

    @property
    def first(self) -> ComparedNetworks:
        """The comparison with the first seed, which is the only one where there is one seed."""
        return self.each[0]

    @property
    def comparisons(self) -> Sequence[NetworkComparison]:
        """The first network with each other one, measure by measure, over the seeds."""
        if len(self.each) == 1:
            return self.first.comparisons
        return compared_over_seeds([one.comparisons for one in self.each])

    @property
    def notes(self) -> list[str]:
        """What a reader must know, each sentence once; arguments are marked."""
        if len(self.each) == 1:
            return [*self.first.notes]
        others = (note for one in self.each for note in one.notes if note not in notes_on(one.comparisons))
        over = f"A/B: the geometric mean of the ratios with {len(self.each)} seeds (the smallest … the largest)"
        return [*dict.fromkeys(others), *notes_on(self.comparisons), over]

    @property
    def cost(self) -> Cost:
        """The passes that were made now."""
        return sum((one.cost for one in self.each), NO_PASSES)

    @property
    def seconds(self) -> float:
        """The time of all, in seconds."""
        return sum(one.seconds for one in self.each)

    def document(self, spelling: Spelling = str) -> dict[str, Any]:
        """The document of the first seed; of several seeds with all of them and their spread, at the cost of all."""
        if len(self.each) == 1:
            return self.first.document(spelling)
        documents = [one.document(spelling) for one in self.each]
        compared = [document["comparison"] for document in documents]
        return {
            **documents[0],
            "seeds": [{"seed": seed, "comparison": one} for seed, one in zip(self.seeds, compared, strict=True)],
            "over_seeds": [one.to_dict() for one in self.comparisons],
            "notes": [spelt(note, spelling) for note in self.notes],
            "cost": {**vars(self.cost), "seconds": self.seconds},
        }


def compare_with_seeds(
    paths: Sequence[Path],
    seeds: Sequence[int],
    answer: Callable[[Path, int], ResultDocument],
    along: bool = False,
    reporter: Reporter = SILENT,
) -> ComparedSeeds:
    """Compare networks with each seed.

    Args:
        paths: checkpoints, ``sample:NAME``, or with one seed alone results that ``measure`` wrote and folders of them.
        seeds: at least one.
        answer: measures a checkpoint with one seed.
        along: as :func:`~bnsharp_cli.workflows.comparing_networks.compare_networks` takes it.
        reporter: as it takes it.

    Raises:
        UsageError: fewer than two networks, results that were not measured alike, or results with several seeds.
        BnsharpError: what cannot be opened or measured, with its remedy.
    """
    kept = [path for path in paths if len(seeds) > 1 and (is_kept(path) or result_files(path).results)]
    if kept:
        raise UsageError(
            f"{named('seeds')} measures with {len(seeds)} seeds, and {shown_path(kept[0])} is a result of one.",
            f"Name the checkpoint instead; what {named('results')} keeps is not measured again.",
            argument="checkpoint",
            expected="checkpoints",
            found=kept[0],
        )
    each = tuple(compare_networks(paths, _with_seed(answer, seed), along, reporter) for seed in seeds)
    return ComparedSeeds(seeds, each)


def _with_seed(answer: Callable[[Path, int], ResultDocument], seed: int) -> Callable[[Path], ResultDocument]:
    return lambda path: answer(path, seed)
