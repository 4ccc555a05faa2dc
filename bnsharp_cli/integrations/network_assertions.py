"""What tests can say of networks: they fail with the sentence that the gate of ``bnsharp check`` has for it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.api import measure, rescale_test
from bnsharp_cli.errors import UsageError, counted, named, shown, spelt
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.measurement.comparison.comparison import NetworkComparison, Subject, compared_networks
from bnsharp_cli.measurement.decision.change import Quantity, relative_change, unchanged
from bnsharp_cli.measurement.decision.estimate import IntervalEstimate, SampleCount, estimate_of
from bnsharp_cli.measurement.decision.outcome import Limit, Outcome
from bnsharp_cli.measurement.decision.sentences import plain, sentence_of, signed_percent
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.measurements import Measurements
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.measures.selection import require_measure
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.measurement.surface.fixed_batches import BatchesLike, fixed_batches
from bnsharp_cli.measurement.surface.opened_surface import CriterionLike
from bnsharp_cli.report.stored_results import read_results

Baseline = nn.Module | Measurement | Path | str
"""A network, what was measured of one on the same batches, or a file that ``measure`` or ``check`` wrote."""

_DEFAULTS = MeasureOptions()
_OF_MEASURE = frozenset({"bn", "output", "device", "progress"})
"""Arguments of :func:`bnsharp_cli.measure` beside the options of the measures."""


class InconclusiveWarning(UserWarning):
    """A test passed although its samples do not tell whether the network is sharper."""


@dataclass(frozen=True)
class _Trial:
    """How two networks are measured."""

    batches: list[Batch]
    criterion: CriterionLike
    name: str
    whole: bool
    options: dict[str, Any]

    @property
    def samples(self) -> SampleCount:
        """How many samples there are, of themselves alone or of a population without end."""
        number = BatchSizes.of(self.batches).examples
        return SampleCount(number, number if self.whole else None)

    @property
    def rtol(self) -> float:
        """What a search within its tolerance leaves, relative to the value."""
        return float(self.options.get("rtol", _DEFAULTS.rtol))

    def measured(self, network: Baseline) -> Measurement:
        """The measurement of a network, or the one that is handed in.

        Raises:
            UsageError: what was handed in is of another measure, radius or number of batches.
        """
        if isinstance(network, nn.Module):
            found = measure(network, self.batches, self.criterion, measure=[self.name], **self.options)
            assert isinstance(found, Measurements)
            return found[0]
        if isinstance(network, Measurement):
            self._require_alike(network, "than")
            if len(network.by_batch) not in {0, len(self.batches)}:
                raise self._not_alike("batches", f"{len(self.batches)}", f"{len(network.by_batch)}")
            return network
        if isinstance(network, str | Path):
            return self._stored(Path(network))
        raise UsageError.of_type("than", "a network, a Measurement or a file", network, "Pass a network.")

    def quantity(self, measured: Measurement, same_batches: bool) -> Quantity:
        """A measurement with its interval; of other batches it has no numbers of these."""
        estimate = estimate_of(measured, self.samples, self.rtol)
        return Quantity(measured if same_batches else replace(measured, by_batch=()), estimate)

    def _stored(self, path: Path) -> Measurement:
        """The measurement of a file.

        Raises:
            UsageError: it holds several results, none of this measure at this radius, or one of another batch size.
        """
        results = read_results(path)
        if len(results) > 1:
            raise UsageError.of(
                "than", "a file with one result", counted(len(results), "result"), "Write one to a file."
            )
        profile = results[0].measured.profiles.get(self.name, ())
        wanted = self.options.get("delta", _DEFAULTS.delta)
        found = next((one for one in profile if one.details.get("delta", wanted) == wanted), None)
        if found is None:
            raise UsageError(
                f"{named('than')}: {shown_path(path)} has no {self.name} at {named('delta')} {wanted:g}.",
                f"Write it again with `bnsharp measure` and {named('measure')} {self.name}.",
                argument="than",
                expected=self.name,
                found=", ".join(results[0].measured.profiles),
            )
        self._require_options(results[0].document)
        return found

    def _require_options(self, document: Any) -> None:
        """Refuse a result by other options.

        Raises:
            UsageError: naming the first that differs.
        """
        record = MEASURES[self.name].options
        options = MeasureOptions.from_flat(**{key: one for key, one in self.options.items() if key not in _OF_MEASURE})
        own = {**options.to_dict(), "bn": self.options.get("bn", "batch")}
        particular = () if record is None else tuple(one.name for one in record.flat_fields())
        for name in ("bn", "power", "partition", "parameters", *particular):
            if _plain(own[name]) != document["options"].get(name):
                raise self._not_alike(name, shown(own[name]), shown(document["options"].get(name)))
        size, first = document["data"]["batch_size"], BatchSizes.of(self.batches).each[0]
        if size != first:
            raise self._not_alike("batches", f"of {first} samples each", f"of {size}")

    def _require_alike(self, other: Measurement, argument: str) -> None:
        wanted = self.options.get("delta", _DEFAULTS.delta)
        if MEASURES.get(other.name, MEASURES["bn"]).name != self.name:
            raise UsageError.of(argument, f"a measurement of {self.name}", other.name, f"Measure it by {self.name}.")
        if other.details.get("delta", wanted) != wanted:
            raise self._not_alike("delta", f"{wanted:g}", f"{other.details['delta']:g}")

    def _not_alike(self, argument: str, own: str, their: str) -> UsageError:
        return UsageError(
            f"The network and the baseline are not measured alike: {named(argument)} is {own} for this network and "
            f"{their} for the baseline.",
            f"Measure both with the same {named(argument)}.",
            argument=argument,
            expected=own,
            found=their,
        )


class NetworkAssertions:
    """What the fixture ``bnsharp`` is.

    In a test: ``bnsharp.assert_not_sharper(model, than=baseline, batches=batches)``.
    """

    measure = staticmethod(measure)
    """:func:`bnsharp_cli.measure`."""

    def compare(
        self,
        model: nn.Module,
        than: Baseline,
        batches: BatchesLike,
        criterion: CriterionLike = functional.cross_entropy,
        *,
        measure: str = "bn",
        whole: bool = False,
        **options: Any,
    ) -> NetworkComparison:
        """One measure of two networks on the same batches: ``verdict``, ``sentence`` and ``ratio``.

        Args:
            model: a network.
            than: another one, or what was measured of it.
            batches: as for :func:`bnsharp_cli.measure`.
            criterion: as there.
            measure: the name of a measure.
            whole: whether the batches are all the data that there is; else they are a sample.
            **options: as for :func:`bnsharp_cli.measure`.

        Raises:
            UsageError: what cannot be compared.
        """
        trial = _trial(batches, criterion, measure, whole, options)
        samples = trial.samples
        subjects = [
            Subject(name, Measurements({measure: (one,)}), samples.measured, samples.available, trial.rtol)
            for name, one in (("model", trial.measured(model)), ("baseline", trial.measured(than)))
        ]
        return compared_networks(subjects)[0]

    def assert_invariant(
        self,
        model: nn.Module,
        batches: BatchesLike,
        criterion: CriterionLike = functional.cross_entropy,
        **options: Any,
    ) -> None:
        """Fail unless BN-Sharpness is the same for copies that compute the same function.

        Args:
            model: a network with norms.
            batches: as for :func:`bnsharp_cli.rescale_test`.
            criterion: as there.
            **options: as there.
        """
        __tracebackhide__ = True
        report = rescale_test(model, batches, criterion, **options)
        if not report.invariant:
            raise AssertionError(report.verdict)

    def assert_not_sharper(
        self,
        model: nn.Module,
        *,
        than: Baseline,
        batches: BatchesLike,
        criterion: CriterionLike = functional.cross_entropy,
        measure: str = "bn",
        allowed: float = 0.1,
        whole: bool = False,
        inconclusive: Literal["warn", "fail", "pass"] = "warn",
        **options: Any,
    ) -> None:
        """Fail where a network is sharper than a baseline by more than is allowed; the message is the gate's sentence.

        Args:
            model: a network.
            than: the baseline: another network, what was measured of it on the same batches, or a file that ``measure``
                or ``check`` wrote, whose batches may be others, so that both intervals are put together.
            batches: as for :func:`bnsharp_cli.measure`.
            criterion: as there.
            measure: the name of a measure of sharpness.
            allowed: the largest increase, as a share of the baseline's value; a decrease where a large value is flat.
            whole: whether the batches are all the data that there is; else they are a sample of more.
            inconclusive: what happens where the samples do not decide.
            **options: as for :func:`bnsharp_cli.measure`.

        Raises:
            AssertionError: it is sharper.
            UsageError: what cannot be compared, or a measure that says nothing of sharpness.
        """
        __tracebackhide__ = True
        _require_sharpness(measure, allowed, inconclusive)
        trial = _trial(batches, criterion, measure, whole, options)
        new, old = trial.measured(model), trial.measured(than)
        change = _change(trial, new, old, model, than)
        flat = MEASURES[measure].large_is_flat
        limit = Limit(-allowed if flat else allowed, upper=not flat)
        what = f"from {plain(old.value)} to {plain(new.value)}"
        said = f"{measure} {spelt(sentence_of(change, limit, trial.samples, measure, signed_percent, what))}"
        outcome = limit.outcome(change)
        if outcome is Outcome.FAIL or (outcome is Outcome.INCONCLUSIVE and inconclusive == "fail"):
            raise AssertionError(said)
        if outcome is Outcome.INCONCLUSIVE and inconclusive == "warn":
            warnings.warn(said, InconclusiveWarning, stacklevel=2)


def _trial(batches: BatchesLike, criterion: CriterionLike, name: str, whole: bool, options: dict[str, Any]) -> _Trial:
    require_measure(name, "measure")
    return _Trial(fixed_batches(batches), criterion, name, whole, options)


def _change(trial: _Trial, new: Measurement, old: Measurement, model: nn.Module, than: Baseline) -> IntervalEstimate:
    if isinstance(than, nn.Module) and new.value == old.value and _same_weights(model, than):
        return unchanged(trial.samples)
    stored = isinstance(than, str | Path)
    quantities = trial.quantity(new, same_batches=not stored), trial.quantity(old, same_batches=not stored)
    return relative_change(*quantities, trial.samples, trial.rtol)


def _same_weights(model: nn.Module, other: nn.Module) -> bool:
    own, their = model.state_dict(), other.state_dict()
    return own.keys() == their.keys() and all(_same(own[name], their[name]) for name in own)


def _same(own: object, their: object) -> bool:
    if not isinstance(own, Tensor) or not isinstance(their, Tensor):
        return False
    return own.shape == their.shape and own.dtype == their.dtype and bool((own.cpu() == their.cpu()).all())


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _require_sharpness(measure: str, allowed: float, inconclusive: str) -> None:
    """Refuse what says nothing of sharpness, and arguments out of range.

    Raises:
        UsageError: naming it.
    """
    require_measure(measure, "measure")
    if MEASURES[measure].is_control:
        raise UsageError.of("measure", "a measure of sharpness", measure, "For example noise.")
    if isinstance(allowed, bool) or not isinstance(allowed, int | float) or not allowed >= 0:
        raise UsageError.of("allowed", "a share of the baseline's value, at least 0", allowed, "For example 0.1.")
    if inconclusive not in {"warn", "fail", "pass"}:
        raise UsageError.of("inconclusive", "one of warn, fail, pass", inconclusive, "For example fail.")
