"""Measures one checkpoint with several seeds, and says how far the values depend on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnsharp_cli.measurement.measures.seed_spread import SeedSpread, spreads_over_seeds
from bnsharp_cli.measurement.surface.cost import NO_PASSES, Cost
from bnsharp_cli.report.stored_results import total_cost
from bnsharp_cli.workflows.measuring import ResultDocument


@dataclass(frozen=True)
class SeededResults:
    """The results of one checkpoint, one for each seed.

    Attributes:
        seeds: in their order.
        results: of each.
    """

    seeds: Sequence[int]
    results: tuple[ResultDocument, ...]

    @property
    def first(self) -> ResultDocument:
        """The result of the first seed, which is the only one where there is one seed."""
        return self.results[0]

    @property
    def documents(self) -> list[Mapping[str, Any]]:
        """The documents of all seeds."""
        return [one.document for one in self.results]

    @property
    def spreads(self) -> list[SeedSpread]:
        """Every measure at every radius over the seeds."""
        return spreads_over_seeds([one.measured for one in self.results])

    @property
    def made_now(self) -> tuple[Cost, float]:
        """The passes that were made now, and the seconds that they took."""
        made = [total_cost(one.document) for one in self.results if one.kept is None]
        return sum((cost for cost, _ in made), NO_PASSES), sum(seconds for _, seconds in made)

    @property
    def document(self) -> Mapping[str, Any]:
        """The document of the first seed; of several seeds with all of them and their spread, at the cost of all."""
        if len(self.results) == 1:
            return self.first.document
        costs = [total_cost(document) for document in self.documents]
        total = sum((cost for cost, _ in costs), NO_PASSES)
        over_seeds: dict[str, list[dict[str, Any]]] = {}
        for spread in self.spreads:
            over_seeds.setdefault(spread.name, []).append(spread.to_dict())
        return {
            **self.first.document,
            "seeds": [_entry(seed, document) for seed, document in zip(self.seeds, self.documents, strict=True)],
            "over_seeds": over_seeds,
            "cost": {**vars(total), "seconds": sum(seconds for _, seconds in costs)},
        }


def measured_with_seeds(seeds: Sequence[int], answer: Callable[[int], ResultDocument]) -> SeededResults:
    """Measure a checkpoint with each seed.

    Args:
        seeds: at least one.
        answer: measures it with one seed.

    Raises:
        BnsharpError: what cannot be measured with one of them, with its remedy.
    """
    return SeededResults(seeds, tuple(map(answer, seeds)))


def _entry(seed: int, document: Mapping[str, Any]) -> dict[str, Any]:
    return {"seed": seed, **{name: document[name] for name in ("key", "loss", "accuracy", "measures", "skipped")}}
