"""Reading in this process: what it costs is counted, what it does is watched, what it makes is held against others."""

from __future__ import annotations

import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import torch

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.containers import read_container as reading
from bnsharp_cli.io.containers.limited_process import described_here
from bnsharp_cli.io.containers.read_container import read_container
from tests.hostile.differences import require_equal, require_what_others_read

MOST_SECONDS = 5
MOST_MEMORY = 200 * 2**20
_FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.", "pickle.find_class")

T = TypeVar("T")

_watching = [False]


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if _watching[0] and event.startswith(_FORBIDDEN):
        _watching[0] = False
        raise AssertionError(f"{event} {arguments}")


sys.addaudithook(_audit)


@contextmanager
def watched() -> Iterator[None]:
    """Nothing may be executed, connected to or looked up by a pickle in here."""
    _watching[0] = True
    try:
        yield
        assert _watching[0], "something was executed, and its failure hidden"
    finally:
        _watching[0] = False


def refused_or_sound(path: Path) -> bool:
    """Whether a file was read; what was read is finite, dense, backed by bytes of its own, and what others read.

    Raises:
        AssertionError: it took too long, ran something, or is not sound; any other error is a defect as well.
    """
    checkpoint = bounded(lambda: load_checkpoint(path))
    container = bounded(lambda: read_container(path))
    if container is not None:
        require_what_others_read(path.read_bytes(), container)
    for name, tensor in checkpoint.state_dict.items() if checkpoint else ():
        assert isinstance(name, str)
        assert type(tensor) is torch.Tensor
        assert tensor.layout is torch.strided
        assert tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
        assert bool(torch.isfinite(tensor.clone()).all())
    return container is not None


def folder_refused_or_sound(folder: Path, *, trusted: bool = False) -> bool:
    """The same of a folder of ``torch.distributed.checkpoint``; torch unpickles the table of a ``trusted`` one."""
    bounded(lambda: load_checkpoint(folder))
    container = bounded(lambda: read_container(folder))
    if container is not None and trusted:
        theirs = _by_torch(folder)
        if theirs is not None:
            require_equal(container.content, theirs)
    return container is not None


def _by_torch(folder: Path) -> Any:
    from torch.distributed.checkpoint import FileSystemReader
    from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
    from torch.distributed.checkpoint.state_dict_loader import _load_state_dict

    content: dict[str, Any] = {}
    planner = _EmptyStateDictLoadPlanner()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _load_state_dict(content, storage_reader=FileSystemReader(folder), planner=planner, no_dist=True)
    except BaseException:  # torch wraps whatever it meets
        return None
    return content


def bounded(read: Callable[[], T]) -> T | None:
    """What was read, or nothing where it was refused; in either case within the bounds."""
    began, memory = time.process_time(), largest_memory()
    refusal: CheckpointRefusedError | None = None
    result: T | None = None
    try:
        with patch.object(reading, "described", described_here), watched():  # no process for each of thousands
            result = read()
    except CheckpointRefusedError as error:
        refusal = error
    assert time.process_time() - began < MOST_SECONDS
    assert largest_memory() - memory < MOST_MEMORY
    if refusal is not None:
        assert refusal.reason
        assert refusal.remedy
        assert str(refusal).isprintable()
    return result


def largest_memory() -> int:
    """Bytes of memory that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
