"""The entries of relative flatness and of the controls that a study puts beside any measure."""

from __future__ import annotations

from bnsharp_cli.measurement.measures.expected_passes import of_gradient, of_outputs
from bnsharp_cli.measurement.measures.measure_entry import MEASURES_HERE, MeasureEntry

_OF_OUTPUTS = "1 forward, and 1 for rounding, up to 4 with few batches"

CONTROL_ENTRIES = (
    MeasureEntry(
        name="relative-flatness",
        summary="curvature of the last layer, relative to its weight",
        formula="E ‖φ‖² (Σ_s p_s ‖w_s‖² − ‖Σ_s p_s w_s‖²), φ the input, w_s the rows, p = softmax(z)",
        cost=_OF_OUTPUTS,
        source="Petzka et al., NeurIPS 2021, Definition 3",
        invariance="invariant under T_a",
        load=f"{MEASURES_HERE}.relative_flatness:relative_flatness",
        has_radius=False,
        most=of_outputs,
    ),
    MeasureEntry(
        name="gradient-norm",
        summary="Euclidean norm of the gradient, a control",
        formula="‖∇L(θ)‖",
        cost="1 forward and 1 backward",
        source="a control, from no paper",
        invariance="changes under T_a",
        load=f"{MEASURES_HERE}.gradient_norm:gradient_norm",
        has_radius=False,
        most=of_gradient,
    ),
    MeasureEntry(
        name="weight-norm",
        summary="Euclidean norm of the weights, a control",
        formula="‖θ‖",
        cost="none",
        source="a control, from no paper",
        invariance="changes under T_a",
        load=f"{MEASURES_HERE}.weight_norm:weight_norm",
        has_radius=False,
    ),
    MeasureEntry(
        name="loss",
        summary="mean loss of the samples, a control",
        formula="L(θ)",
        cost=_OF_OUTPUTS,
        source="a control, from no paper",
        invariance="invariant under T_a",
        load=f"{MEASURES_HERE}.loss:loss",
        has_radius=False,
        most=of_outputs,
    ),
    MeasureEntry(
        name="margin",
        summary="10th percentile of the margin of the right class, a control",
        formula="10th percentile over the samples of f_y − max f_j, j ≠ y, f the outputs before softmax",
        cost=_OF_OUTPUTS,
        source="Jiang et al., ICLR 2020",
        invariance="invariant under T_a",
        load=f"{MEASURES_HERE}.margin:margin",
        has_radius=False,
        most=of_outputs,
    ),
    MeasureEntry(
        name="entropy",
        summary="mean entropy of the predicted probabilities in nats, a control",
        formula="E (−Σ_s p_s ln p_s), p = softmax(z)",
        cost=_OF_OUTPUTS,
        source="Jiang et al., ICLR 2020",
        invariance="invariant under T_a",
        load=f"{MEASURES_HERE}.entropy:entropy",
        has_radius=False,
        most=of_outputs,
    ),
    MeasureEntry(
        name="random",
        summary="a number that the seed alone decides, the control that predicts nothing",
        formula="uniform on [0, 1)",
        cost="none",
        source="a control, from no paper",
        invariance="invariant under T_a",
        load=f"{MEASURES_HERE}.random_number:random_number",
        has_radius=False,
    ),
)
