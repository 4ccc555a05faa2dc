"""Looks at one batch before anything is measured with little memory; see :mod:`examination` for what is looked for.

Passes forward alone find whether the loss is a function of the weights that are handed out. What autograd sees is not
looked at: ``noise`` does not ask it, and ``critical-radius`` takes its gradient for a direction.
"""

from __future__ import annotations

import math

from bnsharp_cli.errors import NotMeasurableError, named, shown
from bnsharp_cli.measurement.surface.parameter_choice import ParameterChoice
from bnsharp_cli.measurement.surface.row_surface import RowSurface
from bnsharp_cli.measurement.surface.settings import EVERY_PARAMETER
from bnsharp_cli.measurement.surface.weights_watch import WeightsWatch, past_the_copy


def row_loss(surface: RowSurface) -> tuple[float, int, tuple[str, ...]]:
    """The loss of the first batch, where weights are handed out call by call.

    Returns:
        It; on how many tensors it depends that need a gradient and are no parameters, which is not looked for; the
        parameters that no call asks for.

    Raises:
        NotMeasurableError: the loss uses weights otherwise.
        UnfitMeasureError: the loss reads the network, or the network has complex weights.
    """
    surface.require_fit()
    with surface.pool.copy() as copy:
        watch = WeightsWatch({**dict(copy.module.named_parameters()), **dict(copy.module.named_buffers())})
    with watch:
        used = surface.used_parameters()
    if watch.seen:
        raise past_the_copy("model", watch.seen)
    loss, other = (surface.loss_beside(stand_in) for stand_in in (math.nan, 1.0))
    if loss != other and not math.isnan(other):
        raise past_the_copy("model", ["some weights"])
    return loss, 0, tuple(name for name in surface.point() if name not in used)


def require_use(surface: RowSurface) -> RowSurface:
    """Refuse parameters that are handed out in no batch.

    Raises:
        NotMeasurableError: naming them.
    """
    assert surface.choice is not None
    for number in range(1, surface.count):
        if surface.used_parameters(number) & {*surface.choice.names}:
            return surface
    raise on_none(surface.choice, "The")


def on_none(choice: ParameterChoice, beginning: str) -> NotMeasurableError:
    """The error for parameters that the loss depends on none of."""
    return NotMeasurableError(
        f"{beginning} loss depends on none of {', '.join(map(shown, choice.asked))}.",
        f"Choose others, or {named('parameters')} {EVERY_PARAMETER}.",
        argument="parameters",
        expected="parameters that the loss depends on",
        found=choice.asked,
    )
