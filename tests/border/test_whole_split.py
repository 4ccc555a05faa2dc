"""``--samples all``: the loss of every sample, weighted right, and the same said of it everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.errors import DataRefusedError
from bnsharp_cli.io.data.batches import draw_batches
from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.splits import ArraySplit
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.bound.options import BoundOptions
from bnsharp_cli.measurement.bound.pac_bayes import pac_bayes_bound
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.stacking import PointsAtOnce
from tests.border.oracle import bn_limit
from tests.cli.helpers import bnsharp

SAMPLE = "sample:digits-small-batch"


def split(samples: int) -> ArraySplit:
    generator = torch.Generator().manual_seed(0)
    return ArraySplit(
        torch.randn(samples, 1, 2, 3, generator=generator), torch.randint(4, (samples,), generator=generator)
    )


def network() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4))


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("points", ["auto", "loop"])
def test_the_loss_and_its_sharpness_are_means_over_samples(precision: str, points: str) -> None:
    drawn = draw_batches(split(45), None, 16, seed=3)
    assert drawn.sizes.each == (16, 16, 13)
    assert drawn.samples == 45

    def loss(module: nn.Module) -> Tensor:
        total = sum(functional.cross_entropy(module(x.double()), y, reduction="sum") for x, y in drawn.batches)
        return total / 45

    dtype = getattr(torch, precision)
    surface = LossSurface.of(
        network(), drawn.batches, dtype=dtype, sizes=drawn.sizes, points_at_once=PointsAtOnce(points)
    )
    point = surface.point()
    blocks = find_blocks(surface, point)
    options = MeasureOptions(precision=precision, delta=1e-4)
    found = MEASURES["bn"](surface, point, blocks, options)
    assert surface.value(point) == pytest.approx(float(loss(network().double()).detach()), rel=1e-6)
    assert surface.evaluated(point).loss == surface.value(point)
    assert found.details["limit"] == pytest.approx(bn_limit(network(), loss, ["1.weight"]), rel=1e-5)
    assert found.value == pytest.approx(found.details["limit"], rel=1e-2)
    assert found.uncertainty.sampling is None
    assert found.details["sampling"] is None
    full = MEASURES["bn"](surface, point, blocks, MeasureOptions(precision=precision, uncertainty="full"))
    assert full.uncertainty.sampling is None


def test_batches_of_one_size_give_the_bits_they_gave() -> None:
    drawn = draw_batches(split(48), None, 16, seed=3)
    weighted = LossSurface.of(network(), drawn.batches, sizes=drawn.sizes)
    plain = LossSurface.of(network(), drawn.batches)
    point = plain.point()
    assert weighted.value_and_gradient(point)[0] == plain.value_and_gradient(point)[0]


def test_with_running_statistics_no_seed_and_no_batch_size_changes_the_loss() -> None:
    values = set()
    for seed, size in ((0, 16), (1, 16), (0, 7), (5, 44)):
        drawn = draw_batches(split(45), None, size, seed=seed)
        surface = LossSurface.of(
            network(), drawn.batches, batch_statistics=False, dtype=torch.float64, sizes=drawn.sizes
        )
        values.add(round(surface.value(surface.point()), 13))
    assert len(values) == 1


@pytest.mark.parametrize(
    ("samples", "size", "sizes"),
    [(32, 16, (16, 16)), (33, 16, (16, 17)), (34, 16, (16, 16, 2)), (10, 16, (10,)), (17, 16, (17,))],
)
def test_the_rest_is_kept(samples: int, size: int, sizes: tuple[int, ...]) -> None:
    drawn = draw_batches(split(samples), None, size, seed=0)
    assert drawn.sizes.each == sizes == tuple(len(y) for _, y in drawn.batches)
    assert (f"the last batch has {sizes[-1]} samples" in drawn.notice) == (sizes[-1] != size)


def test_a_draw_drops_it_and_one_sample_is_none() -> None:
    drawn = draw_batches(split(45), 40, 16, seed=0)
    assert drawn.sizes.each == (16, 16)
    assert not drawn.sizes.whole
    with pytest.raises(DataRefusedError):
        draw_batches(split(1), None, 16, seed=0)


def test_the_bound_counts_every_sample_once() -> None:
    drawn = draw_batches(split(45), None, 16, seed=0)
    for statistics, terms in ((False, 45), (True, 2)):
        surface = LossSurface.of(network(), drawn.batches, batch_statistics=statistics, sizes=drawn.sizes)
        point = surface.point()
        found = pac_bayes_bound(surface, point, find_blocks(surface, point), MeasureOptions(), BoundOptions(kl=5.0))
        assert found.to_dict()["terms"] == terms


@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_the_table_the_document_and_the_notice_say_the_same(tmp_path: Path, statistics: str) -> None:
    arguments = ("measure", SAMPLE, "--samples", "all", "--batch-size", 500, "--bn", statistics)
    finished = bnsharp(*arguments, folder=tmp_path)
    table = " ".join(finished.stdout.split())
    document = json.loads(bnsharp(*arguments, "--json", folder=tmp_path).stdout)
    said = " ".join(finished.stderr.split())
    assert "the last batch has 437 samples" in said
    assert "batches of 437 to 500 examples count by their sizes, because the loss averages" in said
    assert document["data"]["samples"] == 1437
    measured = document["measures"]["bn"]
    assert measured["uncertainty"]["sampling"] is None
    assert measured["sampling"] is None
    assert "measured on the whole split: no sampling error" in table
    (note,) = measured["notes"]
    assert note in table
    assert ("another seed" in note) == (statistics == "batch")


def test_a_loss_that_adds_up_is_not_weighted(tmp_path: Path) -> None:
    (tmp_path / "loss.py").write_text(
        "import torch\n\n\ndef total(outputs, targets):\n"
        "    return torch.nn.functional.cross_entropy(outputs, targets, reduction='sum')\n"
    )
    common = ("measure", SAMPLE, "--samples", "all", "--batch-size", 500, "--bn", "running", "--json")
    added, mean = (
        json.loads(bnsharp(*common, *more, folder=tmp_path).stdout) for more in (("--loss", "./loss.py:total"), ())
    )
    assert added["loss"] == pytest.approx(mean["loss"] * 1437 / 3, rel=1e-6)


def test_the_loss_of_the_command_is_that_of_every_sample(tmp_path: Path) -> None:
    losses = {
        round(
            json.loads(
                bnsharp(
                    "measure", SAMPLE, "--samples", "all", "--batch-size", 500, "--bn", "running", "--seed", seed,
                    "--precision", "float64", "--json", folder=tmp_path,
                ).stdout
            )["loss"], 12,
        )
        for seed in (0, 1)
    }  # fmt: skip
    assert len(losses) == 1
    assert len(open_data("digits").load(torch.arange(1437), Preprocessing())[1]) == 1437
