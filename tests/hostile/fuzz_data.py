"""Spoiled images and NumPy archives by the thousand: refused by our own error or read soundly, and nothing else.

``python -m tests.hostile.fuzz_data --minutes 30`` searches for longer than the tests do, from another seed each round.
"""

from __future__ import annotations

import argparse
import faulthandler
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy

from bnsharp_cli.errors import DataRefusedError
from bnsharp_cli.io.data.archives import open_archive
from bnsharp_cli.io.data.images import ImageFolder
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.measurement.surface.data_stream import Batch
from tests.hostile.data_mutations import SPOILED_ARCHIVES, SPOILED_IMAGES
from tests.hostile.in_process import MOST_MEMORY, MOST_SECONDS, largest_memory, watched

_HANGS = 60
_ROUND = 1000
_OWN_SIZE, _RESIZED = Preprocessing(mean=(0.5,), std=(0.5,)), Preprocessing(image_size=8)


def image_refused_or_sound(content: bytes, path: Path) -> bool:
    """Whether an image was read; what was read are finite numbers.

    Raises:
        AssertionError: it took too long or too much memory, ran or said something, or is not sound; any other error is
            a defect as well.
    """
    path.write_bytes(content)
    folder = ImageFolder(("a",), (str(path),), torch.zeros(1, dtype=torch.int64))
    return all(_read(lambda chosen=chosen: folder.load(torch.arange(1), chosen)) for chosen in (_OWN_SIZE, _RESIZED))


def archive_refused_or_sound(content: bytes, path: Path) -> bool:
    """The same of an archive, of which the first and the last example are read."""
    path.write_bytes(content)

    def read() -> Batch:
        split = open_archive(path, "train")
        return split.load(torch.tensor([0, len(split) - 1]), Preprocessing())

    return _read(read)


def _read(read: Callable[[], Batch]) -> bool:
    began, memory = time.process_time(), largest_memory()
    refusal: DataRefusedError | None = None
    with _silence(), watched():
        try:
            inputs, targets = read()
        except DataRefusedError as error:
            refusal = error
    assert time.process_time() - began < MOST_SECONDS
    assert largest_memory() - memory < MOST_MEMORY
    if refusal is None:
        assert len(inputs) == len(targets) > 0
        return True
    assert refusal.remedy
    assert str(refusal).isprintable()
    return False


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing may be written to the terminal in here, by libraries in C neither."""
    with tempfile.TemporaryFile() as said:
        terminal = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
        said.seek(0)
        assert said.read() == b""


def _search(round_: int, strategy: SearchStrategy[bytes], refused_or_sound: Callable[[bytes, Path], bool]) -> None:
    path = Path(tempfile.gettempdir()) / f"spoiled-{os.getpid()}"

    @seed(round_)
    @settings(max_examples=_ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def property_(content: bytes) -> None:
        faulthandler.dump_traceback_later(_HANGS, exit=True)
        refused_or_sound(content, path)
        faulthandler.cancel_dump_traceback_later()

    property_()
    path.unlink()


def main() -> None:
    """Search for a number of minutes; the file that was last tried stays behind after a failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sys.stderr.write(f"From seed {arguments.seed} on.\n")
    end = time.monotonic() + 60 * arguments.minutes
    for round_ in itertools.count(arguments.seed):
        _search(round_, SPOILED_IMAGES, image_refused_or_sound)
        _search(round_, SPOILED_ARCHIVES, archive_refused_or_sound)
        if time.monotonic() > end:
            break
    sys.stderr.write(f"{(round_ - arguments.seed + 1) * 2 * _ROUND} files, nothing found.\n")


if __name__ == "__main__":
    main()
