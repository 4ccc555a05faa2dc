"""Spoiled checkpoints by the thousand: refused by our own error or read soundly, and nothing else.

``python -m tests.hostile.fuzz --minutes 30`` searches for longer than the tests do, from another seed each round.
"""

from __future__ import annotations

import argparse
import faulthandler
import itertools
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import torch
from hypothesis import HealthCheck, given, seed, settings

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.containers import read_container as reading
from bnsharp_cli.io.containers.limited_process import described_here
from bnsharp_cli.io.containers.read_container import read_container
from tests.hostile.differences import require_what_others_read
from tests.hostile.mutations import SPOILED, distributed, spoiled_tables

MOST_SECONDS = 5
MOST_MEMORY = 200 * 2**20
_HANGS = 60
_ROUND = 1000
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


def refused_or_sound(content: bytes, path: Path) -> bool:
    """Whether a checkpoint was read; what was read is finite, dense and backed by bytes of its own.

    Raises:
        AssertionError: it took too long, ran something, or is not sound; any other error is a defect as well.
    """
    path.write_bytes(content)
    checkpoint = _read(lambda: load_checkpoint(path))
    container = _read(lambda: read_container(path))
    if container is not None:
        require_what_others_read(content, container)
    for name, tensor in checkpoint.state_dict.items() if checkpoint else ():
        assert isinstance(name, str)
        assert type(tensor) is torch.Tensor
        assert tensor.layout is torch.strided
        assert tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
        assert bool(torch.isfinite(tensor.clone()).all())
    return checkpoint is not None


def table_refused_or_sound(table: bytes, folder: Path) -> bool:
    """The same of a distributed checkpoint with another table of contents; what is read are its own tensors."""
    for name, content in distributed().items():
        (folder / name).write_bytes(table if name == ".metadata" else content)
    container = _read(lambda: read_container(folder))
    assert container is None or isinstance(container.content, dict)
    return container is not None


def _read(read: Callable[[], T]) -> T | None:
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
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _search(round_: int, folder: Path) -> None:
    @seed(round_)
    @settings(max_examples=_ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(SPOILED)
    def property_(content: bytes) -> None:
        faulthandler.dump_traceback_later(_HANGS, exit=True)
        refused_or_sound(content, folder / "net.pt")
        faulthandler.cancel_dump_traceback_later()

    @seed(round_)
    @settings(max_examples=_ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(spoiled_tables())
    def table_property(table: bytes) -> None:
        faulthandler.dump_traceback_later(_HANGS, exit=True)
        table_refused_or_sound(table, folder)
        faulthandler.cancel_dump_traceback_later()

    property_()
    table_property()


def main() -> None:
    """Search for a number of minutes; the file that was last tried stays behind after a failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    sys.stderr.write(f"Trying {folder / 'net.pt'} from seed {arguments.seed} on.\n")
    end = time.monotonic() + 60 * arguments.minutes
    for round_ in itertools.count(arguments.seed):
        _search(round_, folder)
        if time.monotonic() > end:
            break
    sys.stderr.write(f"{(round_ - arguments.seed + 1) * 2 * _ROUND} files, nothing found.\n")


if __name__ == "__main__":
    main()
