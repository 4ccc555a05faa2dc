"""Weights that are not in the file that was named: what they are, and how to get the whole ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from tests.io.checkpoints.test_weights import net, weights


def test_empty_weights_are_named_as_those_of_zero_3(tmp_path: Path) -> None:
    parameters = {name for name, _ in net().named_parameters()}
    emptied = {name: torch.empty(0) if name in parameters else tensor for name, tensor in weights().items()}
    torch.save({"module": emptied}, tmp_path / "net.pt")
    with pytest.raises(CheckpointRefusedError, match=r"'0\.weight' and 5 more of 8 tensors are empty") as caught:
        load_checkpoint(tmp_path / "net.pt")
    assert "zero_to_fp32.py" in caught.value.remedy


def test_few_empty_buffers_are_no_reason(tmp_path: Path) -> None:
    torch.save({**weights(), "none": torch.empty(0)}, tmp_path / "net.pt")
    assert "none" in load_checkpoint(tmp_path / "net.pt").state_dict


def test_the_remedy_for_distributed_tensors_works_as_printed(tmp_path: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/init", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        sharded = {
            name: distribute_tensor(tensor, mesh, [Shard(0)]) if tensor.ndim else tensor
            for name, tensor in weights().items()
        }
        torch.save(sharded, tmp_path / "net.pt")
        with pytest.raises(CheckpointRefusedError, match="DTensor") as caught:
            load_checkpoint(tmp_path / "net.pt")
        printed = re.search(r"torch\.save\(.*\)(?=, on all)", caught.value.remedy)
        assert printed

        class Model:
            def state_dict(self) -> dict[str, torch.Tensor]:
                return sharded

        exec(printed[0], {"torch": torch, "model": Model(), "FILE": tmp_path / "whole.pt"})
    finally:
        distributed.destroy_process_group()
    whole = load_checkpoint(tmp_path / "whole.pt").state_dict
    assert all(torch.equal(whole[name], tensor) for name, tensor in weights().items())
