"""Networks as a comparison takes them, from their results: losses, accuracies and gaps beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bnsharp_cli.errors import UnfitMeasureError, named
from bnsharp_cli.measurement.comparison.comparison import LOSS, TEST_LOSS, Subject
from bnsharp_cli.measurement.comparison.paired_difference import MeanPart
from bnsharp_cli.measurement.comparison.paired_ratio import LOSSES
from bnsharp_cli.measurement.measures.measurement import Measurement, Status, Uncertainty
from bnsharp_cli.measurement.measures.measurements import Measurements
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.surface.cost import NO_PASSES
from bnsharp_cli.workflows.alike import architecture_of
from bnsharp_cli.workflows.measuring import ResultDocument


def subject(name: str, result: ResultDocument) -> Subject:
    """A network with its losses as further measures, and its accuracies and gaps.

    Args:
        name: a short one.
        result: what was measured of it.
    """
    document = result.document
    data, test = document["data"], document["test"]
    losses = {LOSS: (_loss(LOSS, document["loss"], document["batch_losses"]),)}
    if test is not None:
        losses[TEST_LOSS] = (_loss(TEST_LOSS, test["loss"], test["group_losses"]),)
    others = {name: profile for name, profile in result.measured.profiles.items() if name not in LOSSES}
    return Subject(
        name=name,
        measured=Measurements({**losses, **others}),
        samples=data["samples"],
        available=data["available"],
        rtol=document["options"]["rtol"],
        tested=None if test is None else test["data"]["samples"],
        means=_means(document),
    )


def _loss(name: str, value: float, parts: Sequence[float]) -> Measurement:
    return Measurement(name, value, Status.COMPUTED, Uncertainty(), NO_PASSES, by_batch=tuple(parts))


def _means(document: Mapping[str, Any]) -> dict[str, tuple[MeanPart, ...]]:
    """What is compared by its difference, in the order of the table."""
    data, test = document["data"], document["test"]
    sizes = _batch_sizes(data, len(document["batch_losses"]))
    fraction = data["samples"] / data["available"] if data["available"] else 0.0
    accuracies = tuple(document["batch_accuracies"])
    found: dict[str, tuple[MeanPart, ...]] = {}
    if accuracies:
        found["accuracy"] = (MeanPart(accuracies, sizes, fraction, share=True),)
    if test is None:
        return found
    groups, tested = tuple(test.get("group_tokens") or test["group_sizes"]), tuple(test["group_accuracies"])
    if tested:
        found["test-accuracy"] = (MeanPart(tested, groups, share=True),)
    losses = MeanPart(tuple(document["batch_losses"]), sizes, fraction, sign=-1)
    found["gap"] = (MeanPart(tuple(test["group_losses"]), groups), losses)
    if tested and accuracies:
        found["accuracy-gap"] = (MeanPart(tested, groups, sign=-1, share=True), *found["accuracy"])
    return found


def _batch_sizes(data: Mapping[str, Any], batches: int) -> tuple[int, ...]:
    """The samples in each batch, or its tokens; the last one of a whole split may be of another size."""
    if (data.get("text") or {}).get("tokens"):
        return tuple(data["text"]["tokens"])
    return (*[data["batch_size"]] * (batches - 1), data["samples"] - data["batch_size"] * (batches - 1))


def fit_to_compare(subjects: Sequence[Subject], results: Sequence[ResultDocument]) -> tuple[list[Subject], list[str]]:
    """The measures by which these networks may be compared: of different architectures only some.

    Args:
        subjects: the networks.
        results: what was measured of each.

    Raises:
        UnfitMeasureError: none of those that were measured is left.
    """
    kinds = {architecture_of(one.document) for one in results}
    if len(kinds) == 1:
        return [*subjects], []
    every = [name for name in subjects[0].measured.profiles if name not in LOSSES]
    left = [name for name in every if name in MEASURES and MEASURES[name].across_architectures]
    why = "its value depends on how many blocks or weights there are"
    if every and not left:
        raise UnfitMeasureError(
            f"The networks differ in architecture, and {', '.join(every)} cannot be compared then: {why}.",
            f"Compare by {named('measure')} noise or pac-bayes-sigma.",
            argument="measure",
            expected="a measure of networks of any architecture",
            found=every,
        )
    kept = [replace(one, measured=_only(one.measured, (*LOSSES, *left))) for one in subjects]
    dropped = [name for name in every if name not in left]
    return kept, [f"the architectures differ, so {', '.join(dropped)} are not compared: {why}"] if dropped else []


def _only(measured: Measurements, names: Sequence[str]) -> Measurements:
    return Measurements({name: measured.profiles[name] for name in names if name in measured.profiles})
