"""Which tensors can be weights."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints import sound_weights
from bnsharp_cli.io.checkpoints.sound_weights import verify_state_dict
from bnsharp_cli.io.containers.read_container import read_container

FILE = Path("net.pt")


def test_the_examples_are_true() -> None:
    assert doctest.testmod(sound_weights) == (0, 1)


@pytest.mark.parametrize(
    ("name", "tensor", "reason", "found"),
    [
        ("a", torch.eye(2).to_sparse(), "is not a plain dense tensor", "torch.sparse_coo, torch.float32, on cpu"),
        ("a", torch.tensor([1, complex(0, torch.nan)]), "has 1 NaN or infinite of 2", "1 NaN or infinite values"),
        ("a", torch.ones(2, dtype=torch.int8), "is torch.int8, expected floating weights", torch.int8),
        ("a", torch.ones(2).to(torch.float8_e5m2), "expected 16 bits or more", torch.float8_e5m2),
        ("a", torch.tensor([1.0, torch.inf, torch.nan]), "has 2 NaN or infinite of 3", "2 NaN or infinite values"),
        ("bn.running_var", torch.tensor([1.0, -0.5]), "has a negative variance", -0.5),
    ],
)
def test_what_is_no_weight_is_refused(name: str, tensor: Tensor, reason: str, found: object) -> None:
    with pytest.raises(CheckpointRefusedError, match=reason) as refused:
        verify_state_dict(FILE, {"sound": torch.ones(2), name: tensor})
    assert refused.value.reason.startswith(f"net.pt: '{name}' ")
    assert refused.value.found == found


def test_weights_and_counts_pass() -> None:
    counts = {str(dtype): torch.ones(2).to(dtype) for dtype in (torch.int64, torch.int32, torch.bool)}
    halves = {str(dtype): torch.ones(2).to(dtype) for dtype in (torch.float16, torch.bfloat16, torch.float64)}
    verify_state_dict(FILE, {**counts, **halves, "mean": torch.tensor([-1.0]), "phase": torch.tensor([1 + 2j])})


def test_unused_tensors_need_not_be_weights(tmp_path: Path) -> None:
    torch.save({"moments": torch.ones(3, dtype=torch.int8), "bad": torch.tensor([float("nan")])}, tmp_path / "net.pt")
    content = read_container(tmp_path / "net.pt").content
    for name, says in (("moments", "int8"), ("bad", "NaN")):
        with pytest.raises(CheckpointRefusedError, match=says):
            verify_state_dict(tmp_path / "net.pt", {name: content[name]})
