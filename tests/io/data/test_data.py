"""Data: the fixed batches, the sources, and what is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from bnsharp_cli.errors import DataRefusedError, UsageError
from bnsharp_cli.io.data import image_paths
from bnsharp_cli.io.data.batches import draw_batches
from bnsharp_cli.io.data.images import open_image_folder
from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.splits import ArraySplit
from bnsharp_cli.measurement.surface.data_stream import Stream


def image_folder(root: Path, sizes: tuple[int, ...] = (8, 8, 8, 8)) -> Path:
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True)
            for index, size in enumerate(sizes):
                pixels = generator.integers(0, 256, (size, size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{index}.png")
    return root


def test_digits_are_split_once_and_for_all() -> None:
    train, test = open_data("digits", "train"), open_data("digits", "test")
    assert (len(train), len(test)) == (1437, 360)
    x, y = test.load(torch.arange(360), Preprocessing())
    assert x.shape == (360, 1, 8, 8)
    assert (float(x.min()), float(x.max())) == (0.0, 1.0)
    assert torch.bincount(y).tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]
    rows = {tuple(image.flatten().tolist()) for image in train.load(torch.arange(1437), Preprocessing())[0]}
    assert sum(tuple(image.flatten().tolist()) in rows for image in x) == 0


def test_batches_are_the_first_samples_of_a_seeded_permutation() -> None:
    split = open_data("digits")
    drawn = draw_batches(split, 100, 32, seed=5)
    order = torch.randperm(1437, generator=torch.Generator().manual_seed(5))[:96]
    x, y = split.load(order, Preprocessing())
    assert torch.equal(torch.cat([images for images, _ in drawn.batches]), x)
    assert torch.equal(torch.cat([labels for _, labels in drawn.batches]), y)
    assert drawn.samples == 96
    assert drawn.notice == "an incomplete last batch of 4 samples is dropped"
    assert drawn.sha256 == draw_batches(split, 100, 32, seed=5).sha256
    assert drawn.sha256 != draw_batches(split, 100, 32, seed=6).sha256


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(DataRefusedError, match="20 samples cannot fill one batch of 32"):
        draw_batches(open_data("digits"), 20, 32, seed=0)


def test_more_than_the_budget_streams_the_same_batches() -> None:
    split = open_data("digits")
    kept = draw_batches(split, None, 32, seed=5)
    bytes_of_all = sum(tensor.nbytes for batch in kept.batches for tensor in batch)
    streamed = draw_batches(split, None, 32, seed=5, resident=bytes_of_all - 1)
    assert isinstance(kept.batches, tuple)
    assert isinstance(draw_batches(split, None, 32, seed=5, resident=bytes_of_all).batches, tuple)
    assert isinstance(streamed.batches, Stream)
    assert (kept.samples, streamed.samples) == (1437, 1437)
    assert kept.notice == streamed.notice == "the last batch has 29 samples"
    assert kept.sha256 == streamed.sha256
    assert kept.labels == streamed.labels == (0, 9)
    for first, second in zip(kept.batches, streamed.batches, strict=True):
        assert all(map(torch.equal, first, second))


def test_a_stream_is_checked_like_resident_batches() -> None:
    images = torch.zeros(8, 1, 2, 2)
    images[7, 0, 0, 0] = float("inf")
    with pytest.raises(DataRefusedError, match="NaN or infinite"):
        draw_batches(ArraySplit(images, torch.zeros(8, dtype=torch.int64)), None, 2, 0, resident=0)


def test_a_stream_that_changes_between_readings_is_refused() -> None:
    class Augmented(ArraySplit):
        readings = 0

        def load(self, indices: torch.Tensor, preprocessing: Preprocessing) -> tuple[torch.Tensor, torch.Tensor]:
            Augmented.readings += 1
            images, labels = super().load(indices, preprocessing)
            return images + Augmented.readings, labels

    split = Augmented(torch.zeros(8, 1, 2, 2), torch.zeros(8, dtype=torch.int64))
    with pytest.raises(DataRefusedError, match="changes from one reading to the next"):
        draw_batches(split, None, 4, 0, resident=0)
    assert len(draw_batches(split, None, 4, 0).batches) == 2


def test_folder_reads_splits_classes_and_pixels(tmp_path: Path) -> None:
    root = image_folder(tmp_path)
    split = open_data(f"folder:{root}", "test")
    x, y = split.load(torch.arange(8), Preprocessing())
    assert x.shape == (8, 3, 8, 8)
    assert y.tolist() == [0] * 4 + [1] * 4
    expected = np.asarray(Image.open(root / "test" / "dog" / "1.png")).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(x[5].numpy(), expected, atol=1e-6)


def test_folder_without_splits_is_the_training_split(tmp_path: Path) -> None:
    root = image_folder(tmp_path) / "train"
    assert len(open_data(f"folder:{root}")) == 8
    with pytest.raises(DataRefusedError, match="has no 'test' folder"):
        open_data(f"folder:{root}", "test")


def test_unequal_sizes_and_broken_images_name_the_file(tmp_path: Path) -> None:
    root = image_folder(tmp_path, (8, 9))
    split = open_data(f"folder:{root}")
    with pytest.raises(DataRefusedError, match=r"cat/1.png is \(3, 9, 9\), the first image \(3, 8, 8\)"):
        split.load(torch.arange(2), Preprocessing())
    assert split.load(torch.arange(4), Preprocessing(image_size=8))[0].shape == (4, 3, 8, 8)
    (root / "train" / "cat" / "0.png").write_bytes(b"not an image")
    with pytest.raises(DataRefusedError, match=r"Cannot read .*cat/0.png"):
        split.load(torch.arange(1), Preprocessing())


def test_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRefusedError, match="not a folder of class folders"):
        open_data(f"folder:{tmp_path / 'none'}")


def test_npz_scales_bytes_and_leaves_floats(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 5), dtype=np.uint8)
    np.savez(tmp_path / "bytes.npz", x=x, y=np.arange(4), x_test=x[:2], y_test=np.arange(2))
    np.savez(tmp_path / "floats.npz", x=x.astype(np.float64) * 3, y=np.arange(4))
    read, labels = open_data(f"npz:{tmp_path / 'bytes.npz'}").load(torch.arange(4), Preprocessing())
    np.testing.assert_allclose(read.numpy(), x / 255, atol=1e-6)
    assert labels.dtype == torch.int64
    assert len(open_data(f"npz:{tmp_path / 'bytes.npz'}", "test")) == 2
    floats, _ = open_data(f"npz:{tmp_path / 'floats.npz'}").load(torch.arange(4), Preprocessing())
    np.testing.assert_allclose(floats.numpy(), x * 3.0)


def test_npz_with_objects_missing_arrays_or_wrong_shapes(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    for arrays in (
        {"x": np.array([{"a": 1}], dtype=object), "y": np.arange(1)},
        {"images": np.zeros((2, 1, 2, 2)), "y": np.arange(2)},
        {"x": np.zeros((2, 4)), "y": np.arange(2)},
        {"x": np.zeros((2, 1, 2, 2)), "y": np.arange(3)},
    ):
        np.savez(path, **arrays)
        with pytest.raises(DataRefusedError, match=r"data\.npz"):
            open_data(f"npz:{path}")
    path.write_bytes(b"PK not a zip")
    with pytest.raises(DataRefusedError, match="Cannot read x, y"):
        open_data(f"npz:{path}")


def test_values_that_are_not_finite_are_refused() -> None:
    images = torch.zeros(8, 1, 2, 2)
    images[3, 0, 0, 0] = float("nan")
    with pytest.raises(DataRefusedError, match="NaN or infinite"):
        draw_batches(ArraySplit(images, torch.zeros(8, dtype=torch.int64)), 8, 4, 0)


def test_unknown_specifications_and_missing_roots(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Unknown data 'mnits'"):
        open_data("mnits")
    with pytest.raises(UsageError, match="data cifar10 needs a folder"):
        open_data("cifar10")
    with pytest.raises(DataRefusedError, match="cifar10 is not in"):
        open_data("cifar10", root=tmp_path)


def test_a_factory_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "def build(split):\n"
        "    return [(torch.full((1, 2, 2), float(i)), i % 2) for i in range(6 if split == 'train' else 2)]\n"
    )
    split = open_data(f"{tmp_path / 'mine.py'}:build")
    x, y = split.load(torch.tensor([4, 1]), Preprocessing())
    assert x[:, 0, 0, 0].tolist() == [4.0, 1.0]
    assert y.tolist() == [0, 1]
    with pytest.raises(UsageError, match="Cannot import"):
        open_data(f"{tmp_path / 'mine.py'}:nothing")


def test_an_archive_stays_on_the_disk_and_is_checked_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    x = np.random.default_rng(0).integers(0, 256, (50, 1, 3, 3), dtype=np.uint8)
    np.savez(path, x=x, y=np.arange(50))
    split = open_data(f"npz:{path}")
    indices = torch.tensor([7, 3, 3, 49])
    images, labels = split.load(indices, Preprocessing())
    np.testing.assert_allclose(images.numpy(), x[indices] / 255, atol=1e-7)
    assert labels.tolist() == [7, 3, 3, 49]
    np.savez(path, x=255 - x, y=np.arange(50))
    with pytest.raises(DataRefusedError, match="changed while it was read"):
        split.load(indices, Preprocessing())
    path.unlink()
    with pytest.raises(DataRefusedError, match="No such file"):
        split.load(indices, Preprocessing())


@pytest.mark.parametrize(
    ("stored", "read"), [("f2", "f4"), ("f4", "f4"), (">f8", "f8"), ("u1", "i8"), (">i4", "i8"), ("u8", "i8")]
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_targets_keep_their_precision(tmp_path: Path, stored: str, read: str, save: Any) -> None:
    save(tmp_path / "data.npz", x=np.zeros((3, 1, 2, 2)), y=np.array([1, 2, 3], dtype=stored))
    _, y = open_data(f"npz:{tmp_path / 'data.npz'}").load(torch.tensor([2, 0]), Preprocessing())
    assert y.numpy().dtype == np.dtype(read)
    assert y.tolist() == [3, 1]


def test_a_folder_is_read_in_the_order_of_torchvisions(tmp_path: Path) -> None:
    root = image_folder(tmp_path) / "train"
    for nested in ("cat/b/deep", "cat/a", "dog/0.png.d"):
        (root / nested).mkdir(parents=True)
        for name in ("z.PNG", "a.png", "note.txt"):
            shutil.copy(root / "cat" / "0.png", root / nested / name)
    theirs = torchvision.datasets.ImageFolder(str(root))
    ours = open_image_folder(root, "train", classes="folder")
    assert list(zip(ours.files, ours.labels.tolist(), strict=True)) == theirs.samples
    assert list(ours.classes) == theirs.classes
    assert len(ours) == 14


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    root = image_folder(tmp_path) / "train"
    (root / "dog").rename(root / "train")
    assert open_image_folder(root, "train").classes == ("cat", "train")


def test_images_are_grey_where_the_preprocessing_is_for_one_channel(tmp_path: Path) -> None:
    root = image_folder(tmp_path)
    grey, _ = open_data(f"folder:{root}").load(torch.arange(2), Preprocessing(mean=(0.5,), std=(0.5,)))
    expected = np.asarray(Image.open(root / "train" / "cat" / "1.png").convert("L")) / 255
    np.testing.assert_allclose(grey[1, 0].numpy(), expected, atol=1e-6)


def test_a_long_search_and_reading_report_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_paths, "_EVERY", 3)
    said: list[str] = []
    split = open_data(f"folder:{image_folder(tmp_path)}", progress=said.append)
    assert said == [f"3 files found in {tmp_path}/train/{name}" for name in ("cat", "dog")]
    draw_batches(split, 8, 4, 0, progress=said.append)
    assert said[2:] == ["reading batch 1 of 2", "reading batch 1 of 2", "reading batch 2 of 2", ""]


def test_batches_beyond_memory_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = open_data(f"folder:{image_folder(tmp_path)}")
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 4, "SC_PAGE_SIZE": 1024}.__getitem__)
    assert len(split.load(torch.arange(2), Preprocessing())[0]) == 2
    with pytest.raises(DataRefusedError, match=r"cat/0.png: 8 images at once take 0 GiB, this machine has 0\."):
        split.load(torch.arange(8), Preprocessing())
    assert len(split.load(torch.arange(8), Preprocessing(image_size=4))[0]) == 8
    with pytest.raises(DataRefusedError, match="the data: 8 images at once"):
        ArraySplit(torch.zeros(8, 3, 8, 8), torch.zeros(8)).load(torch.arange(8), Preprocessing())


def test_images_that_a_checkpoint_enlarges_beyond_memory_are_refused() -> None:
    split = ArraySplit(torch.zeros(1, 1, 8, 8).expand(10**6, 1, 8, 8), torch.zeros(1).expand(10**6))
    with pytest.raises(DataRefusedError, match="the data: 1000000 images at once take 62500 GiB"):
        split.load(torch.arange(10**6), Preprocessing(4096))


def test_ignored_pixels_are_no_class() -> None:
    labels = torch.tensor([[-100, 2], [1, 1], [-100, -100], [4, 1]])
    assert draw_batches(ArraySplit(torch.zeros(4, 1, 2, 2), labels), 4, 2, 0).labels == (1, 4)


def test_an_empty_split_says_so() -> None:
    with pytest.raises(DataRefusedError, match="no examples in this split"):
        draw_batches(ArraySplit(torch.zeros(0, 1, 2, 2), torch.zeros(0)), None, 2, 0)
