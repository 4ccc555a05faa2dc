"""``bnsharp bound`` from the outside."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.models import lenet_bn
from tests.cli.helpers import bnsharp, one_error

SAMPLE = "sample:digits-small-batch"
FAST = ("--samples", 256, "--batch-size", 128, "--quiet")


def test_the_terms_stand_apart_and_the_notes_say_what_they_mean(tmp_path: Path) -> None:
    printed = bnsharp("bound", SAMPLE, "--kl", 1, *FAST, folder=tmp_path).stdout
    assert all(len(line) <= 80 for line in printed.splitlines())
    rows = dict(line.rsplit(maxsplit=1) for line in printed.splitlines() if line.startswith(("loss", "compl", "bound")))
    perturbation = next(line for line in printed.splitlines() if line.startswith("perturbation, 2^(−1/p) δ ‖L̂‖"))
    terms = [float(rows["loss of the samples, L̂(θ)"]), float(perturbation.split()[-2])]
    complexity = 4 * math.sqrt((1 + math.log(2 * 256 / 0.05)) / 256)
    assert float(rows["complexity, 4 √((KL + log(2m/ε))/m)"]) == pytest.approx(complexity, rel=1e-5)
    assert float(rows["bound on E_u L(θ + u), their sum"]) == pytest.approx(sum(terms) + complexity, rel=1e-5)
    text = " ".join(printed.split())
    for note in (
        "With probability 0.95 over the draw of these 256 samples",
        "KL = 1 is your word",
        "with a density it is infinite",
        "of which ‖L̂‖ is a lower bound",
        "cross entropy clipped at 11.5",
        "Nothing is said of L(θ) itself",
    ):
        assert note in text
    assert not list(tmp_path.iterdir())


def test_json_is_the_documented_schema_and_nothing_else(tmp_path: Path) -> None:
    arguments = ("--kl", 3, "--confidence", 0.9, "--json", "--output", "bound.json")
    finished = bnsharp("bound", SAMPLE, *FAST, *arguments, folder=tmp_path)
    document = json.loads(finished.stdout)
    assert finished.stderr == ""
    assert (tmp_path / "bound.json").read_text() == finished.stdout
    assert set(document) >= {
        "schema", "command", "version", "checkpoint", "data", "options", "environment", "loss", "accuracy",
        "blocks", "measures", "bound", "cost",
    }  # fmt: skip
    assert (document["schema"], document["command"]) == ("bnsharp/1", "bound")
    bound = document["bound"]
    assert set(bound) >= {
        "kl", "confidence", "loss_range", "clip", "segment_samples", "empirical_loss", "perturbation", "error",
        "complexity", "tighter_complexity", "terms", "term", "value", "tighter_value", "vacuous",
    }  # fmt: skip
    assert (bound["kl"], bound["confidence"], bound["terms"], bound["term"]) == (3, 0.9, 256, "samples")
    assert bound["value"] == pytest.approx(bound["empirical_loss"] + bound["perturbation"] + bound["complexity"])
    assert document["options"]["bn"] == "running"
    assert document["options"]["delta"] == 1e-3
    (record,) = document["measures"].values()
    assert Measurement.from_dict("bn-clipped", record).to_dict() == record
    assert bound["perturbation"] == pytest.approx(1e-3 / math.sqrt(2) * record["value"])
    assert document["cost"]["forward"] > 5


def test_a_loose_clip_gives_the_sharpness_that_measure_gives(tmp_path: Path) -> None:
    """Below the clip the clipped loss is cross entropy divided by it, and so is its sharpness."""
    common = (*FAST, "--precision", "float64", "--json", "--bn", "batch")
    measured = json.loads(bnsharp("measure", SAMPLE, *common, folder=tmp_path).stdout)["measures"]["bn"]["value"]
    arguments = ("--kl", 0, "--clip", 40)
    document = json.loads(bnsharp("bound", SAMPLE, *common, *arguments, folder=tmp_path).stdout)
    assert document["measures"]["bn-clipped"]["value"] == pytest.approx(measured / 40, rel=1e-9)
    assert document["bound"]["empirical_loss"] == pytest.approx(document["loss"] / 40, rel=1e-9)
    assert (document["bound"]["term"], document["bound"]["terms"]) == ("batches", 2)


def test_batch_statistics_and_a_large_kl_are_said_to_say_nothing(tmp_path: Path) -> None:
    text = bnsharp("bound", SAMPLE, "--kl", 50, "--bn", "batch", *FAST, folder=tmp_path).stdout
    assert "Vacuous" in text
    assert "m = 2 batches, not samples" in text


def test_the_zero_one_loss_is_sampled(tmp_path: Path) -> None:
    arguments = ("--kl", 0, "--loss-range", "zero-one", "--delta", 0.2, "--segment-samples", 16)
    document = json.loads(bnsharp("bound", SAMPLE, *FAST, *arguments, "--json", folder=tmp_path).stdout)
    bound = document["bound"]
    assert bound["empirical_loss"] == pytest.approx(1 - document["accuracy"])
    assert 0 < bound["perturbation"] < 1
    assert 0 < bound["error"] < 0.2
    text = " ".join(bnsharp("bound", SAMPLE, *FAST, *arguments, folder=tmp_path).stdout.split())
    assert "The 0-1 loss is piecewise constant" in text
    assert "16 random points" in text


def test_a_search_that_did_not_converge_says_so(tmp_path: Path) -> None:
    for search, status in (
        (("gradient", "--iterations", 0), "as-prescribed"),
        (("ascent", "--iterations", 1), "limit"),
    ):
        arguments = ("--kl", 0, "--delta", 0.1, "--search", *search)
        text = " ".join(bnsharp("bound", SAMPLE, *FAST, *arguments, folder=tmp_path).stdout.split())
        assert "the search did not converge" in text
        assert status in text


def test_options_that_cannot_be_meant_exit_2(tmp_path: Path) -> None:
    for arguments, says in (
        ((), "--kl is missing: KL(θ + u ‖ prior), in nats."),
        (("--kl", -1), "--kl: expected a finite number of at least 0, found -1"),
        (("--kl", "nan"), "--kl: expected a finite number of at least 0, found nan"),
        (("--kl", "inf"), "--kl: expected a finite number of at least 0, found inf"),
        (("--kl", 1, "--confidence", 1), "--confidence: expected a number in (0, 1), found 1"),
        (("--kl", 1, "--confidence", 95), "--confidence: expected a number in (0, 1), found 95"),
        (("--kl", 1, "--confidence", "nan"), "--confidence: expected a number in (0, 1), found nan"),
        (("--kl", 1, "--loss-range", "hinge"), "--loss-range: expected clipped or zero-one, found 'hinge'"),
        (("--kl", 1, "--delta", 0), "--delta: expected a positive number"),
        (("--kl", 1, "--bn", "none"), "--bn: expected batch or running"),
    ):
        finished = bnsharp("bound", SAMPLE, *FAST, *arguments, folder=tmp_path, expect=2)
        assert says in one_error(finished)
    missing = bnsharp("bound", SAMPLE, folder=tmp_path, expect=2).stderr
    assert "On a segment it is infinite against every density" in missing


def test_what_cannot_be_opened_exits_3(tmp_path: Path) -> None:
    state = lenet_bn(1, 10, 8).state_dict()
    state["conv1.weight"][0] = float("nan")
    torch.save(state, tmp_path / "net.pt")
    finished = bnsharp("bound", "net.pt", "--arch", "lenet-bn", "--kl", 1, *FAST, folder=tmp_path, expect=3)
    assert "NaN or infinite" in one_error(finished)


def test_a_network_without_one_class_for_each_example_exits_3(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from torch import nn\ndef net():\n    return nn.Conv2d(1, 3, 1)\n")
    torch.manual_seed(0)
    torch.save(torch.nn.Conv2d(1, 3, 1).state_dict(), tmp_path / "net.pt")
    pixels = np.random.default_rng(0).random((32, 1, 4, 4), dtype=np.float32)
    np.savez(tmp_path / "pixels.npz", x=pixels, y=np.zeros((32, 4, 4), dtype=np.int64))
    arguments = ("--arch", "mine.py:net", "--data", "npz:pixels.npz", "--kl", 1, "--quiet")
    finished = bnsharp("bound", "net.pt", *arguments, "--samples", 32, "--batch-size", 16, folder=tmp_path, expect=3)
    assert "A bound needs a class for each example" in one_error(finished)
