"""What torch and safetensors read in a file that we read too: the same, or the difference is a defect.

Only bytes that the tests have made are handed to them. What they refuse is no difference: their rules are others.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from bnsharp_cli.io.containers.built_content import UnreadObject
from bnsharp_cli.io.containers.read_container import Container


def require_what_others_read(content: bytes, container: Container) -> bool:
    """Hold what we have read against what the format's own library reads; whether it reads the file at all.

    Raises:
        AssertionError: they differ.
    """
    try:
        if container.kind == "safetensors":
            theirs: Any = load(content)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (SafetensorError, KeyError, Exception):
        return False
    require_equal(container.content, theirs)
    return True


def require_equal(ours: Any, theirs: Any, where: str = "content") -> None:
    """Refuse any difference but those that are meant: plain containers, texts instead of dtypes and devices.

    What we do not read may be anything but a tensor.

    Raises:
        AssertionError: naming the place.
    """
    if isinstance(ours, UnreadObject):
        assert not isinstance(theirs, Tensor), where
    elif isinstance(theirs, Tensor):
        assert type(ours) is Tensor, where
        assert ours.dtype == theirs.dtype, where
        assert ours.shape == theirs.shape, where
        assert ours.stride() == theirs.stride(), where
        assert bytes_of(ours) == bytes_of(theirs), where
    elif isinstance(theirs, Mapping):
        assert type(ours) is dict, where
        read = {key: value for key, value in theirs.items() if not _is_large(key)}
        assert {key for key in ours if not _is_unread(key)} == {*read}, where
        assert len(ours) == len(theirs), where
        for key, value in read.items():
            require_equal(ours[key], value, f"{where}[{key!r}]")
    elif isinstance(theirs, list | tuple):
        assert isinstance(ours, Sequence), where
        assert len(ours) == len(theirs), where
        for index, value in enumerate(theirs):
            require_equal(ours[index], value, f"{where}[{index}]")
    elif isinstance(theirs, set):
        assert isinstance(ours, set | list), where
        assert {*ours} == theirs, where
    elif isinstance(theirs, type):
        assert ours == theirs.__name__, where
    elif isinstance(theirs, torch.dtype | torch.device):
        assert ours == str(theirs).removeprefix("torch."), where
    else:
        assert ours == theirs or (ours != ours and theirs != theirs), where


def _is_unread(key: object) -> bool:
    return any(isinstance(part, UnreadObject) for part in (key if isinstance(key, tuple) else (key,)))


def _is_large(key: object) -> bool:
    """Whether a key is a tensor or a storage, or holds an integer, that we do not read."""
    if isinstance(key, Tensor | torch.UntypedStorage | torch.TypedStorage):
        return True
    return any(isinstance(part, int) and abs(part) >= 2**64 for part in (key if isinstance(key, tuple) else (key,)))


def bytes_of(tensor: Tensor) -> bytes:
    """The elements in the order of their indices, bit by bit."""
    if not tensor.numel():
        return b""
    flat = torch.empty(tensor.numel(), dtype=tensor.dtype).copy_(tensor.detach().reshape(-1))
    return flat.view(torch.uint8).numpy().tobytes()
