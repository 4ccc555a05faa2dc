"""Checkpoints in and out: only tensors and plain containers, always ``weights_only=True``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.atomic import write_atomically
from bnsharp_cli.io.container import SAVE_WEIGHTS, read_container, verify_state_dict
from bnsharp_cli.io.text import one_line

FORMAT = "bnsharp/1"
_WRAPPERS = ("state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema", "net")
_PREFIXES = ("module.", "_orig_mod.")
_KEYS_SHOWN = 3


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says, verified but not yet put into a network.

    Attributes:
        path: the file.
        sha256: of its bytes.
        format: ``bnsharp/1``, ``state_dict`` or ``safetensors``.
        state_dict: parameters and buffers by name.
        metadata: plain entries beside the weights: architecture, data, preprocessing, training, …
        norm_epsilon: ε per channel of each norm call, for copies made by ``rescale-test``; empty otherwise.
    """

    path: Path
    sha256: str
    format: str
    state_dict: Mapping[str, Tensor]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    norm_epsilon: tuple[Tensor, ...] = ()


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without executing anything in it.

    Raises:
        CheckpointRefusedError: with one line of reason and one of remedy.
    """
    container = read_container(path)
    content = container.content
    own = content.get("format") == FORMAT
    state_dict = _without_prefixes(_find_state_dict(path, content))
    verify_state_dict(path, state_dict)
    epsilon = content.get("norm_epsilon", []) if own else []
    if not isinstance(epsilon, list) or not all(isinstance(entry, Tensor) for entry in epsilon):
        raise CheckpointRefusedError(f"{path}: 'norm_epsilon' is not a list of tensors.", "Write the copy again.")
    return Checkpoint(
        path=path,
        sha256=container.sha256,
        format=FORMAT if own else ("safetensors" if container.kind == "safetensors" else "state_dict"),
        state_dict=state_dict,
        metadata={key: value for key, value in content.items() if key not in {"state_dict", "norm_epsilon"}}
        if own
        else {},
        norm_epsilon=tuple(epsilon),
    )


def save_checkpoint(path: Path, state_dict: Mapping[str, Tensor], **entries: object) -> None:
    """Write our own format atomically; ``entries`` are plain containers, strings, numbers and tensors."""
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in state_dict.items()}
    content = {"format": FORMAT, "state_dict": tensors, **entries}
    write_atomically(path, lambda stream: torch.save(content, stream))


def fit(module: torch.nn.Module, checkpoint: Checkpoint) -> None:
    """Put the checkpoint's weights into ``module``, all of them and nothing else.

    A missing ``num_batches_tracked`` is accepted (files older than torch 0.4.1 lack it).

    Raises:
        CheckpointRefusedError: names or shapes that do not fit the architecture.
    """
    expected = module.state_dict()
    found = checkpoint.state_dict
    missing = [name for name in expected if name not in found and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in found if name not in expected]
    misshapen = [name for name in expected if name in found and expected[name].shape != found[name].shape]
    problems = [f"lacks {_some(missing)}"] if missing else []
    problems += [f"has unknown {_some(unexpected)}"] if unexpected else []
    problems += [
        f"{one_line(name)} is {tuple(found[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in misshapen[:1]
    ]
    if problems:
        raise CheckpointRefusedError(
            f"{checkpoint.path} does not fit the architecture: it {'; '.join(problems)}.",
            "Name the right network with --arch (and --arch-option).",
        )
    if any(tensor.dtype == torch.float64 for tensor in found.values()):
        module.double()
    module.load_state_dict(dict(found), strict=False)


def _find_state_dict(path: Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    candidates = [content[key] for key in _WRAPPERS if isinstance(content.get(key), dict)] or [content]
    state_dict = candidates[0]
    if not state_dict or not all(isinstance(key, str) for key in state_dict):
        raise CheckpointRefusedError(f"{path} holds no named tensors.", SAVE_WEIGHTS)
    strangers = [key for key, value in state_dict.items() if not isinstance(value, Tensor)]
    if strangers:
        kind = type(state_dict[strangers[0]]).__name__
        raise CheckpointRefusedError(
            f"{path}: '{one_line(strangers[0])}' is a {kind}, expected a tensor of a state_dict.",
            SAVE_WEIGHTS,
        )
    return dict(state_dict)


def _without_prefixes(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES * 2:
        if all(name.startswith(prefix) for name in state_dict):
            state_dict = {name.removeprefix(prefix): tensor for name, tensor in state_dict.items()}
    return state_dict


def _some(names: list[str]) -> str:
    shown = ", ".join(one_line(name) for name in names[:_KEYS_SHOWN])
    return shown + (f" and {len(names) - _KEYS_SHOWN} more" if len(names) > _KEYS_SHOWN else "")
