"""The monitor where several processes train: one measures, and none waits for the others for ever."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
from torch import nn

from bnsharp_cli.integrations.monitor import SharpnessMonitor
from tests.integrations.test_monitor import batches, network


def of_fsdp() -> nn.Module:
    return type("FullyShardedDataParallel", (nn.Linear,), {"__module__": "torch.distributed.fsdp.whatever"})(6, 3)


def of_deepspeed() -> nn.Module:
    model = nn.Linear(6, 3)
    model.weight.ds_tensor = torch.zeros(1)
    return model


@pytest.mark.parametrize("made", [of_fsdp, of_deepspeed])
def test_a_network_that_is_shared_out_is_refused_before_a_pass(made: Callable[[], nn.Module]) -> None:
    passes: list[int] = []
    model = made()
    model.register_forward_hook(lambda *_: passes.append(1))
    with pytest.warns(UserWarning, match=r"shared out among several processes\. Save a whole checkpoint"):
        assert SharpnessMonitor(batches())(model)["reasons"]
    assert passes == []


def test_only_the_first_process_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = SharpnessMonitor(batches(), every=1)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    assert monitor(network()) is None
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    assert monitor(network())["bn"] > 0
