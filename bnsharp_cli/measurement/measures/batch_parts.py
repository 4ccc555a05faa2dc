r"""What single batches say of a value that is no mean over batches, to first order.

A smooth function of means over batches moves, if other batches are drawn, as the mean of numbers of the batches does:
its linearisation at the samples. Their mean is the value, and their spread tells how far other samples would move it.
Where the value is a maximum, the place of the maximum does not move it to first order, so the losses of the batches at
that place are enough.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def around(value: float, parts: Sequence[float]) -> tuple[float, ...]:
    """The parts moved so that their mean is the value.

    >>> around(2.0, [1.0, 3.0, 5.0])
    (0.0, 2.0, 4.0)
    """
    mean = math.fsum(parts) / len(parts)
    return tuple(value + part - mean for part in parts)


def of_relative_change(changes: Sequence[float], losses: Sequence[float]) -> tuple[float, ...]:
    r"""Parts of the loss change relative to 1 + L: :math:`Δ_b/(1 + L) - Δ (L_b - L)/(1 + L)^2` for each batch b.

    Args:
        changes: Δ_b of each batch, times the batch's weight; Δ is their mean.
        losses: L_b likewise.

    >>> [round(part, 9) for part in of_relative_change([0.5, 1.5], [1.0, 1.0])]
    [0.25, 0.75]
    """
    change, loss = (math.fsum(each) / len(each) for each in (changes, losses))
    scale = 1 + loss
    return tuple(own / scale - change / scale * ((at - loss) / scale) for own, at in zip(changes, losses, strict=True))


def of_power_mean(changes: Sequence[Sequence[float]], power: float) -> tuple[float, ...]:
    r"""Parts of :math:`(\mathrm{mean}_k |Δ_k|^p)^{1/p}` for draws k: what each batch adds by its change at each.

    Args:
        changes: Δ of each draw, batch by batch, times the batch's weight.
        power: p.

    >>> [round(part, 9) for part in of_power_mean([[3.0, 5.0], [-4.0, -4.0]], 2)]
    [3.5, 4.5]
    """
    means = [math.fsum(each) / len(each) for each in changes]
    largest = max(map(abs, means))
    if not largest:
        return ()
    root = (math.fsum((abs(mean) / largest) ** power for mean in means) / len(means)) ** (1 / power)
    factors = [
        math.copysign((abs(mean) / largest) ** (power - 1), mean) * root ** (1 - power) / len(means) for mean in means
    ]
    return tuple(
        math.fsum(factor * change for factor, change in zip(factors, batch, strict=True))
        for batch in zip(*changes, strict=True)
    )
