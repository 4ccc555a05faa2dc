"""The audit holds true errors, and each of its checks fails where what it looks at is spoiled."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bnsharp_cli.measurement.audit import invariance
from bnsharp_cli.measurement.audit.audit import audit
from bnsharp_cli.measurement.audit.audited_value import AuditedValue
from bnsharp_cli.measurement.audit.finding import CannotSayError, Finding
from bnsharp_cli.measurement.audit.integral import audit_integral, audit_loss
from bnsharp_cli.measurement.audit.invariance import audit_invariance
from bnsharp_cli.measurement.audit.population import audit_population, most_misses
from bnsharp_cli.measurement.audit.rounding import audit_order, audit_rounding, audit_threads, reordered
from bnsharp_cli.measurement.audit.search import audit_search
from bnsharp_cli.measurement.measures import bn_sharpness, population
from bnsharp_cli.measurement.measures.integral import integrate
from bnsharp_cli.measurement.measures.measurement import Status
from bnsharp_cli.measurement.surface.data_stream import Stream
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.measurement.audit.subject import DigitDraws, audited, trained

NAMES = ("loss", "integral", "rounding", "order", "threads", "search", "population", "invariance")
TINY = 1e-30


@pytest.fixture(scope="module")
def draws() -> DigitDraws:
    return DigitDraws(trained())


@pytest.fixture(scope="module")
def sound(draws: DigitDraws) -> AuditedValue:
    return audited(draws.fresh(0))


def spoiled(value: AuditedValue, **errors: float) -> AuditedValue:
    """The same value with other stated errors."""
    return replace(value, measured=replace(value.measured, uncertainty=replace(value.measured.uncertainty, **errors)))


def test_every_statement_of_a_sound_value_holds(draws: DigitDraws, sound: AuditedValue) -> None:
    found = audit(draws.fresh(0), sound.point, sound.blocks, sound.options, draws)
    assert tuple(finding.name for finding in found.findings) == NAMES
    assert [finding.name for finding in found.findings if finding.holds is not True] == []
    assert found.verdict == "HOLDS: 8 of 8 statements"
    assert found.measured.value == sound.measured.value
    for finding in found.findings:
        assert finding.stated is not None
        assert finding.found is not None
        assert finding.found <= finding.stated


def test_a_value_that_is_off_by_more_than_its_errors(sound: AuditedValue) -> None:
    assert audit_integral(sound).holds is True
    errors = sound.quadrature + sound.rounding
    for shift in (1.5 * errors, -1.5 * errors):
        wrong = replace(sound, measured=replace(sound.measured, value=sound.measured.value + shift))
        assert audit_integral(wrong).holds is False


def test_an_error_of_the_integral_that_is_too_small(sound: AuditedValue) -> None:
    finding = audit_integral(spoiled(sound, quadrature=0.0, rounding=TINY))
    assert finding.holds is False
    assert finding.stated == TINY


@pytest.mark.parametrize("check", [audit_rounding, audit_order, audit_invariance])
def test_a_rounding_that_is_too_small(
    draws: DigitDraws, sound: AuditedValue, monkeypatch: pytest.MonkeyPatch, check: Callable[[AuditedValue], Finding]
) -> None:
    assert check(sound).holds is True
    right = bn_sharpness.estimate_errors
    monkeypatch.setattr(bn_sharpness, "estimate_errors", lambda *given: replace(right(*given), floor=TINY))
    monkeypatch.setattr(invariance, "SMALLEST_TOLERANCE", TINY)
    assert check(audited(draws.fresh(0))).holds is False


class ByThreads(nn.Module):
    """A network whose outputs follow the number of threads, as those of a careless kernel may."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> Tensor:
        return self.module(inputs) * (1 + 1e-3 * torch.get_num_threads())


def test_a_value_that_depends_on_threads(sound: AuditedValue, draws: DigitDraws) -> None:
    before = torch.get_num_threads()
    assert audit_threads(sound).holds is True
    surface = LossSurface.of(ByThreads(draws.module), draws.fresh(0).batches[:1])
    assert audit_threads(audited(surface)).holds is False
    assert torch.get_num_threads() == before


def test_the_number_of_threads_comes_back_after_a_failure(sound: AuditedValue, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()

    def fail(*_: object) -> None:
        assert torch.get_num_threads() != before
        raise KeyboardInterrupt

    monkeypatch.setattr(AuditedValue, "measured_on", fail)
    with pytest.raises(KeyboardInterrupt):
        audit_threads(sound)
    assert torch.get_num_threads() == before


def test_a_loss_that_the_surface_computes_otherwise(sound: AuditedValue, monkeypatch: pytest.MonkeyPatch) -> None:
    assert audit_loss(sound).holds is True
    right = LossSurface.value
    monkeypatch.setattr(LossSurface, "value", lambda surface, point: right(surface, point) * (1 + 1e-6))
    assert audit_loss(sound).holds is False


def random_direction(value: AuditedValue) -> AuditedValue:
    """A value along a direction that nobody searched, whose status claims what ``value``'s does."""
    spheres = value.blocks.spheres(value.point)
    direction = spheres.to_direction(spheres.random(value.point, torch.Generator().manual_seed(0)))
    along = integrate(value.surface, value.point, value.surface.value(value.point), direction, value.options)
    return replace(value, measured=replace(value.measured, value=along.value, direction=direction))


@pytest.mark.parametrize("status", [Status.CONVERGED, Status.WITHIN_TOLERANCE])
def test_a_status_of_a_search_that_has_not_ended(sound: AuditedValue, status: Status) -> None:
    reached = replace(sound, measured=replace(sound.measured, status=status))
    assert audit_search(reached).holds is True
    finding = audit_search(random_direction(reached))
    assert finding.holds is False
    assert math.isclose(
        finding.found or 0.0, sound.measured.value - random_direction(reached).measured.value, rel_tol=0.01
    )


def test_a_lower_bound_is_no_more_than_that(sound: AuditedValue) -> None:
    bound = replace(sound, measured=replace(sound.measured, status=Status.ITERATION_LIMIT))
    finding = audit_search(random_direction(bound))
    assert finding.holds is True
    assert finding.stated is None
    below = sound.measured.value - random_direction(bound).measured.value
    assert math.isclose(finding.found or 0.0, below, rel_tol=0.01)
    assert "claims a lower bound; the best of 16 starts" in finding.sentence


def test_a_value_below_its_resolution_has_no_search(sound: AuditedValue) -> None:
    with pytest.raises(CannotSayError, match="below its resolution"):
        audit_search(replace(sound, measured=replace(sound.measured, status=Status.BELOW_RESOLUTION)))


def test_intervals_off_the_truth(sound: AuditedValue, draws: DigitDraws, monkeypatch: pytest.MonkeyPatch) -> None:
    assert audit_population(sound, draws).holds is True
    right = population._Interval.ends
    monkeypatch.setattr(population._Interval, "ends", lambda own: (1.5 * right(own)[1], 1.6 * right(own)[1]))
    finding = audit_population(audited(draws.fresh(0)), draws)
    assert finding.holds is False
    assert (finding.stated, finding.found) == (2, 6)


def test_one_miss_of_six_is_no_failure(sound: AuditedValue, draws: DigitDraws) -> None:
    told = {**sound.measured.details["population"], "low": 1e3, "high": 2e3}
    details = {**sound.measured.details, "population": told}
    finding = audit_population(replace(sound, measured=replace(sound.measured, details=details)), draws)
    assert finding.holds is True
    assert finding.found == 1
    assert "5 of 6 intervals of separate draws hold the whole split" in finding.sentence
    assert "miss more than 2 times in 0.2% of audits" in finding.sentence


def test_a_split_that_is_too_large_to_measure(
    sound: AuditedValue, draws: DigitDraws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bnsharp_cli.measurement.audit.population.AFFORDABLE", 1)
    monkeypatch.setattr(DigitDraws, "whole", None)
    finding = audit_population(sound, draws)
    assert finding.holds is True
    assert "the mean of all draws' estimates" in finding.sentence


@pytest.mark.parametrize("intervals", [0, 1, 2, 3, 4, 5, 6, 20])
def test_the_misses_that_are_improbable(intervals: int) -> None:
    """By adding up the binomial distribution."""

    def at_least(misses: int) -> float:
        counts = range(misses, intervals + 1)
        return sum(math.comb(intervals, k) * 0.05**k * 0.95 ** (intervals - k) for k in counts)

    most = most_misses(intervals)
    assert at_least(most + 1) < 0.01
    assert most == 0 or at_least(most) >= 0.01


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"population": None}, "as the value is not nearly a gradient norm"),
        ({"population": {"low": None, "high": None, "value": 1.0, "of": "split"}}, "a few batches carry the gradient"),
        ({"population": {"low": 1.0, "high": 2.0, "value": 1.0, "of": "fresh"}}, "how many samples the data has"),
    ],
)
def test_where_no_interval_is_stated(
    sound: AuditedValue, draws: DigitDraws, change: dict[str, object], says: str
) -> None:
    details = {**sound.measured.details, **change}
    with pytest.raises(CannotSayError, match=says):
        audit_population(replace(sound, measured=replace(sound.measured, details=details)), draws)


def test_where_there_are_no_other_samples(draws: DigitDraws, sound: AuditedValue) -> None:
    with pytest.raises(CannotSayError, match="the samples are the whole split"):
        audit_population(replace(sound, surface=draws.whole()), draws)
    one = draws.fresh(0).part(0, 1)
    with pytest.raises(CannotSayError, match="all samples are in one batch"):
        audit_population(replace(sound, surface=one), draws)


@pytest.mark.parametrize("streamed", [False, True])
def test_another_order_has_the_same_samples(draws: DigitDraws, streamed: bool) -> None:
    surface = draws.on(torch.arange(100))  # the last batch is short
    kept = surface.batches
    if streamed:
        surface = replace(surface, batches=Stream(kept.__getitem__, len(kept)))
    other = reordered(surface, 1)
    assert [len(targets) for _, targets in other.batches] == list(other.sizes.each)
    assert sorted(other.sizes.each) == sorted(surface.sizes.each)
    for inputs, targets in other.batches:
        (own,) = [batch for batch in kept if {*map(tuple, batch[0].tolist())} == {*map(tuple, inputs.tolist())}]
        assert not torch.equal(own[0], inputs)
        pairs = {tuple(image): int(label) for image, label in zip(own[0].tolist(), own[1], strict=True)}
        assert [pairs[tuple(image)] for image in inputs.tolist()] == targets.tolist()
    assert other.value(surface.point()) == pytest.approx(surface.value(surface.point()), rel=1e-6)


def test_a_loss_that_goes_by_the_order_cannot_be_reordered(draws: DigitDraws) -> None:
    def neighbours(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs[1:] - outputs[:-1]).square().mean() + nn.functional.cross_entropy(outputs, targets)

    surface = replace(draws.fresh(0), criterion=neighbours)
    with pytest.raises(CannotSayError, match="depends on the order"):
        audit_order(audited(surface))


@pytest.mark.parametrize("partition", ["extended", "filter", "layer", "element"])
def test_every_partition_is_held_against_copies(draws: DigitDraws, partition: str) -> None:
    assert audit_invariance(audited(draws.fresh(0), partition=partition)).holds is True


def test_the_printed_search_is_not_invariant_and_says_why(draws: DigitDraws) -> None:
    finding = audit_invariance(audited(draws.fresh(0), search="paper", iterations=5, delta=0.1))
    assert finding.holds is False
    assert "steps in v, whose length belongs to the copy" in finding.sentence


def test_without_norms_there_is_nothing_to_rescale() -> None:
    torch.manual_seed(0)
    plain = DigitDraws(nn.Sequential(nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 10)))
    with pytest.raises(CannotSayError, match="nothing to rescale"):
        audit_invariance(audited(plain.fresh(0)))


def test_evidence_that_is_too_coarse_decides_nothing() -> None:
    assert Finding.compared("x", 1.0, 0.8, "found", doubt=0.1).holds is True
    assert Finding.compared("x", 1.0, 1.2, "found", doubt=0.1).holds is False
    assert Finding.compared("x", 1.0, math.nan, "found").holds is False
    for found in (0.95, 1.05):
        finding = Finding.compared("x", 1.0, found, "found", doubt=0.1)
        assert finding.holds is None
        assert finding.sentence == "found; the evidence itself is only known to 1.0e-01"
