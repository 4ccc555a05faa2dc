"""Folders of images from the command line: what is printed as a remedy works as printed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.data.batches import draw_batches
from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.splits import UnequalSizesError
from bnsharp_cli.models import lenet_bn
from bnsharp_cli.workflows.reporter import Reporter
from bnsharp_cli.workflows.training_options import TrainingTask
from bnsharp_cli.workflows.training_setup import open_setup
from tests.cli.helpers import Finished, bnsharp, one_error

SAMPLE = "sample:digits-small-batch"
FAST = ("--samples", 8, "--batch-size", 4, "--measure", "delta-lp", "--ball-samples", 2)


def digits(root: Path, *folders: str) -> None:
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(2):
            Image.new("L", (8, 8), 40 * index).save(root / folder / f"{index}.png")


def measured(folder: Path, *arguments: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(bnsharp("measure", SAMPLE, *arguments, *FAST, "--json", folder=folder).stdout)
    return answer


@pytest.mark.parametrize("count", [9, 11])
def test_another_number_of_folders_than_classes_is_taken_only_where_asked_for(tmp_path: Path, count: int) -> None:
    names = [f"{number:02}" for number in range(count)]
    digits(tmp_path / "images", *names)
    finished = bnsharp("measure", SAMPLE, "--data", "folder:images", *FAST, folder=tmp_path, expect=3)
    assert f"folder:images: {count} class folders for a network of 10 classes" in one_error(finished)
    assert "add --classes folder if" in finished.stderr
    if count == 9:
        assert measured(tmp_path, "--data", "folder:images", "--classes", "folder")["data"]["classes"] == names


def test_a_folder_one_level_off_is_refused_with_the_option_to_give(tmp_path: Path) -> None:
    digits(tmp_path / "my images", *(f"all/{number}" for number in range(10)))
    finished = bnsharp("measure", SAMPLE, "--data", "folder:my images", *FAST, folder=tmp_path, expect=3)
    assert "my images has one class folder, all" in one_error(finished)
    remedy = " ".join(finished.stderr.splitlines()[1].split())
    given = shlex.split(remedy.removeprefix("Give ").split(". ")[0])
    assert given == ["--data", "folder:my images/all"]
    assert measured(tmp_path, *given)["data"]["classes"] == [str(number) for number in range(10)]


@pytest.mark.parametrize("form", ["{} {}", "{}={}"])
def test_several_data_are_refused_and_can_be_measured_in_both_ways_that_are_printed(tmp_path: Path, form: str) -> None:
    numbers = [str(number) for number in range(10)]
    digits(tmp_path, *(f"{domain}/{number}" for domain in ("art", "photo") for number in numbers))
    several = [word for domain in ("art", "photo") for word in form.format("--data", f"folder:{domain}").split()]
    for command in ("measure", "check"):
        finished = bnsharp(command, SAMPLE, *several, *FAST[:4], folder=tmp_path, expect=2)
        assert "--data is given 2 times" in one_error(finished)
        assert "each with its own --data; or make one folder" in " ".join(finished.stderr.split())
    assert {measured(tmp_path, "--data", f"folder:{one}")["data"]["samples"] for one in ("art", "photo")} == {8}
    for number in numbers:
        (tmp_path / "all" / number).mkdir(parents=True)
        for image in tmp_path.glob(f"[ap]*/{number}/*.png"):
            if image.parts[-3] != "all":
                (tmp_path / "all" / number / f"{image.parts[-3]}-{image.name}").symlink_to(image)
    whole = ("--data", "folder:all", "--samples", "all", *FAST[2:], "--json")
    assert json.loads(bnsharp("measure", SAMPLE, *whole, folder=tmp_path).stdout)["data"]["samples"] == 40


def command_of(folder: Path, data: str, *arguments: object) -> tuple[object, ...]:
    """Measure an untrained torchvision network of three classes on data."""
    torch.manual_seed(0)
    torch.save(torchvision.models.shufflenet_v2_x0_5(num_classes=3).state_dict(), folder / "net.pt")
    return (
        "measure",
        "net.pt",
        "--arch",
        "torchvision:shufflenet_v2_x0_5",
        "--data",
        data,
        *FAST,
        "--json",
        *arguments,
    )


def options_in(finished: Finished) -> list[str]:
    """All from the first option of the remedy on, as a shell reads it."""
    remedy = " ".join(finished.stderr.splitlines()[-1].split())
    return shlex.split(remedy[remedy.index("--") :])


def test_photos_of_many_sizes_are_resized_as_the_library_does(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("ant", "bee", "cow"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(3):
            pixels = generator.integers(0, 256, (40 + 5 * index, 60 - 7 * index, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    command = command_of(tmp_path, "folder:photos")
    split = open_data(f"folder:{tmp_path / 'photos'}", "train")
    for size in (4, 1):  # sizes that differ in a batch, and between batches
        with pytest.raises(UnequalSizesError, match="for example with image_size 224"):
            draw_batches(split, 8, size, 0, Preprocessing())
    finished = bnsharp(*command, folder=tmp_path)
    assert "so they are resized as torchvision does: shorter side 256, centre 224 × 224" in finished.stderr
    said = json.loads(bnsharp(*command, "--resize", 40, "--crop", 32, folder=tmp_path).stdout)["data"]["preprocessing"]
    assert (said["image_size"], said["shorter_side"]) == (32, 40)
    refused = bnsharp(*command, "--image-size", 0, folder=tmp_path, expect=3)
    assert "for example with --image-size 224" in refused.stderr


def photos(folder: Path) -> None:
    generator = np.random.default_rng(0)
    for split, name in ((split, name) for split in ("train", "test") for name in ("ant", "bee")):
        (folder / "photos" / split / name).mkdir(parents=True)
        for index in range(3):
            pixels = generator.integers(0, 256, (20 + 5 * index, 30 - 7 * index, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / split / name / f"{index}.png")


def test_photos_of_many_sizes_are_trained_on_as_they_are_measured(tmp_path: Path) -> None:
    """Shorter side and centre are those that the checkpoint says, and with which it is measured."""
    photos(tmp_path)
    common = ("train", "--arch", "lenet-bn", "--data", "folder:photos", "--epochs", 1, "--batch-size", 2)
    refused = bnsharp(*common, "--output", "none.pt", folder=tmp_path, expect=3)
    assert "for example with --image-size 224" in refused.stderr
    bnsharp(*common, "--resize", 16, "--crop", 12, "--output", "run.pt", folder=tmp_path)
    said = load_checkpoint(tmp_path / "run.pt").metadata["preprocessing"]
    assert (said["image_size"], said["shorter_side"]) == (12, 16)
    split = open_data(f"folder:{tmp_path / 'photos'}", "train")
    pixels, _ = split.load(torch.arange(6), Preprocessing(12, shorter_side=16))
    means = pixels.double().mean(dim=(0, 2, 3))
    assert said["mean"] == pytest.approx(means.tolist(), abs=1e-6)
    measured = bnsharp("measure", "run.pt", "--samples", "all", "--batch-size", 2, folder=tmp_path)
    assert "images: shorter side 16, centre 12 × 12, bilinear" in measured.stdout
    beyond = bnsharp(*common, "--crop", 12, "--output", "none.pt", folder=tmp_path, expect=2)
    assert "For example --resize 256 --crop 224." in beyond.stderr


def test_photos_of_many_sizes_are_trained_on_as_the_library_resizes_them(tmp_path: Path) -> None:
    photos(tmp_path)
    said: list[str] = []

    class Told(Reporter):
        def notice(self, text: str) -> None:
            said.append(text)

    task = TrainingTask("torchvision:shufflenet_v2_x0_5", data=f"folder:{tmp_path / 'photos'}")
    setup = open_setup(task, 0, torch.device("cpu"), 1, Told())
    assert (setup.preprocessing.image_size, setup.preprocessing.shorter_side) == (224, 256)
    assert any("resized as torchvision does: shorter side 256, centre 224 × 224" in line for line in said)


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ("images", "images"),
        ("my images", "my images"),
        ("imagefolder:images", "images"),
        ("npz:images", "images"),
        ("data.npz", "data.npz"),
        ("folder:data.npz", "data.npz"),
    ],
)
def test_data_that_is_there_under_another_form_is_named(tmp_path: Path, spec: str, path: str) -> None:
    x = np.random.default_rng(0).random((12, 3, 32, 32), dtype=np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(12) % 3)
    digits(tmp_path / "images", "a", "b", "c")
    digits(tmp_path / "my images", "a", "b", "c")
    finished = bnsharp(*command_of(tmp_path, spec), folder=tmp_path, expect=2)
    assert options_in(finished) == ["--data", f"{'npz' if path.endswith('z') else 'folder'}:{path}"]
    bnsharp(*command_of(tmp_path, options_in(finished)[1], "--batch-size", 2, "--samples", 4), folder=tmp_path)


@pytest.mark.parametrize(
    ("spec", "name"), [("mnits", "mnist"), ("CIFAR-10", "cifar10"), ("fashion_mnist", "fashionmnist")]
)
def test_a_mistyped_data_set_is_named(tmp_path: Path, spec: str, name: str) -> None:
    finished = bnsharp("measure", SAMPLE, "--data", spec, folder=tmp_path, expect=2)
    assert options_in(finished) == ["--data", name]


@pytest.mark.parametrize(
    ("scale", "shift", "given", "code", "says"),
    [
        (1, 0, ("--mean", "123.675,116.28,103.53", "--std", "58.395,57.12,57.375"), 2, "--mean: expected the mean of"),
        (1, 0, ("--mean", "0,0,0", "--std", "255,255,255"), 2, "--mean: expected the mean of pixels in [0, 1]"),
        (255, 0, (), 3, "mean and std are for images in [0, 1]"),
        (4, -2, (), 3, "mean and std are for images in [0, 1]"),
    ],
)
def test_images_and_their_normalisation_are_of_one_range(
    tmp_path: Path, scale: float, shift: float, given: tuple[str, ...], code: int, says: str
) -> None:
    x = np.random.default_rng(0).random((8, 3, 32, 32), dtype=np.float32) * scale + shift
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(8) % 3)
    finished = bnsharp(*command_of(tmp_path, "npz:data.npz", *given), folder=tmp_path, expect=code)
    assert says in finished.stderr
    bnsharp(*command_of(tmp_path, "npz:data.npz", *options_in(finished)), folder=tmp_path)


def test_images_that_nobody_normalises_are_said_to_be_so(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((8, 1, 8, 8), dtype=np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(8))
    torch.save(lenet_bn(1, 10, 8).state_dict(), tmp_path / "lenet.pt")
    command = ("measure", "lenet.pt", "--arch", "lenet-bn", "--data", "npz:data.npz", *FAST)
    said = "the images are in [0, 1] and not normalised; --mean and --std change it"
    assert said in bnsharp(*command, folder=tmp_path).stderr
    assert said not in bnsharp(*command, "--mean", "0.5", "--std", "0.5", folder=tmp_path).stderr


@pytest.mark.parametrize("factor", [255.0, 1.0])
def test_images_of_another_range_than_the_files_mean_are_warned_of(tmp_path: Path, factor: float) -> None:
    """The sample says mean 0.3054 and std 0.3761, which are of images in [0, 1]."""
    x = np.random.default_rng(0).random((8, 1, 8, 8), dtype=np.float32) * factor
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(8))
    command = ("measure", SAMPLE, "--data", "npz:data.npz", *FAST)
    warned = "and the file's mean 0.305383 and std 0.376119 are hardly of such numbers; --mean and --std change them"
    assert (warned in bnsharp(*command, folder=tmp_path).stderr) == (factor > 1)
    if factor > 1:
        assert "WARNING: the images" not in bnsharp(*command, "--mean", 78, "--std", 96, folder=tmp_path).stderr


@pytest.mark.parametrize("spec", ["resnet18", "resnet81", "net.py"])
def test_a_network_that_is_meant_is_told_where_the_file_says_another(tmp_path: Path, spec: str) -> None:
    (tmp_path / "net.py").write_text("def net(): ...\n")
    finished = bnsharp("measure", SAMPLE, "--arch", spec, folder=tmp_path, expect=2)
    says = "net.py:net" if spec == "net.py" else "Did you mean torchvision:resnet18"
    assert one_error(finished)
    assert says in finished.stderr


def test_images_of_16_bits_are_taken_as_the_refusal_says(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 2**16, (20, 8, 8), dtype=np.uint16)
    for index, image in enumerate(deep):
        (tmp_path / "images" / f"{index % 10}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "images" / f"{index % 10}" / f"{index}.png")
    refused = bnsharp("measure", SAMPLE, "--data", "folder:images", *FAST, folder=tmp_path, expect=3)
    assert "npz:FILE takes them as floating numbers" in one_error(refused)
    np.savez(tmp_path / "data.npz", x=deep[:, None].astype("float32") / 65535, y=np.arange(20) % 10)
    assert "delta-lp" in bnsharp("measure", SAMPLE, "--data", "npz:data.npz", *FAST, folder=tmp_path).stdout
