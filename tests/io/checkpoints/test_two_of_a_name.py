"""Files that hold two things of one name: which is meant cannot be told, so neither is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.checkpoints.state_dicts import find_state_dicts
from bnsharp_cli.io.networks.weight_norm import modern_names, weights_with_norm


def weights(value: float) -> dict[str, Tensor]:
    return {"w": torch.full((2, 2), value)}


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": weights(1), "": {"state_dict": weights(0)}},
        {"": {"state_dict": weights(0)}, "state_dict": weights(1)},
        {"state_dict.x": weights(0), "state_dict": {"x": weights(1)}},
        {"a": {"b.c": weights(0)}, "a.b": {"c": weights(1)}},
    ],
)
@pytest.mark.parametrize("key", [None, "state_dict"])
def test_two_state_dicts_at_one_path_are_refused(tmp_path: Path, content: dict[str, object], key: str | None) -> None:
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(CheckpointRefusedError, match="two entries that are both called"):
        load_checkpoint(tmp_path / "net.pt", key)


def test_entries_of_different_names_are_found() -> None:
    assert [*find_state_dicts({"model": {"a": weights(1), "b": weights(2)}, "ema": weights(3)})] == [
        "ema",
        "model.a",
        "model.b",
    ]


def test_weight_norm_under_both_kinds_of_names_is_left_alone() -> None:
    old = {"conv.weight_g": torch.ones(2, 1), "conv.weight_v": torch.ones(2, 3)}
    new = {
        "conv.parametrizations.weight.original0": torch.zeros(2, 1),
        "conv.parametrizations.weight.original1": torch.zeros(2, 3),
    }
    assert weights_with_norm(modern_names(old)) == ["conv.weight"]
    assert modern_names({**old, **new}).keys() == {**old, **new}.keys()
