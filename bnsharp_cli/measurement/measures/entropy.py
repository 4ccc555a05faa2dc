"""The entropy of a network's answers: how far they are from certain."""

from __future__ import annotations

from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.of_outputs import Reading, read_off, require_cross_entropy
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


def entropy(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions) -> Measurement:
    r"""The mean entropy of the predicted probabilities p = softmax(z), in nats.

    .. math:: E_x [-Σ_s p_s(x) \ln p_s(x)]

    The output entropy of Jiang et al., ICLR 2020 (appendix), as a control: it needs no label. Samples that the loss
    leaves out do not count. Invariant under whatever leaves the function as it is. One forward; then one for rounding,
    or up to four where batches are few.

    Args:
        surface: L.
        point: θ.
        blocks: not used.
        options: the seed.

    Raises:
        UnfitMeasureError: the loss is no cross entropy of the outputs, so that softmax is no probability of theirs.
        NotMeasurableError: an output is not finite.
    """
    del blocks
    return read_off(
        "entropy",
        surface,
        point,
        options,
        require_cross_entropy,
        lambda figures, others: Reading.of(figures.entropy, [one.entropy for one in others]),
    )
