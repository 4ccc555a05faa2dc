"""Finds in a result the number that a limit is put on, with the interval that it lies in on all the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import NotMeasurableError, UsageError, named
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.measurement.decision.change import Quantity
from bnsharp_cli.measurement.decision.estimate import Estimate, SampleCount, estimate_of, share_estimate
from bnsharp_cli.measurement.measures.measurement import Measurement, Status, Uncertainty
from bnsharp_cli.measurement.measures.measurements import Measurements
from bnsharp_cli.measurement.surface.cost import FORWARD, NO_PASSES
from bnsharp_cli.workflows.limited_names import ACCURACY, DEAD_ROWS, LOSS, SHARE, LimitedName, layer_missing


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
        if name.what == ACCURACY:
            return self._accuracy()
        if name.what == DEAD_ROWS:
            return None if self.dead is None else _exact(DEAD_ROWS, float(self.dead))
        if name.what == LOSS:
            losses = tuple(self.document["batch_losses"])
            loss = Measurement(LOSS, self.document["loss"], Status.COMPUTED, Uncertainty(), FORWARD, by_batch=losses)
            return Quantity(loss, estimate_of(loss, self.samples, rtol))
        measured = self._measured(str(name.measure), delta)
        if measured is None:
            return None
        if name.what == SHARE:
            return self._share(name.layer, measured)
        return Quantity(measured, estimate_of(measured, self.samples, rtol))

    def _measured(self, measure: str, delta: float | None) -> Measurement | None:
        profile = self.measured.profiles.get(measure, ())
        return next((one for one in profile if delta is None or one.details.get("delta") == delta), None)

    def _accuracy(self) -> Quantity:
        accuracy = self.document["accuracy"]
        if accuracy is None:
            raise NotMeasurableError(
                "The accuracy needs class labels.", "Leave its limit out for regression.", argument="limits"
            )
        measured = Measurement(ACCURACY, accuracy, Status.COMPUTED, Uncertainty(), FORWARD)
        return Quantity(measured, share_estimate(accuracy, self.samples))

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
    return Quantity(measured, Estimate(number, number, number))
