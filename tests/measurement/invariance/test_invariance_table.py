"""The table of measures on copies: its values against networks that are rescaled by hand, and its verdicts."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

import bnsharp_cli
from bnsharp_cli.measurement.invariance.invariance_row import Invariance, InvarianceRow, ValueOnCopy
from tests.measurement.invariance.test_balanced import batches, mlp, network_of, normed_mlp


def row_of(*values: float, error: float = 0.0, sampling: float = 0.0) -> InvarianceRow:
    names = ["original", *(f"copy {number}" for number in range(1, len(values)))]
    kinds = ["", *("T_a" for _ in values[1:])]
    readings = [ValueOnCopy(value, error, sampling, kind) for value, kind in zip(values, kinds, strict=True)]
    return InvarianceRow("it", dict(zip(names, readings, strict=True)))


VERDICTS = {
    "equal to the last bit": (row_of(2.0, 2.0, 2.0), Invariance.SAME, 1.0),
    "rounding": (row_of(2.0, 2.0 + 1e-9), Invariance.SAME, 1 + 5e-10),
    "within its errors": (row_of(2.0, 2.001, error=1e-3), Invariance.SAME, 1.0005),
    "just beyond its errors": (row_of(2.0, 2.0021, error=1e-3), Invariance.MOVES, 1.00105),
    "by a third": (row_of(3.0, 4.0), Invariance.MOVES, 4 / 3),
    "by a factor of three": (row_of(3.0, 9.0), Invariance.ANYTHING, 3.0),
    "a third as large": (row_of(3.0, 1.0), Invariance.ANYTHING, 3.0),
    "another sign": (row_of(3.0, -3.0), Invariance.ANYTHING, math.inf),
    "negative": (row_of(-3.0, -12.0), Invariance.ANYTHING, 4.0),
    "from zero": (row_of(0.0, 1.0), Invariance.ANYTHING, math.inf),
    "always zero": (row_of(0.0, 0.0), Invariance.SAME, 1.0),
    "errors as large as the value": (row_of(2.0, 3.0, error=1.0), Invariance.UNRESOLVED, 1.5),
    "draws that hide it": (row_of(2.0, 2.5, sampling=0.4), Invariance.UNRESOLVED, 1.25),
    "draws that do not hide it": (row_of(2.0, 3.0, sampling=0.1), Invariance.MOVES, 1.5),
    "the same draws": (row_of(2.0, 2.0, sampling=0.5), Invariance.SAME, 1.0),
    "coarse, but the same": (row_of(2.0, 2.0, error=0.5), Invariance.SAME, 1.0),
    "not measured": (InvarianceRow("it", marked_reason="Why."), Invariance.UNMEASURED, None),
}


@pytest.mark.parametrize(("row", "verdict", "ratio"), VERDICTS.values(), ids=VERDICTS)
def test_the_verdict_compares_the_spread_with_the_errors(
    row: InvarianceRow, verdict: Invariance, ratio: float | None
) -> None:
    assert row.verdict is verdict
    assert verdict.meaning in row.sentence
    if ratio is not None:
        assert row.ratio == pytest.approx(ratio, rel=1e-12)
        assert row.followed == {"T_a": {Invariance.SAME: True, Invariance.UNRESOLVED: None}.get(verdict, False)}


def test_a_tolerance_takes_the_place_of_the_errors() -> None:
    readings = {"original": ValueOnCopy(2.0, error=1.0), "copy": ValueOnCopy(2.002, kind="T_a")}
    assert InvarianceRow("it", readings, tolerance=1e-2).verdict is Invariance.SAME
    assert InvarianceRow("it", readings, tolerance=1e-4).verdict is Invariance.MOVES


def test_a_sentence_names_the_copies_and_what_the_value_follows() -> None:
    readings = {"original": ValueOnCopy(1.0), "a": ValueOnCopy(1.0, kind="T_a"), "b": ValueOnCopy(0.25, kind="layer")}
    assert InvarianceRow("it", readings).sentence == (
        "it: anything you like, from 0.25 (b) to 1 (original), × 4; the same under T_a."
    )


def test_every_partition_is_measured_as_on_a_network_rescaled_by_hand() -> None:
    network = network_of(normed_mlp)
    table = bnsharp_cli.invariance_table(network, batches(), measure="bn", delta=0.01)
    assert [row.name for row in table.rows] == ["bn", "bn-extended", "bn-filter", "bn-layer", "bn-element"]
    by_hand = copy.deepcopy(network)
    with torch.no_grad():
        for name in ("5.weight", "5.bias"):
            by_hand.get_parameter(name).mul_(100)
        by_hand.get_parameter("7.weight").div_(100)
    for row in table.rows:
        partition = row.name.partition("-")[2] or "paper"
        for name, module in (("original", network), ("head 100", by_hand)):
            alone = bnsharp_cli.measure(module, batches(), delta=0.01, precision="float64", partition=partition)
            assert row.readings[name].value == pytest.approx(alone.value, rel=1e-9)


def test_each_partition_follows_what_it_must_and_nothing_else() -> None:
    """What MATH says of each, in float64: a partition follows the rescalings of whole blocks of its own."""
    table = bnsharp_cli.invariance_table(network_of(normed_mlp), batches(), measure="bn")
    followed = {row.name: {kind for kind, same in row.followed.items() if same} for row in table.rows}
    assert followed == {
        "bn": {"T_a"},
        "bn-extended": {"T_a", "norm"},
        "bn-filter": {"T_a", "norm", "head"},
        "bn-layer": {"norm", "head"},
        "bn-element": {"T_a", "norm", "head", "neuron"},
    }
    assert table["bn-element"].spread < 1e-9
    assert table["bn-element"].verdict is Invariance.SAME


def test_the_classical_measures_of_one_function_are_anything() -> None:
    table = bnsharp_cli.invariance_table(
        network_of(lambda: mlp(nn.ReLU)), batches(), measure=["delta-lp", "delta-linf"], ball_samples=4
    )
    assert [row.verdict for row in table.rows] == [Invariance.ANYTHING] * 2
    assert {row.largest for row in table.rows} <= {"layer 0.01", "layer 100"}
    assert max(one.loss_drift for one in table.copies) < 1e-12


def test_what_does_not_exist_for_the_options_has_a_row_with_its_reason() -> None:
    network = network_of(normed_mlp)
    table = bnsharp_cli.invariance_table(
        network, batches(), measure=["delta-lp", "bn", "delta-linf"], power=math.inf, delta=1.5
    )
    reasons = {row.name: row.sentence for row in table.rows if row.verdict is Invariance.UNMEASURED}
    assert reasons["delta-lp"] == "delta-lp: not measured. It needs a finite power."
    assert "less than 1 where radii are relative to weights" in reasons["bn-filter"]
    assert table["delta-linf"].readings


def test_a_table_shows_itself_within_80_columns_and_as_html_frame_and_picture() -> None:
    table = bnsharp_cli.invariance_table(network_of(normed_mlp), batches(), measure="bn")
    text = repr(table)
    assert max(map(len, text.splitlines())) <= 80
    assert "same function, same number" in text
    assert "layer, a layer against the next one, with a ReLU between them: none found" in text
    assert "<td>anything you like</td>" in table._repr_html_()
    frame = table.to_frame()
    assert [*frame["measure"]] == [row.name for row in table.rows]
    assert frame["neurons"][0] == table["bn"].readings["neurons"].value
    words = [label.get_text() for label in table.plot().axes[0].texts]
    assert len(words) == 5 * len(table.copies)
    assert words[-len(table.copies) :] == ["="] * len(table.copies)  # bn-element
    assert words[0] == "="
    assert any(word.startswith("×") for word in words)


def test_stored_epsilon_shows_what_a_plain_copy_would_be() -> None:
    torch.manual_seed(0)
    network = normed_mlp()
    exact, stored = (
        bnsharp_cli.invariance_table(network, batches(), measure="bn", epsilon=word) for word in ("exact", "stored")
    )
    drifts = [{one.name: one.loss_drift for one in table.copies} for table in (exact, stored)]
    assert drifts[0]["a = 0.01"] < 1e-12
    assert drifts[1]["a = 0.01"] > 1e-6


def test_the_network_is_left_as_it_is() -> None:
    network = network_of(normed_mlp)
    before = copy.deepcopy(network.state_dict())
    state = torch.random.get_rng_state()
    bnsharp_cli.invariance_table(network, batches(), measure="delta-lp")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
