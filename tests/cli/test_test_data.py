"""Test data beside the data that is measured on: the gap, and one clear line for what cannot be test data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.helpers import bnsharp, one_error

SAMPLE = "sample:digits-small-batch"
FAST = ("--samples", 512, "--batch-size", 64, "--measure", "loss", "--quiet")
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.random((40, 1, 8, 8)).astype(np.float32)
LABELS = np.arange(40) % 10


def measured(folder: Path, *arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bnsharp("measure", SAMPLE, *FAST, *arguments, "--json", folder=folder).stdout)
    return found


def folder_of_images(root: Path, names: list[str], seed: int = 0) -> None:
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(7):
            pixels = np.random.default_rng(seed + number).integers(0, 255, (8, 8)).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")


@pytest.mark.parametrize("bn", ["batch", "running"])
def test_the_test_loss_is_that_of_the_test_split_under_the_same_options(tmp_path: Path, bn: str) -> None:
    found = measured(tmp_path, "--test-data", "digits", "--bn", bn)
    alone = measured(tmp_path, "--split", "test", "--samples", "all", "--bn", bn)
    test = found["test"]
    assert test["data"] == alone["data"]
    assert test["data"]["samples"] == 360
    assert test["loss"] == pytest.approx(alone["loss"], rel=1e-9)
    assert test["accuracy"] == pytest.approx(alone["accuracy"])
    assert test["gap"] == pytest.approx(alone["loss"] - found["loss"], rel=1e-9)
    assert test["accuracy_gap"] == pytest.approx(found["accuracy"] - alone["accuracy"])
    assert sum(found["batch_accuracies"]) / 8 == pytest.approx(found["accuracy"])
    assert alone["test"] is None


def test_as_many_test_samples_as_are_measured_on(tmp_path: Path) -> None:
    assert measured(tmp_path, "--test-data", "digits", "--samples", 128)["test"]["data"]["samples"] == 128


def test_the_table_says_both_losses_and_the_gap(tmp_path: Path) -> None:
    printed = bnsharp("measure", SAMPLE, *FAST, "--test-data", "digits", folder=tmp_path).stdout
    shown = " ".join(printed.split())
    test = measured(tmp_path, "--test-data", "digits")["test"]
    assert (
        f"test: cross-entropy {test['loss']:.3f} ± {test['loss_error']:.3f}, accuracy {test['accuracy']:.2%} ± "
        in shown
    )
    assert (
        f"generalization gap {test['gap']:.3f} ± {test['gap_error']:.3f}, of accuracy {test['accuracy_gap']:.2%} ± "
        in shown
    )
    assert max(map(len, printed.splitlines())) <= 80


def test_a_kept_result_with_other_test_data_is_measured_anew(tmp_path: Path) -> None:
    kept = (SAMPLE, *FAST, "--results", "kept")
    for arguments in ((), ("--test-data", "digits"), ("--test-data", "digits")):
        last = bnsharp("measure", *kept, *arguments, folder=tmp_path).stdout
    assert len([*(tmp_path / "kept").iterdir()]) == 2
    assert "no pass: measured before" in last
    assert "generalization gap 0.0" in last


@pytest.mark.parametrize("divided", [True, False])
def test_an_archive_and_a_folder_may_be_divided_or_be_test_data_as_a_whole(tmp_path: Path, divided: bool) -> None:
    names = ("x_test", "y_test") if divided else ("x", "y")
    more = {"x": PIXELS[:20], "y": LABELS[:20]} if divided else {}
    np.savez(tmp_path / "a.npz", **{names[0]: PIXELS, names[1]: LABELS, **more})
    folder_of_images(tmp_path / "images" / ("val" if divided else "."), list("0123456789"))
    for spec, samples in (("npz:a.npz", 40), ("folder:images", 70)):
        test = measured(tmp_path, "--test-data", spec)["test"]
        assert (test["data"]["spec"], test["data"]["samples"]) == (spec, samples)


def nothing(_: Path) -> None:
    """Leave the folder empty."""


def archive(**arrays: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.savez(folder / "a.npz", **arrays)


def images(*names: str) -> Callable[[Path], None]:
    return lambda folder: folder_of_images(folder / "images", [*names])


BAD: dict[str, tuple[Callable[[Path], None], tuple[object, ...], int, str]] = {
    "no data": (nothing, ("--test-data", "digit"), 2, "Unknown data 'digit'"),
    "no folder": (nothing, ("--test-data", "cifar10"), 2, "--test-data cifar10 needs a folder"),
    "no file": (nothing, ("--test-data", "npz:a.npz"), 3, "Cannot read x_test, y_test from a.npz"),
    "a file that is none": (
        lambda folder: (folder / "a.npz").write_text("x"),
        ("--test-data", "npz:a.npz"),
        3,
        "Cannot read x_test, y_test from a.npz: it is no zip archive",
    ),
    "half a split": (archive(x=PIXELS, y=LABELS, x_test=PIXELS), ("--test-data", "npz:a.npz"), 3, "no y_test"),
    "labels beyond the classes": (archive(x=PIXELS, y=LABELS + 5), ("--test-data", "npz:a.npz"), 3, "npz:a.npz: "),
    "another size": (archive(x=PIXELS[..., :3, :3], y=LABELS), ("--test-data", "npz:a.npz"), 3, "npz:a.npz: "),
    "no numbers": (archive(x=PIXELS * np.nan, y=LABELS), ("--test-data", "npz:a.npz"), 3, "a.npz has values that are"),
    "other classes": (images("a", "b"), ("--test-data", "folder:images"), 3, "folder:images: 2 class folders"),
    "a split that is not there": (
        lambda folder: folder_of_images(folder / "images" / "train", [*"0123456789"]),
        ("--test-data", "folder:images"),
        3,
        "images has no 'test' folder",
    ),
    "the same data": (
        archive(x=PIXELS, y=LABELS),
        ("--data", "npz:a.npz", "--test-data", "npz:a.npz"),
        2,
        "is the data",
    ),
    "the same data by another path": (
        archive(x=PIXELS, y=LABELS),
        ("--data", "npz:a.npz", "--test-data", "npz:./a.npz"),
        2,
        "--test-data is the data that is measured on",
    ),
    "the test split twice": (nothing, ("--split", "test", "--test-data", "digits"), 2, "digits (test)"),
    "two data": (nothing, ("--test-data", "digits", "--test-data", "digits"), 2, "--test-data is given 2 times"),
    "a file that is written": (
        archive(x=PIXELS, y=LABELS),
        ("--test-data", "npz:a.npz", "--output", "a.npz"),
        2,
        "Cannot write a.npz: this command reads it",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_test_data_is_one_line(case: str, tmp_path: Path) -> None:
    prepare, arguments, code, says = BAD[case]
    prepare(tmp_path)
    small = ("--batch-size", 8) if "--data" in arguments else ()
    finished = bnsharp("measure", SAMPLE, *FAST, *small, *arguments, folder=tmp_path, expect=code)
    assert says in one_error(finished)
    assert " --data " not in finished.stderr


def test_a_copy_of_the_data_under_another_name_is_no_test_data(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        np.savez(tmp_path / name, x=PIXELS, y=LABELS)
    arguments = ("--data", "npz:a.npz", "--test-data", "npz:b.npz", "--samples", "all", "--batch-size", 8)
    finished = bnsharp("measure", SAMPLE, *FAST, *arguments, folder=tmp_path, expect=2)
    assert "--test-data is the data that is measured on" in one_error(finished)


def test_check_has_the_gap_in_its_document(tmp_path: Path) -> None:
    arguments = (*FAST[:4], "--test-data", "digits", "--skip", "invariance", "--quiet", "--json")
    document = json.loads(bnsharp("check", SAMPLE, *arguments, folder=tmp_path).stdout)
    assert document["test"]["gap"] == pytest.approx(document["test"]["loss"] - document["loss"])
