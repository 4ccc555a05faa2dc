"""Data of whole numbers by the command: tokens stay what they are, pictures are floating, and remedies work."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.border.oracle import bn_of_blocks
from tests.cli.helpers import bnsharp

CODE = """
import numpy as np
import torch
from tests.border import test_tokens_of_the_command as test

words, pictures = test.Words, test.Pictures

def pairs(split):
    return [*zip(*test.texts())]

def arrays(split):
    return [(x.int().numpy(), int(y)) for x, y in pairs(split)]

def mappings(split):
    return [{"inputs": x, "label": y} for x, y in pairs(split)]

def tensors(split):
    return torch.utils.data.TensorDataset(*test.texts())

def images(split):
    return [*zip(*test.whole_images())]
"""
VOCABULARY, LENGTH, COUNT = 20, 6, 32
GIVEN = ("--samples", COUNT, "--batch-size", COUNT, "--quiet")


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.mix, self.norm = nn.Embedding(VOCABULARY, 8), nn.Linear(8, 8, bias=False), nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.tanh(self.norm(self.mix(self.words(tokens.flatten(1)).mean(1)))))


class Pictures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.tanh(self.first(images) / 10).mean((2, 3)))


def texts() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randint(VOCABULARY, (COUNT, LENGTH), generator=generator),
        torch.randint(4, (COUNT,), generator=generator),
    )


def whole_images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(9, (COUNT, 1, 5, 5), generator=generator), torch.randint(4, (COUNT,), generator=generator)


def measured(folder: Path, network: type[nn.Module], arch: str, data: str) -> float:
    (folder / "mine.py").write_text(CODE)
    torch.save(network().state_dict(), folder / "net.pt")
    given = ("measure", "net.pt", "--arch", f"mine.py:{arch}", "--data", data, *GIVEN, "--json")
    return float(json.loads(bnsharp(*given, folder=folder).stdout)["measures"]["bn"]["value"])


def of_words() -> float:
    """The table is a block of its own, because the norm behind it takes its scale away."""
    blocks = [{"words.weight": slice(None)}, *({"mix.weight": slice(row, row + 1)} for row in range(8))]
    inputs, labels = texts()
    return bn_of_blocks(Words(), lambda model: functional.cross_entropy(model(inputs), labels), blocks)


def save(folder: Path, x: np.ndarray, y: np.ndarray) -> str:
    np.savez(folder / "texts.npz", x=x, y=y)
    return "npz:texts.npz"


@pytest.mark.parametrize("data", ["pairs", "arrays", "mappings", "tensors"])
def test_tokens_of_a_data_set_of_ones_own(data: str, tmp_path: Path) -> None:
    assert measured(tmp_path, Words, "words", f"mine.py:{data}") == pytest.approx(of_words(), rel=2e-3)


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.int8])
@pytest.mark.parametrize("shape", [(LENGTH,), (1, 2, 3)], ids=["texts", "four dimensions"])
def test_tokens_in_an_archive(kind: type[np.generic], shape: tuple[int, ...], tmp_path: Path) -> None:
    inputs, labels = texts()
    data = save(tmp_path, inputs.reshape(COUNT, *shape).numpy().astype(kind), labels.numpy())
    assert measured(tmp_path, Words, "words", data) == pytest.approx(of_words(), rel=2e-3)


def test_whole_numbers_are_floating_for_a_network_of_images(tmp_path: Path) -> None:
    inputs, labels = whole_images()
    expected = bn_of_blocks(Pictures(), lambda model: functional.cross_entropy(model(inputs.double()), labels))
    assert measured(tmp_path, Pictures, "pictures", "mine.py:images") == pytest.approx(expected, rel=2e-3)
    data = save(tmp_path, inputs.numpy(), labels.numpy())
    assert measured(tmp_path, Pictures, "pictures", data) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_tokens_of_another_type_are_refused_and_the_remedy_works(kind: type[np.generic], tmp_path: Path) -> None:
    inputs, labels = texts()
    (tmp_path / "mine.py").write_text(CODE)
    torch.save(Words().state_dict(), tmp_path / "net.pt")
    stored = inputs.reshape(COUNT, 1, 2, 3).numpy()
    data = save(tmp_path, stored.astype(kind), labels.numpy())
    given = ("measure", "net.pt", "--arch", "mine.py:words", "--data", data, *GIVEN)
    assert "int64" in bnsharp(*given, folder=tmp_path, expect=3).stderr
    save(tmp_path, stored.astype(np.int64), labels.numpy())
    bnsharp(*given, folder=tmp_path)
