"""The schedules against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.training.schedules import SCHEDULES

EPOCHS = 20


@pytest.mark.parametrize(
    ("name", "milestones", "decay"),
    [("step", (), 0.1), ("step", (5, 11, 12), 0.1), ("step", (0, 3), 0.5), ("cosine", (), 0.1)],
)
def test_every_epochs_rate_is_torchs(name: str, milestones: tuple[int, ...], decay: float) -> None:
    options = TrainingOptions(epochs=EPOCHS, learning_rate=0.3, schedule=name, milestones=milestones, decay=decay)
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.3 * decay ** milestones.count(0))
    known = {
        "step": lambda: torch.optim.lr_scheduler.MultiStepLR(optimizer, [m for m in milestones if m], decay),
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS),
    }
    reference = known[name]()
    for epoch in range(EPOCHS):
        assert 0.3 * SCHEDULES[name](options, epoch) == pytest.approx(reference.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        reference.step()
