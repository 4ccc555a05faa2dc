"""A network that is called and answers in several ways, and a batch for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


class Outputs(OrderedDict[str, torch.Tensor]):
    """Like a Hugging Face model's: entries that are attributes too."""

    def __getattr__(self, name: str) -> torch.Tensor:
        return self[name]


@dataclass(frozen=True)
class Record:
    """Outputs as a plain record."""

    logits: torch.Tensor
    note: str = "fine"


class Model(nn.Module):
    """One network with several ways to be called and to answer."""

    def __init__(self, answer: Callable[[torch.Tensor], Any] = lambda y: y) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.norm, self.last = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)
        self.dropout = nn.Dropout()
        self.answer = answer

    def forward(self, x: torch.Tensor | None = None, mask: torch.Tensor | None = None, values: Any = None) -> Any:
        x = values if x is None else x
        x = x if mask is None else x * mask
        return self.answer(self.last(self.dropout(torch.relu(self.norm(self.hidden(x))))))


def inputs_and_targets() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(48, 4, generator=generator), torch.randint(3, (48,), generator=generator)


X, Y = inputs_and_targets()
