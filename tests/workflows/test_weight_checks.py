"""Rows that compute nothing, and running statistics that are none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnsharp_cli.workflows.weight_checks import DeadRows, dead_rows, dead_rows_in_words, unsound_buffers


def zeroed(module: nn.Module, **rows: int) -> nn.Module:
    """The module with the first rows of some parameters zero, and no other number."""
    for name, tensor in module.named_parameters():
        nn.init.constant_(tensor, 0.5)
        with torch.no_grad():
            tensor[: rows.get(name, 0)] = 0
    return module


@pytest.mark.parametrize(
    ("module", "rows", "found"),
    [
        (nn.Linear(3, 4), {"weight": 2}, [DeadRows("weight", 2, 4)]),
        (nn.Linear(3, 4), {"bias": 2}, []),
        (nn.Conv2d(1, 5, 3), {"weight": 1}, [DeadRows("weight", 1, 5)]),
        (nn.BatchNorm1d(6), {"weight": 3, "bias": 6}, [DeadRows("weight", 3, 6)]),
        (nn.LayerNorm((2, 3)), {"weight": 1}, [DeadRows("weight", 3, 6)]),
        (nn.GroupNorm(2, 4), {"weight": 4}, [DeadRows("weight", 4, 4)]),
        (nn.RMSNorm(4), {"weight": 1}, [DeadRows("weight", 1, 4)]),
        (nn.BatchNorm1d(6, affine=False), {}, []),
        (nn.PReLU(4), {"weight": 4}, []),
        (nn.Embedding(5, 2, padding_idx=0), {"weight": 1}, []),
        (nn.Embedding(5, 2, padding_idx=0), {"weight": 2}, [DeadRows("weight", 1, 5)]),
        (nn.MultiheadAttention(4, 2), {"in_proj_weight": 4}, [DeadRows("in_proj_weight", 4, 12)]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_dead_rows(module: nn.Module, rows: dict[str, int], found: list[DeadRows]) -> None:
    assert dead_rows(zeroed(module, **rows)) == found


def test_complex_and_nested_rows_have_their_full_names() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 3, dtype=torch.complex64)))
    with torch.no_grad():
        module[1][0].weight[:] = 0
        module[1][0].weight[0] = 1j
    assert dead_rows(module) == [DeadRows("1.0.weight", 2, 3)]


def test_the_most_are_named_first() -> None:
    found = [DeadRows(str(number), number, 9) for number in range(1, 6)]
    assert dead_rows_in_words(found) == "5 5 of 9, 4 4 of 9, 3 3 of 9 and 2 more tensors"


def norm(mean: float = 0.5, variance: float = 2.0, count: int | None = 7) -> nn.Module:
    module = nn.BatchNorm2d(3)
    assert module.running_mean is not None
    assert module.running_var is not None
    module.running_mean.fill_(mean)
    module.running_var.fill_(variance)
    module.num_batches_tracked = None if count is None else torch.tensor(count)
    return nn.Sequential(module)


@pytest.mark.parametrize(
    ("module", "found"),
    [
        (norm(), []),
        (norm(mean=float("nan")), ["0: a running mean is not finite"]),
        (norm(variance=float("inf")), ["0: a running variance is not finite"]),
        (norm(variance=0.0), ["0: 3 of 3 running variances are not positive"]),
        (norm(count=0), []),
        (norm(count=None), []),
        (norm(0.0, 1.0, 0), ["0: its running statistics were never updated"]),
        (norm(0.0, 1.0, 3), []),
        (nn.Sequential(nn.BatchNorm2d(3)), ["0: its running statistics were never updated"]),
        (nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.LayerNorm(3)), []),
    ],
    ids=str,
)
def test_running_statistics(module: nn.Module, found: list[str]) -> None:
    assert unsound_buffers(module) == found
