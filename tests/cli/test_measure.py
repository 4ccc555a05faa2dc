"""``bnsharp measure`` from the outside."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint
from bnsharp_cli.io.data.batches import draw_batches
from bnsharp_cli.measurement.measures.measurement import Measurement, Status
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.models import lenet_bn
from tests.cli.helpers import bnsharp, one_error

DIGIT_SAMPLES = [f"digits-{size}-batch{decay}" for size in ("small", "large") for decay in ("", "-decay")]
SOME = "sample:digits-small-batch"
FAST = ("--samples", 256, "--batch-size", 128, "--quiet")


def plain_lenet(folder: Path, **changes: torch.Tensor) -> Path:
    torch.manual_seed(0)
    torch.save({**lenet_bn(1, 10, 8).state_dict(), **changes}, folder / "net.pt")
    return folder / "net.pt"


@pytest.mark.parametrize("name", DIGIT_SAMPLES)
def test_the_path_of_a_sample_is_enough(tmp_path: Path, name: str) -> None:
    finished = bnsharp("measure", f"sample:{name}", folder=tmp_path)
    assert "226 scale-invariant blocks" in finished.stdout
    assert "accuracy" in finished.stdout
    assert re.search(r"\b([4-9]|10)F \+ [23]B", finished.stdout)
    assert all(len(line) <= 80 for line in finished.stdout.splitlines())
    assert "an incomplete last batch of 157 samples is dropped" in finished.stderr
    assert not list(tmp_path.iterdir())


def test_json_is_the_documented_schema_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    arguments = ("--measure", "all", "--delta", 1e-3, "--delta", 1e-2, "--json", "--output", out)
    finished = bnsharp("measure", "sample:digits-small-batch", *FAST, *arguments, folder=tmp_path)
    document = json.loads(finished.stdout)
    assert finished.stderr == ""
    assert out.read_text() == finished.stdout
    assert set(document) >= {
        "schema", "command", "version", "checkpoint", "data", "options", "environment", "loss", "accuracy",
        "blocks", "measures", "cost",
    }  # fmt: skip
    assert document["schema"] == "bnsharp/1"
    about = {"path", "key", "sha256", "format", "architecture", "architecture_source", "parameters", "notes"}
    assert set(document["checkpoint"]) == about
    assert document["checkpoint"]["parameters"] == 21612
    assert document["blocks"]["invariant"] == 226
    assert {tensor["name"] for tensor in document["blocks"]["tensors"]} >= {"conv1.weight", "output.bias"}
    assert {*document["measures"], *document["skipped"]} == {*MEASURES}
    assert set(document["measures"]) >= {"bn", "delta-lp", "delta-linf", "keskar"}
    for name, record in document["measures"].items():
        assert set(record) >= {"value", "status", "uncertainty", "search", "cost"}
        assert set(record["uncertainty"]) == {"quadrature", "rounding", "sampling", "bracket"}
        radii = [1e-3, 1e-2] if MEASURES[name].has_radius else []
        assert [run["delta"] for run in record.get("profile", [])] == radii
        assert Measurement.from_dict(name, record).to_dict() == record
    assert document["measures"]["bn"]["limit_ratio"] == pytest.approx(1, abs=0.05)
    assert document["options"]["iterations"] == 2
    assert document["cost"]["forward"] > 100


def test_all_samples_stream_to_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("measure", "sample:digits-small-batch", "--quiet", "--json")
    documents = [json.loads(bnsharp(*arguments, "--samples", "all", folder=tmp_path).stdout)]
    monkeypatch.setitem(draw_batches.__kwdefaults__, "resident", 0)
    documents.append(json.loads(bnsharp(*arguments, "--samples", "all", folder=tmp_path).stdout))
    for document in documents:
        document["cost"].pop("seconds")
    assert documents[0] == documents[1]
    assert documents[0]["data"]["samples"] == 1437


@pytest.mark.parametrize("samples", ["0", "-3", "1.5", "everything"])
def test_samples_are_a_number_or_all(tmp_path: Path, samples: str) -> None:
    finished = bnsharp("measure", "sample:digits-small-batch", f"--samples={samples}", folder=tmp_path, expect=2)
    assert f"expected a positive number or all, found '{samples}'" in one_error(finished)


def test_batch_and_running_statistics_are_different_losses(tmp_path: Path) -> None:
    losses = {}
    for policy in ("batch", "running"):
        finished = bnsharp("measure", "sample:digits-small-batch", *FAST, "--bn", policy, "--json", folder=tmp_path)
        losses[policy] = json.loads(finished.stdout)["loss"]
    assert losses["batch"] != losses["running"]


def test_a_picture_is_written_in_the_format_of_its_ending(tmp_path: Path) -> None:
    bnsharp("measure", "sample:digits-small-batch", *FAST, "--plot", "picture.png", folder=tmp_path)
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size[0] > 800
        assert len(picture.convert("RGB").getcolors(maxcolors=10**6)) > 50
    finished = bnsharp(
        "measure", "sample:digits-small-batch", *FAST, "--plot", "picture.txt", folder=tmp_path, expect=2
    )
    assert "expected a file ending in .png, .svg or .pdf" in one_error(finished)


def test_a_plain_state_dict_needs_a_network_and_data(tmp_path: Path) -> None:
    path = plain_lenet(tmp_path)
    finished = bnsharp("measure", path, "--data", "digits", *FAST, folder=tmp_path)
    assert "lenet-bn (a guess)" in finished.stdout
    finished = bnsharp("measure", path, "--arch", "lenet-bn", *FAST, folder=tmp_path, expect=2)
    assert "needs data" in one_error(finished)
    finished = bnsharp("measure", path, "--arch", "lenet-bn", "--data", "digits", *FAST, folder=tmp_path)
    assert "226 scale-invariant blocks" in finished.stdout


def test_npz_data_on_a_torchvision_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (8, 3, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", x=x, y=generator.integers(0, 4, 8))
    from torchvision.models import resnet18

    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in resnet18(num_classes=4).state_dict().items()}}, tmp_path / "r.pt"
    )
    arguments = ("--arch", "torchvision:resnet18", "--data", "npz:data.npz", "--batch-size", 8, "--json")
    finished = bnsharp("measure", "r.pt", *arguments, folder=tmp_path)
    document = json.loads(finished.stdout)
    assert document["blocks"]["invariant"] == 4800
    assert document["measures"]["bn"]["value"] > 0
    assert document["measures"]["bn"]["status"] in {status.value for status in Status}


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"<html>"), "web page"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1"), "Git-LFS"),
        (lambda path: torch.save(torch.nn.Linear(2, 2), path), "torch.nn.modules.linear.Linear"),
        (lambda path: torch.save({"weight": torch.ones(2, 2)}, path), "does not fit the architecture"),
        (lambda path: plain_lenet(path.parent, **{"output.bias": torch.full((10,), float("nan"))}), "NaN or infinite"),
    ],
    ids=["missing", "empty", "html", "lfs", "module", "keys", "nan"],
)
def test_refusals_exit_3_with_one_reason_and_one_remedy(tmp_path: Path, prepare: object, says: str) -> None:
    path = tmp_path / "net.pt"
    prepare(path)
    finished = bnsharp("measure", path, "--arch", "lenet-bn", "--data", "digits", folder=tmp_path, expect=3)
    assert says in one_error(finished)


def test_labels_beyond_the_classes_and_wrong_channels_exit_3(tmp_path: Path) -> None:
    np.savez(tmp_path / "labels.npz", x=np.zeros((8, 1, 8, 8), dtype=np.uint8), y=np.full(8, 10))
    np.savez(tmp_path / "channels.npz", x=np.zeros((8, 3, 8, 8), dtype=np.uint8), y=np.zeros(8, dtype=int))
    for name, says in (("labels", "labels lie in 10 … 10, the network has 10 classes"), ("channels", "3 channels")):
        arguments = ("--data", f"npz:{name}.npz", "--batch-size", 4, "--quiet")
        finished = bnsharp("measure", "sample:digits-small-batch", *arguments, folder=tmp_path, expect=3)
        assert says in one_error(finished)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--delta", "-1"), "--delta: expected a positive number"),
        (("--delta", "nan"), "--delta: expected a positive number"),
        (("--delta", "1.5"), "--delta: expected less than 1"),
        (("--power", "0.5"), "--power: expected a number from 1 to 1000"),
        (("--search", "newton"), "--search: expected one of"),
        (("--measure", "flatness"), "--measure: expected one of bn,"),
        (("--bn", "frozen"), "--bn: expected batch or running"),
        (("--precision", "half"), "--precision: expected one of"),
        (("--partition", "none"), "--partition: expected one of"),
        (("--split", "all"), "--split: expected train or test"),
        (("--arch-option", "classes"), "--arch-option: expected KEY=VALUE"),
        (("--device", "tpu9"), "--device: expected auto"),
    ],
)
def test_options_that_cannot_be_meant_exit_2(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    finished = bnsharp("measure", "sample:digits-small-batch", *FAST, *arguments, folder=tmp_path, expect=2)
    assert says in one_error(finished)


def test_an_output_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    arguments = ("--output", tmp_path / "no" / "such" / "folder.json")
    finished = bnsharp("measure", "sample:digits-small-batch", *FAST, *arguments, folder=tmp_path, expect=2)
    assert "Cannot write" in one_error(finished)
    assert not list(tmp_path.iterdir())


def test_extended_partition_is_named_as_ours(tmp_path: Path) -> None:
    finished = bnsharp("measure", "sample:digits-small-batch", *FAST, "--partition", "extended", folder=tmp_path)
    assert "229 scale-invariant blocks, 3 of them joint (partition extended)" in finished.stdout
    assert "not in the paper" in finished.stdout


def test_the_cifar_sample_says_which_data_it_wants(tmp_path: Path) -> None:
    finished = bnsharp("measure", "sample:cifar10-lenet", folder=tmp_path, expect=2)
    assert "trained on 'folder' data" in one_error(finished)


def test_what_more_samples_would_bring_is_said(tmp_path: Path) -> None:
    def said(*arguments: object) -> str:
        printed = bnsharp("measure", *arguments, folder=tmp_path).stdout
        return " ".join(printed.split())

    decayed = "sample:digits-large-batch-decay"
    assert re.search(r"on the whole split \S+ \(\S+ … \S+\), on fresh data \S+ .*; 95 % intervals", said(SOME))
    few = said(decayed, "--samples", 512, "--batch-size", 32)
    assert re.search(r"on the whole split about \S+, .*no interval: use --samples all", few)
    every = said(decayed, "--samples", "all")
    assert "the whole split: no sampling error" in every
    assert "on the whole split " not in every
    assert "on fresh data" in every
    curved = said(SOME, "--delta", "0.1")
    assert "δ = 0.1: what more samples would bring is not known" in curved
    crossed = said(SOME, *FAST, "--delta", "0.1", "--uncertainty", "full")
    assert "a direction from one half of the batches reaches" in crossed


def test_full_uncertainty_is_counted_apart(tmp_path: Path) -> None:
    finished = bnsharp("measure", "sample:digits-small-batch", "--uncertainty", "full", "--json", folder=tmp_path)
    record = json.loads(finished.stdout)["measures"]["bn"]
    assert record["cost"]["backward"] > record["cost"]["for_uncertainty"]["backward"] > 0
    assert record["uncertainty"]["sampling"] > 0
    assert set(record["sampling"]) == {"cross_fitted", "values", "exponent"}


def test_radii_with_commas_are_those_given_one_by_one(tmp_path: Path) -> None:
    small = ("measure", "sample:digits-small-batch", "--samples", 64, "--batch-size", 32, "--json", "--quiet")
    commas = json.loads(bnsharp(*small, "--delta", "1e-3,0.01", folder=tmp_path).stdout)
    repeated = json.loads(bnsharp(*small, "--delta", 0.001, "--delta", 0.01, folder=tmp_path).stdout)
    assert commas["measures"] == repeated["measures"]
    refused = bnsharp(*small[:2], "--delta", "1e-3;0.01", folder=tmp_path, expect=2)
    assert "--delta: expected positive numbers, found '1e-3;0.01'" in one_error(refused)


def test_several_checkpoints_have_one_legend_and_a_blank_line_between_them(tmp_path: Path) -> None:
    (tmp_path / "cut.pt").write_bytes(embedded_checkpoint().read_bytes()[:3000])
    two = ("sample:digits-small-batch", "sample:digits-large-batch")
    finished = bnsharp("measure", two[0], "cut.pt", "none.pt", two[1], *FAST, folder=tmp_path, expect=3)
    lines = finished.stdout.splitlines()
    heads = [index for index, line in enumerate(lines) if line.startswith(tuple(f"{name}: " for name in two))]
    assert [lines[index].partition(": ")[0] for index in heads] == [*two]
    assert heads[0] == 0
    assert lines[heads[1] - 1] == ""
    legend = [index for index, line in enumerate(lines) if line.startswith("bn: ")]
    assert len(legend) == 1
    assert legend[0] > heads[1]
    costs = [line for line in lines if re.fullmatch(r"[\d.]+F \+ [\d.]+B in [\d.]+ s", line)]
    assert len(costs) == 2
    said = [line for line in finished.stderr.splitlines() if line.startswith("bnsharp: ")]
    assert [line.count("cut.pt") for line in said if "cut" in line] == [1], "the file is named once"
    assert [line.count("none.pt") for line in said if "none" in line] == [1]
