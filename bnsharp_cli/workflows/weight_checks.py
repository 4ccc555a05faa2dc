"""What can be wrong with weights and buffers that load: rows that compute nothing, statistics that are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_SHOWN = 3
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True)
class DeadRows:
    """Rows of one tensor that are all zero.

    Attributes:
        name: of the tensor.
        dead: how many.
        rows: of how many.
    """

    name: str
    dead: int
    rows: int


def dead_rows(module: nn.Module) -> list[DeadRows]:
    """Rows of weights that are all zero, and scales of norms that are; the row of an embedding's padding is none.

    >>> layer = nn.Linear(3, 2)
    >>> _ = nn.init.zeros_(layer.weight[0])
    >>> dead_rows(layer)
    [DeadRows(name='weight', dead=1, rows=2)]
    """
    found = []
    for prefix, owner in module.named_modules():
        for own_name, tensor in owner.named_parameters(recurse=False):
            scales = isinstance(owner, _NORMS) and own_name == "weight"
            if (tensor.ndim < 2 and not scales) or tensor.layout is not torch.strided:
                continue
            dead = _zero_rows(tensor.detach(), scales)
            padding = getattr(owner, "padding_idx", None) if isinstance(owner, nn.Embedding | nn.EmbeddingBag) else None
            if padding is not None:
                dead[padding] = False
            if bool(dead.any()):
                found.append(DeadRows(f"{prefix}.{own_name}".lstrip("."), int(dead.sum()), len(dead)))
    return found


def dead_rows_in_words(found: Sequence[DeadRows]) -> str:
    """How many rows are zero, and where the most are.

    >>> dead_rows_in_words([DeadRows("conv1.weight", 2, 6)])
    'conv1.weight 2 of 6'
    """
    worst = sorted(found, key=lambda one: -one.dead)
    said = ", ".join(f"{one.name} {one.dead:,} of {one.rows:,}" for one in worst[:_SHOWN])
    return said + (f" and {len(worst) - _SHOWN:,} more tensors" if len(worst) > _SHOWN else "")


def unsound_buffers(module: nn.Module) -> list[str]:
    """What is wrong with the running statistics of norms, a sentence each.

    A count of zero is wrong only where the statistics are those of a network that was never trained: files from before
    torch counted have none.
    """
    return [
        f"{name}: {wrong}"
        for name, owner in module.named_modules()
        if has_statistics(owner)
        for wrong in _wrong_with(owner)
    ]


def has_statistics(module: nn.Module) -> bool:
    """Whether a module has running statistics."""
    return isinstance(getattr(module, "running_mean", None), Tensor) and isinstance(
        getattr(module, "running_var", None), Tensor
    )


def _wrong_with(module: nn.Module) -> Iterator[str]:
    mean, variance = module.running_mean.detach(), module.running_var.detach()  # type: ignore[operator]
    if not bool(torch.isfinite(mean).all()):
        yield "a running mean is not finite"
    if not bool(torch.isfinite(variance).all()):
        yield "a running variance is not finite"
    elif not bool((variance > 0).all()):
        number = int((variance <= 0).sum())
        yield f"{number:,} of {variance.numel():,} running variances are not positive"
    count = getattr(module, "num_batches_tracked", None)
    fresh = bool((mean == 0).all()) and bool((variance == 1).all())
    if isinstance(count, Tensor) and count.numel() == 1 and int(count) <= 0 and fresh:
        yield "its running statistics were never updated"


def _zero_rows(tensor: Tensor, scales: bool) -> Tensor:
    """Whether each row is all zero; of a norm's scales each number is a row."""
    rows = tensor.reshape(-1, 1) if scales else tensor.flatten(1)
    return (rows == 0).all(dim=1) if rows.shape[1] else torch.zeros(len(rows), dtype=torch.bool)
