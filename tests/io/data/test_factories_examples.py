"""What a factory of the user's may return: read as (image, label), or refused with what was found and what to do."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, TensorDataset

from bnsharp_cli.errors import DataRefusedError, UsageError
from bnsharp_cli.io.data.examples import read_example
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.sources import open_factory
from bnsharp_cli.io.data.splits import DatasetSplit

BYTES = np.random.default_rng(0).integers(256, size=(3, 5, 7), dtype=np.uint8)
IMAGE = torch.from_numpy(BYTES.astype(np.float32)) / 255
HWC = np.moveaxis(BYTES, 0, -1)
Pair = namedtuple("Pair", "sample answer")


class Lazy(dict):
    """As batches of Hugging Face's, which are dictionaries of a class of their own."""


@pytest.mark.parametrize(
    "example",
    [
        (IMAGE, 4),
        [IMAGE, torch.tensor(4)],
        Pair(IMAGE, np.int64(4)),
        {"image": IMAGE, "label": 4},
        {"Image": IMAGE, "Label": 4, "idx": 17, "path": "a.png"},
        {"pixel_values": IMAGE.numpy(), "labels": torch.tensor(4)},
        {"pixel_values": IMAGE.tolist(), "labels": 4},
        OrderedDict(img=Image.fromarray(HWC), target=4),
        Lazy(x=IMAGE, y=np.array(4)),
        (torch.from_numpy(BYTES), 4),
        (BYTES, 4),
        (HWC, 4),
        (HWC.astype(np.float32) / 255, 4),
        (np.asfortranarray(HWC), 4),
        (IMAGE.numpy().astype(">f4"), 4),
        (IMAGE.double(), 4),
        (Image.fromarray(HWC), 4),
    ],
)
def test_one_image_however_it_is_given(example: Any) -> None:
    image, label = read_example(example, "it")
    assert image.dtype == torch.float32
    assert torch.allclose(image, IMAGE)
    assert label.shape == ()
    assert int(label) == 4


@pytest.mark.parametrize("shape", [(6,), (2, 9), (1, 4, 5, 6), (5, 8, 9), (10, 3, 8, 8)])
@pytest.mark.parametrize("kind", [torch.from_numpy, np.asarray])
def test_inputs_of_other_shapes_stay_as_they_are(shape: tuple[int, ...], kind: Any) -> None:
    """Rows of a table, signals, volumes, images of many channels, clips."""
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    read, _ = read_example((kind(values), 0), "it")
    assert torch.equal(read, torch.from_numpy(values))


def test_grey_images_get_their_axis() -> None:
    for grey in (BYTES[0], Image.fromarray(BYTES[0])):
        assert torch.equal(read_example((grey, 0), "it")[0], IMAGE[:1])


@pytest.mark.parametrize(
    ("example", "says"),
    [
        (
            (IMAGE, 4, torch.zeros(3)),
            "expected (image, label), found a tuple of 3: a Tensor (3, 5, 7), 4, a Tensor (3,)",
        ),
        ((7, IMAGE, 4), "expected (image, label), found a tuple of 3: 7, a Tensor (3, 5, 7), 4"),
        ((IMAGE,), "expected (image, label), found a tuple of 1: a Tensor (3, 5, 7)"),
        (IMAGE, "expected (image, label), found a Tensor (3, 5, 7)"),
        (None, "expected (image, label), found None"),
        ("ab", "expected (image, label), found a str 'ab'"),
        ({"img": IMAGE, "fine": 1, "coarse": 2}, "found a dictionary with img, fine, coarse"),
        ({"image": IMAGE, "pixel_values": IMAGE, "label": 1}, "expected one entry with an image"),
        ({"image": IMAGE, "label": 1, "labels": 1}, "expected one entry with a label"),
        (([IMAGE, IMAGE], 4), "expected an image or a tensor as the input, found a list of 2"),
        ((None, 0), "as the input, found None"),
        (({"a": IMAGE}, 0), "as the input, found a dictionary with a"),
        (("a.png", 0), "as the input, found a str 'a.png'"),
        ((object(), 0), "expected numbers as the input, found an object"),
        ((np.array(["a"]), 0), "expected numbers as the input, found an ndarray (1,) of <U1"),
        (([[1, 2], [3]], 0), "as the input, found a list of 2"),
        ((torch.zeros(2, dtype=torch.complex64), 0), "expected real numbers as the input"),
        ((np.zeros((3, 8, 3), np.float32), 0), "expected an array that tells its channels, found an ndarray (3, 8, 3)"),
        ((Image.fromarray(BYTES[0]).convert("P"), 0), "in mode P, numbers of a palette"),
        ((IMAGE, "cat"), "expected a number or a tensor as the label, found a str 'cat'"),
        ((IMAGE, None), "as the label, found None"),
        ((IMAGE, {"boxes": 1}), "as the label, found a dictionary with boxes"),
        ((IMAGE, ["a", "b"]), "as the label, found a list of 2"),
    ],
)
def test_what_could_mean_anything_is_refused_with_what_it_is(example: Any, says: str) -> None:
    with pytest.raises(DataRefusedError) as refused:
        read_example(example, "users.py:data example 0")
    assert refused.value.reason.startswith("Cannot read users.py:data example 0: expected ")
    assert says in refused.value.reason
    assert refused.value.found != refused.value.reason


def test_what_is_no_image_is_not_resized() -> None:
    split = DatasetSplit([(torch.zeros(64), 0)], lambda index: f"example {index}")
    with pytest.raises(
        DataRefusedError, match=r"Cannot resize example 0: expected an image \(C, H, W\), found \(64,\)\."
    ):
        split.load(torch.tensor([0]), Preprocessing(image_size=8))


class Stream(IterableDataset):
    def __iter__(self) -> Iterator[Any]:
        yield from ((IMAGE, 0) for _ in range(4))


WHOLE = TensorDataset(torch.stack([IMAGE] * 4), torch.arange(4))


@pytest.mark.parametrize(
    ("returned", "says", "instead"),
    [
        (DataLoader(WHOLE, 2), "a DataLoader", lambda one: one.dataset),
        (Stream(), "a Stream", list),
        (((IMAGE, one) for one in range(4)), "a generator", list),
        ({"train": WHOLE, "test": WHOLE}, "a dictionary with train, test", lambda one: one["train"]),
        (WHOLE.tensors, "a tuple of 2: a Tensor (4, 3, 5, 7), a Tensor (4,)", lambda one: TensorDataset(*one)),
        (None, "None", lambda one: WHOLE),
    ],
)
def test_what_is_no_data_set_is_refused_with_what_to_return(
    returned: Any, says: str, instead: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that is read."""
    monkeypatch.setattr("users_data.data", lambda split: returned)
    with pytest.raises(DataRefusedError) as refused:
        open_factory("users_data:data", "train")
    assert f"users_data:data('train') returned {says}, expected a map-style data set" in refused.value.reason
    monkeypatch.setattr("users_data.data", lambda split: instead(returned))
    assert len(open_factory("users_data:data", "train").load(torch.arange(4), Preprocessing())[1]) == 4


@pytest.mark.parametrize("returned", [WHOLE, Subset(WHOLE, [3, 1, 0, 2]), ConcatDataset([WHOLE]), [(IMAGE, 0)] * 4])
def test_data_sets_of_torchs_are_read(returned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("users_data.data", lambda split: returned)
    images, _ = open_factory("users_data:data", "train").load(torch.arange(4), Preprocessing())
    assert torch.equal(images, torch.stack([IMAGE] * 4))


@pytest.mark.parametrize(
    ("code", "takes"), [("def data(): pass", "()"), ("def data(split, root): pass", "(split, root)")]
)
def test_a_function_with_other_arguments(code: str, takes: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(UsageError) as refused:
        open_factory(f"{tmp_path}/mine.py:data", "train")
    assert f"is called with ('train') and takes {takes}. Give every other argument a default." in str(refused.value)


@pytest.fixture(autouse=True)
def users_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users_data.py").write_text("def data(split):\n    return []\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "users_data", raising=False)
