"""Pictures: what is drawn, and colours that everybody can tell apart."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from bnsharp_cli.figures import LINE_COLOURS
from bnsharp_cli.report import plots
from tests.cli.helpers import bnsharp

SIMULATIONS = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
"""Of linear RGB: Machado, Oliveira & Fernandes (2009), table 1, severity 1.0."""

XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
"""Of linear sRGB, by IEC 61966-2-1."""

APART = 25.0
"""CIE 1976 colour difference: ten times what the eye notices side by side."""


def seen(colour: str, matrix: Any) -> np.ndarray:
    """L*a*b* of a colour as somebody sees it."""
    channels = np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    white = np.asarray(XYZ).sum(1)
    relative = np.asarray(XYZ) @ np.clip(np.asarray(matrix) @ linear, 0, 1) / white
    x, y, z = np.where(relative > 216 / 24389, np.cbrt(relative), (24389 / 27 * relative + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def least_difference(colours: tuple[str, ...], matrix: Any) -> float:
    return min(
        float(np.linalg.norm(seen(one, matrix) - seen(other, matrix))) for one, other in combinations(colours, 2)
    )


@pytest.mark.parametrize("sight", SIMULATIONS)
def test_colours_differ_for_everybody(sight: str) -> None:
    assert least_difference(LINE_COLOURS, SIMULATIONS[sight]) > APART


def test_the_simulation_knows_what_a_protanope_confuses() -> None:
    assert least_difference(("#0b6e4f", "#c1292e"), SIMULATIONS["normal"]) > 90
    assert least_difference(("#0b6e4f", "#c1292e"), SIMULATIONS["protanopia"]) < 15
    assert seen("#ffffff", np.eye(3)) == pytest.approx([100, 0, 0], abs=1e-9)


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ((), ["bn"]),
        (("--delta", "1e-3,1e-2"), ["bn, δ = 0.001", "bn, δ = 0.01"]),
        (("--measure", "bn", "--measure", "delta-linf"), ["bn", "delta-linf"]),
        (("--measure", "delta-linf"), ["delta-linf"]),
        (("--measure", "delta-lp"), ["bn"]),
        (("--measure", "loss"), ["bn"]),
        (("--measure", "margin", "--measure", "delta-linf"), ["delta-linf"]),
    ],
)
def test_what_was_measured_is_drawn_and_nothing_else(
    options: tuple[str, ...], labels: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(plots, "save", lambda figure, path: drawn.append(figure))
    small = ("--samples", 64, "--batch-size", 32, "--plot", "picture.png")
    said = bnsharp("measure", "sample:digits-small-batch", *small, *options, folder=tmp_path).stderr
    told = "the picture is of BN-Sharpness, since there is no direction to draw for"
    assert (told in said) is (labels == ["bn"] and bool(options))
    (axes,) = drawn[0].axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == labels
    several = len(labels) > 1 and labels[0] != "bn"
    assert axes.get_ylabel() == ("(L(θ + tv) − L(θ)) / δ" if several else "L(θ + tv) − L(θ)")
    curves = [line for line in axes.get_lines() if line.get_label() in labels]
    assert [(min(line.get_xdata()), max(line.get_xdata())) for line in curves] == [(-1, 1)] * len(labels)
    looks = {(line.get_color(), line.get_linestyle()) for line in curves}
    assert len(looks) == len(labels)
