r"""The generalization gap: how much higher the loss is on data that a network was not trained on.

.. math:: \mathrm{gap} = L_{\mathrm{test}} - L, \qquad \text{accuracy gap} = A - A_{\mathrm{test}}

Both are positive for a network that does worse on new data. The standard errors are those of new test samples, and of
the samples of L among all that they were drawn from: on the whole split L has none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.measures.sample_groups import SampleGroups, error_of_mean, sample_groups, share_error
from bnsharp_cli.measurement.surface.accuracy import NetworkFigures
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class Generalization:
    """A network on test data, beside the data that it is measured on.

    Errors are standard errors; None where a single batch tells nothing of others. Accuracies are None where there are
    no classes.

    Attributes:
        samples: of the test data, all that the figures are means over.
        loss: L_test, in units of the loss function.
        loss_error: of the loss, for new samples.
        accuracy: A_test, in [0, 1].
        accuracy_error: of the accuracy, likewise.
        gap: L_test − L.
        gap_error: of the gap.
        accuracy_gap: A − A_test.
        accuracy_gap_error: of the accuracy gap.
        groups: the test samples in small groups, which tell networks apart that were tested on the same samples.

    >>> import torch
    >>> from bnsharp_cli import generalization_gap
    >>> batches = [(torch.eye(3), torch.arange(3))]
    >>> found = generalization_gap(torch.nn.Linear(3, 3), batches, batches)
    >>> abs(found.gap) < 1e-6, found.samples
    (True, 3)
    """

    samples: int
    loss: float
    loss_error: float | None
    accuracy: float | None
    accuracy_error: float | None
    gap: float
    gap_error: float | None
    accuracy_gap: float | None
    accuracy_gap_error: float | None
    groups: SampleGroups

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as in the JSON schema ``bnsharp/1``."""
        figures = {name: entry for name, entry in vars(self).items() if name not in {"samples", "groups"}}
        return {
            **figures,
            "group_sizes": list(self.groups.sizes),
            "group_losses": list(self.groups.losses),
            "group_accuracies": list(self.groups.accuracies),
            **({"group_tokens": list(self.groups.tokens)} if self.groups.tokens else {}),
        }


def generalization(
    surface: LossSurface, point: Point, figures: NetworkFigures, test: LossSurface, of_classes: bool = True
) -> Generalization:
    """The gap between ``surface`` and ``test``: one forward pass over the latter.

    Args:
        surface: L.
        point: θ.
        figures: of L at θ.
        test: the same loss on test data.
        of_classes: whether right answers are counted.
    """
    groups, sizes = sample_groups(test, point), surface.sizes or BatchSizes.of(surface.batches)
    accuracy, known = (groups.accuracy, figures.accuracy) if of_classes else (None, None)
    left_out = math.sqrt(max(0.0, 1 - sizes.examples / sizes.available)) if sizes.available else 1.0
    own = _scaled(error_of_mean(figures.batch_losses, sizes.counted), left_out)
    gap = known - accuracy if known is not None and accuracy is not None else None
    gap_error = None
    if gap is not None:
        trained = share_error(figures.batch_accuracies, sizes.counted, sum(figures.labelled))
        gap_error = _together(groups.accuracy_error, _scaled(trained, left_out))
    return Generalization(
        samples=sum(groups.sizes),
        loss=groups.loss,
        loss_error=groups.loss_error,
        accuracy=accuracy,
        accuracy_error=None if accuracy is None else groups.accuracy_error,
        gap=groups.loss - figures.loss,
        gap_error=_together(groups.loss_error, own),
        accuracy_gap=gap,
        accuracy_gap_error=gap_error,
        groups=groups if of_classes else replace(groups, accuracies=()),
    )


def _scaled(error: float | None, left_out: float) -> float | None:
    """The error of a mean where only part of the data is left to be drawn; none is left out of the whole split."""
    return 0.0 if not left_out else None if error is None else error * left_out


def _together(*errors: float | None) -> float | None:
    """Independent errors as one; None where one of them is not known."""
    known = [error for error in errors if error is not None]
    return math.hypot(*known) if len(known) == len(errors) else None
