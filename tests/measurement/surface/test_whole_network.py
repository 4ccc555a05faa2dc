"""Networks that a process does not have as a whole are refused, and what the refusal says to do works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from accelerate import cpu_offload, dispatch_model
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError

OPTIONS = {"memory": "small", "noise_draws": 2}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 4, generator=generator), torch.randint(3, (8,), generator=generator))]


@pytest.fixture
def group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_what_fsdp_shared_out_is_gathered_as_the_refusal_says(group: None) -> None:
    sharded = network()
    fully_shard(sharded, mesh=init_device_mesh("cpu", (1,)))
    with pytest.raises(
        NotMeasurableError, match=r"shared out among several processes\. Measure a whole copy"
    ) as refusal:
        bnsharp_cli.measure(sharded, batches(), name="noise")
    assert f"{get_model_state_dict.__module__}.{get_model_state_dict.__name__}(model, " in refusal.value.remedy
    assert "options=StateDictOptions(full_state_dict=True)" in refusal.value.remedy
    whole = network()
    whole.load_state_dict(get_model_state_dict(sharded, options=StateDictOptions(full_state_dict=True)))
    found = bnsharp_cli.measure(whole, batches(), name="noise", **OPTIONS)
    assert found.value == bnsharp_cli.measure(network(), batches(), name="noise", **OPTIONS).value


def test_what_is_fetched_from_elsewhere_is_refused_with_what_to_do(tmp_path: Path) -> None:
    spread = dispatch_model(
        network(), {"0": "cpu", "1": "cpu", "2": "disk"}, main_device="cpu", offload_dir=tmp_path, force_hooks=True
    )
    spread.hf_device_map = {"0": "cpu", "1": "cpu", "2": "disk"}
    for model, where in ((spread, "cpu and disk"), (cpu_offload(network(), torch.device("cpu")), "memory")):
        with pytest.raises(NotMeasurableError, match=rf"spread over {where}.*from_pretrained\(…\) without device_map"):
            bnsharp_cli.measure(model, batches(), name="noise")


def test_a_map_of_one_device_is_none() -> None:
    whole = network()
    whole.hf_device_map = {"": "cpu"}
    assert bnsharp_cli.measure(whole, batches(), name="noise", **OPTIONS).value
