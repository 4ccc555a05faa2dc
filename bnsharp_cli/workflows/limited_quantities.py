"""Finds in a result the number that a limit is put on, with the interval that it lies in on all the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import NotMeasurableError, UsageError, named
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.measurement.comparison.paired_difference import MeanPart
from bnsharp_cli.measurement.decision.change import Quantity, difference
from bnsharp_cli.measurement.decision.estimate import IntervalEstimate, SampleCount, estimate_of, share_estimate
from bnsharp_cli.measurement.measures.measurement import Measurement, Status, Uncertainty
from bnsharp_cli.measurement.measures.measurements import Measurements
from bnsharp_cli.measurement.surface.cost import FORWARD, NO_PASSES
from bnsharp_cli.workflows.compared_subjects import subject
from bnsharp_cli.workflows.limited_names import (
    ACCURACY,
    ACCURACY_GAP,
    DEAD_ROWS,
    GAP,
    LOSS,
    ON_TEST_DATA,
    SHARE,
    TEST_ACCURACY,
    TEST_LOSS,
    LimitedName,
    layer_missing,
)
from bnsharp_cli.workflows.measuring import ResultDocument


@dataclass(frozen=True)
class JudgedResult:
    """A result that limits are held against, or the baseline.

    Attributes:
        document: in the JSON schema ``bnsharp/1``.
        measured: what is known of each measure.
        path: of the file that holds it; None where it was measured now.
        dead: how many rows are all zero; None where nobody looked.
        where_dead: where they are.
    """

    document: Mapping[str, Any]
    measured: Measurements
    path: Path | None = None
    dead: int | None = None
    where_dead: str = ""

    @property
    def samples(self) -> SampleCount:
        """How many samples it is of."""
        return SampleCount(self.document["data"]["samples"], self.document["data"]["available"])

    def samples_of(self, name: LimitedName) -> SampleCount:
        """How many samples a number is of; test data is never all that there could be."""
        test = self.document["test"]
        if name.what not in ON_TEST_DATA or test is None:
            return self.samples
        return SampleCount(test["data"]["samples"], of_test_data=True)

    @property
    def weights(self) -> tuple[object, ...]:
        """What tells the weights of a network from those of another one."""
        checkpoint = self.document["checkpoint"]
        return tuple(checkpoint[name] for name in ("sha256", "key", "architecture", "parameters"))

    def required(self, name: LimitedName, delta: float | None, rtol: float) -> Quantity:
        """What a baseline has to hold.

        Raises:
            UsageError: it does not.
        """
        found = self.quantity(name, delta, rtol)
        if found is not None:
            return found
        at = "" if delta is None else f" at {named('delta')} {delta:g}"
        path = "the baseline" if self.path is None else shown_path(self.path)
        raise UsageError(
            f"{named('baseline')}: {path} has no {name.what}{name.layer}{at}.",
            f"Write it again with what is limited, or name another {named('baseline')}.",
            argument="baseline",
            expected=f"a result with {name.what}{name.layer}{at}",
            found=", ".join(self.measured.profiles) or "no measure",
        )

    def quantity(self, name: LimitedName, delta: float | None, rtol: float) -> Quantity | None:
        """What is limited; None where it was not measured.

        Args:
            name: of it.
            delta: the radius; None for what has none.
            rtol: what a search within its tolerance leaves, relative to the value.

        Raises:
            NotMeasurableError: the accuracy of what is no classification.
            UsageError: the share of a layer that the network does not have.
        """
        if name.what == DEAD_ROWS:
            return None if self.dead is None else _exact(DEAD_ROWS, float(self.dead))
        if name.what in ON_TEST_DATA:
            test = self.document["test"]
            return None if test is None else self._on_test_data(name.what, test, rtol)
        if name.what == ACCURACY:
            return _share_of_right(ACCURACY, self.document["accuracy"], self.samples)
        if name.what == LOSS:
            return _mean(LOSS, self.document["loss"], self.document["batch_losses"], self.samples, rtol)
        measured = self._measured(str(name.measure), delta)
        if measured is None:
            return None
        if name.what == SHARE:
            return self._share(name.layer, measured)
        return Quantity(measured, estimate_of(measured, self.samples, rtol))

    def parts(self, name: LimitedName) -> tuple[MeanPart, ...]:
        """The means over groups of samples that an accuracy or a gap is made of; none of anything else."""
        return tuple(subject("", ResultDocument(self.document, self.measured)).means.get(name.what, ()))

    def _on_test_data(self, what: str, test: Mapping[str, Any], rtol: float) -> Quantity:
        """The loss or accuracy on test data, or a gap between there and here.

        Raises:
            NotMeasurableError: the accuracy of what is no classification.
        """
        samples = SampleCount(test["data"]["samples"])
        if what == TEST_LOSS:
            sizes = test["group_sizes"]
            parts = [
                loss * size * len(sizes) / sum(sizes) for loss, size in zip(test["group_losses"], sizes, strict=True)
            ]
            return _mean(TEST_LOSS, test["loss"], parts, samples, rtol)
        if what == TEST_ACCURACY:
            return _share_of_right(TEST_ACCURACY, test["accuracy"], samples)
        if what == GAP:
            error = Uncertainty(sampling=test["gap_error"])
            gap = Measurement(GAP, test["gap"], Status.COMPUTED, error, FORWARD)
            return Quantity(gap, estimate_of(gap, samples, rtol))
        own = _share_of_right(ACCURACY, self.document["accuracy"], self.samples)
        other = _share_of_right(TEST_ACCURACY, test["accuracy"], samples)
        gap = Measurement(ACCURACY_GAP, test["accuracy_gap"], Status.COMPUTED, Uncertainty(), FORWARD)
        return Quantity(gap, difference(own.estimate, other.estimate))

    def _measured(self, measure: str, delta: float | None) -> Measurement | None:
        profile = self.measured.profiles.get(measure, ())
        return next((one for one in profile if delta is None or one.details.get("delta") == delta), None)

    def _share(self, layer: str, measured: Measurement) -> Quantity | None:
        """A layer's share of a value. How far it is from that of all samples is not known where they are not all taken.

        Raises:
            UsageError: there is no such layer.
        """
        parts = measured.details.get("parts")
        if parts is None or parts["by"] != "layer":
            return None
        by_name = {part["name"]: part for part in parts["each"]}
        if layer not in by_name:
            raise layer_missing(layer, [*by_name])
        share = by_name[layer]["share"]
        own = Measurement(f"{SHARE}{layer}", share, Status.COMPUTED, Uncertainty(), measured.cost)
        return Quantity(own, estimate_of(own, self.samples, 0.0))


def _exact(name: str, number: float) -> Quantity:
    """A number that no sample decides."""
    measured = Measurement(name, number, Status.COMPUTED, Uncertainty(), NO_PASSES)
    return Quantity(measured, IntervalEstimate(number, number, number))


def _mean(name: str, value: float, parts: Sequence[float], samples: SampleCount, rtol: float) -> Quantity:
    """A mean over batches, or groups of samples, with its numbers there."""
    measured = Measurement(name, value, Status.COMPUTED, Uncertainty(), FORWARD, by_batch=tuple(parts))
    return Quantity(measured, estimate_of(measured, samples, rtol))


def _share_of_right(name: str, accuracy: float | None, samples: SampleCount) -> Quantity:
    """The share of right answers.

    Raises:
        NotMeasurableError: there are no classes.
    """
    if accuracy is None:
        raise NotMeasurableError(
            "The accuracy needs class labels.", "Leave its limit out for regression.", argument="limits"
        )
    measured = Measurement(name, accuracy, Status.COMPUTED, Uncertainty(), FORWARD)
    return Quantity(measured, share_estimate(accuracy, samples))
