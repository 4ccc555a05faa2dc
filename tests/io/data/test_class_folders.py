"""Folders one level off, splits by other names, and the order of the classes; every remedy is tried as printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from bnsharp_cli.errors import DataRefusedError, spelt
from bnsharp_cli.io.data.images import ImageFolder
from bnsharp_cli.io.data.open_data import open_data

ANIMALS = ("cat", "dog", "elk")


def images(root: Path, *folders: str) -> Path:
    """Two grey images in each folder."""
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(2):
            Image.new("RGB", (8, 8), (40 * index,) * 3).save(root / folder / f"{index}.png")
    return root


def classes(root: Path, *parents: str, names: tuple[str, ...] = ANIMALS) -> Path:
    return images(root, *(f"{parent}/{name}" for parent in parents for name in names))


def opened(root: Path | str, split: str = "train", choice: str | None = None) -> ImageFolder:
    found = open_data(str(root) if ":" in str(root) else f"folder:{root}", split, classes=choice)
    assert isinstance(found, ImageFolder)
    return found


def refused(root: Path, split: str = "train") -> DataRefusedError:
    with pytest.raises(DataRefusedError) as caught:
        opened(root, split)
    return caught.value


def specs(remedy: str) -> list[str]:
    """The values of ``data`` that a remedy names, as a shell reads them."""
    found = re.findall(r"data ('[^']*'|\S+?)[.]?(?= |$)", remedy)
    return [shlex.split(value)[0] for value in found]


@pytest.mark.parametrize(
    ("parents", "says", "named"),
    [
        (("val",), "has no 'train' folder with class folders: it has val", ["val"]),
        (("images",), "has one class folder, images, so that all labels would be 0", ["images"]),
        (("data/images",), "one class folder, data", ["data/images"]),
        (("training_set", "test_set"), "hold class folders themselves", ["test_set", "training_set"]),
        (("Train", "Test"), "hold class folders themselves: Test, Train", ["Test", "Train"]),
        (("pacs/train", "pacs/val"), "one class folder, pacs", ["pacs"]),
        (("art", "photo", "a sketch"), "hold class folders themselves", ["a sketch", "art", "photo"]),
        (("office/art/images", "office/web/images"), "one class", ["office/art/images", "office/web/images"]),
        (("train/images", "test/images"), "train has one class folder, images", ["train/images"]),
        (("a", "b", "c", "d"), "hold class folders themselves: a, b, c, …", ["a", "b", "c"]),
    ],
)
def test_one_level_off_names_the_folder_to_give(
    tmp_path: Path, parents: tuple[str, ...], says: str, named: list[str]
) -> None:
    error = refused(classes(tmp_path, *parents))
    assert says in error.reason
    assert specs(error.remedy) == [f"folder:{tmp_path / name}" for name in named]
    for spec in specs(error.remedy):
        found = opened(spec)
        assert (found.classes, found.labels.tolist()) == (ANIMALS, [0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize(
    "folders", [("train", "test"), ("images", "masks"), ("Train", "val", "test"), ("only",), ("images",)]
)
def test_folders_that_are_no_classes_are_taken_only_where_the_user_says_so(
    tmp_path: Path, folders: tuple[str, ...]
) -> None:
    error = refused(images(tmp_path, *folders))
    assert error.remedy.endswith("If they are the classes, add classes folder.")
    assert opened(tmp_path, choice="folder").classes == tuple(sorted(folders))


def test_some_classes_with_class_folders_are_refused_too(tmp_path: Path) -> None:
    images(tmp_path, "bird", "mammal/cat", "mammal/dog")
    assert "hold class folders themselves" in refused(tmp_path).reason
    assert opened(tmp_path, choice="folder").labels.tolist() == [0, 0, 1, 1, 1, 1]


def test_tiny_imagenet_is_read_and_its_unlabelled_splits_are_not(tmp_path: Path) -> None:
    images(tmp_path, *(f"train/{name}/images" for name in ANIMALS), "val/images", "test/images")
    assert opened(tmp_path).classes == ANIMALS
    assert "has class folders that train lacks: images" in refused(tmp_path, "test").reason
    assert "one class folder, images" in refused(tmp_path / "val").reason


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_the_other_split_has_many_names(tmp_path: Path, name: str) -> None:
    classes(tmp_path, "train", name)
    found = opened(tmp_path, "test")
    assert (found.classes, found.notices) == (ANIMALS, (f"the test split is read from {tmp_path / name}",))
    assert opened(tmp_path).notices == ()
    assert opened(classes(tmp_path, "test"), "test").notices == ()


def test_the_other_split_never_blocks_and_never_renumbers(tmp_path: Path) -> None:
    classes(tmp_path, "train")
    images(tmp_path, "test/unknown", "valid/dog", "valid/elk")
    assert opened(tmp_path).labels.tolist() == [0, 0, 1, 1, 2, 2]
    found = opened(tmp_path, "test")
    assert (found.classes, found.labels.tolist()) == (ANIMALS, [1, 1, 2, 2])
    assert found.notices[1] == f"{tmp_path / 'valid'} has no folder of cat; classes are numbered as in train"


def test_hidden_folders_and_files_are_passed_over_and_counted(tmp_path: Path) -> None:
    classes(tmp_path, ".", names=(*ANIMALS, ".ipynb_checkpoints", "cat/.ipynb_checkpoints", "__MACOSX"))
    (tmp_path / "dog" / "._0.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "dog" / ".DS_Store").write_bytes(b"Bud1")
    found = opened(tmp_path)
    assert (found.classes, len(found)) == (ANIMALS, 6)
    assert found.notices == (f"4 hidden files or folders in {tmp_path} are passed over",)


def test_numbers_are_ordered_as_numbers_and_texts_as_texts(tmp_path: Path) -> None:
    numbers = tuple(str(number) for number in range(12))
    found = opened(classes(tmp_path / "numbers", ".", names=numbers))
    assert found.classes == numbers
    assert "classes alphabetical orders them as torchvision's ImageFolder does (0, 1, 10, …)" in spelt(found.notices[0])
    assert opened(tmp_path / "numbers", choice="alphabetical").classes == tuple(sorted(numbers))
    assert opened(classes(tmp_path / "mixed", ".", names=(*numbers, "x"))).classes == tuple(sorted((*numbers, "x")))
    padded = opened(classes(tmp_path / "padded", ".", names=("01", "02", "10")))
    assert (padded.classes, padded.notices) == (("01", "02", "10"), ())
