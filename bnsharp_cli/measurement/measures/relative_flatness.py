"""Relative flatness of the last linear layer (Petzka et al., NeurIPS 2021), in closed form."""

from __future__ import annotations

from collections.abc import Sequence

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import UnfitMeasureError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.last_layer import NoHead
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.of_outputs import Reading, read_off, require_cross_entropy
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.output_figures import OutputFigures
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


def relative_flatness(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions) -> Measurement:
    r"""Relative flatness κ of the weight W of the last linear layer, w_s its rows, φ(x) its input (Definition 3).

    .. math:: κ = Σ_{s,s'} ⟨w_s, w_{s'}⟩ \operatorname{Tr} H_{s,s'}
        = E_x \|φ(x)\|^2 \left(Σ_s p_s \|w_s\|^2 - \|Σ_s p_s w_s\|^2\right), \quad p = softmax(z(x))

    H is the Hessian of the loss by W. The closed form holds for cross entropy, since Tr H_{s,s'} =
    E ‖φ‖² (p_s 1[s=s'] − p_s p_{s'}), whatever the labels are; label smoothing leaves it as it is, and weights of
    classes weigh the samples as they do in the loss. κ is invariant under rescaling the layer against the one below.
    ``by_neuron`` in the details, Σ_j E φ_j² Var_{s∼p}(w_sj), is invariant neuron by neuron, too.

    The layer is found by what it computes: its answer is the network's prediction, number for number, and its weight is
    a parameter that nothing else uses. One forward; then one for rounding, or up to four where batches are few.

    Args:
        surface: L.
        point: θ.
        blocks: not used.
        options: the seed.

    Raises:
        UnfitMeasureError: the loss is no cross entropy of the outputs, or there is no such layer.
        NotMeasurableError: an output is not finite.
    """
    del blocks
    if surface.loss_reads_network:
        raise UnfitMeasureError(
            "The loss reads the network beside its outputs, so that its Hessian has no closed form.",
            "Measure with the bare cross entropy.",
            argument="criterion",
            expected="a cross entropy of the outputs alone",
        )
    return read_off("relative-flatness", surface, point, options, _require_head, _read)


def _require_head(figures: OutputFigures) -> None:
    require_cross_entropy(figures)
    if figures.no_head is not NoHead.NONE:
        raise UnfitMeasureError(
            figures.no_head.marked_reason,
            "Leave it out.",
            argument="model",
            expected="a last linear layer whose answer is the prediction",
        )


def _read(figures: OutputFigures, others: Sequence[OutputFigures]) -> Reading:
    return Reading.of(figures.flatness, [one.flatness for one in others], {"by_neuron": figures.by_neuron.value})
