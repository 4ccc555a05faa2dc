"""The Python examples of the documents run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.documents import ROOT, Document

PAGES = ("README.md", "docs/python.md", "docs/training.md")
EXAMPLES = [
    pytest.param(code, id=f"{page}-{number}")
    for page in PAGES
    for number, code in enumerate(Document(ROOT / page).fences("python"), 1)
]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("code", EXAMPLES)
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")
def test_an_example_runs(code: str) -> None:
    """With the model, the data and the names that its page takes for granted."""
    if "lightning" in code:
        pytest.importorskip("lightning")
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(16, 3, 8, 8), torch.arange(16) % 4)
    loader = DataLoader(data, batch_size=8)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4))
    given = {
        "torch": torch,
        "model": model,
        "loader": loader,
        "batches": list(loader),
        "criterion": nn.CrossEntropyLoss(),
        "epochs": 1,
        "Trainer": SimpleNamespace,
    }
    exec(compile(code, "example", "exec"), given)
