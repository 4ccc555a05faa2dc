"""The simulated device, wherever a program or a command may name one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from bnsharp_cli.measurement.surface import opened_surface, stacking
from bnsharp_cli.workflows import device as of_commands
from tests.simulated.backend import NAME
from tests.simulated.device import Simulation, simulated


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    """The device, which ``device`` and ``--device`` may name; points one after the other, as on the CPU in float32."""
    usable, chosen = opened_surface._usable_device, of_commands.chosen_device

    def known(name: object) -> bool:
        return str(name).startswith(NAME)

    with simulated() as running:
        place = torch.device(NAME, 0)
        monkeypatch.setattr(opened_surface, "_usable_device", lambda name: place if known(name) else usable(name))
        monkeypatch.setattr(of_commands, "chosen_device", lambda name: place if known(name) else chosen(name))
        monkeypatch.setattr(opened_surface, "_DEVICES", ("cpu", NAME))
        monkeypatch.setattr(stacking, "CUDA_STACK", 1)
        yield running
