"""Spoiled checkpoints by the thousand: refused by our own error or read soundly, and nothing else.

``python -m tests.hostile.fuzz --minutes 30`` searches for longer than the tests do, from another seed each round.
"""

from __future__ import annotations

import argparse
import faulthandler
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.hostile.in_process import folder_refused_or_sound, refused_or_sound
from tests.hostile.mutations import distributed, spoiled_tables
from tests.hostile.structured_mutations import SPOILED, divided_folders

_HANGS = 60
_ROUND = 1000


def file_refused_or_sound(content: bytes, folder: Path) -> bool:
    """Whether a file of these bytes was read; what was read is sound."""
    (folder / "net.pt").write_bytes(content)
    return refused_or_sound(folder / "net.pt")


def table_refused_or_sound(table: bytes, folder: Path) -> bool:
    """The same of a distributed checkpoint with another table of contents."""
    return _whole_folder({**distributed(), ".metadata": table}, folder / "spoiled", trusted=False)


def division_refused_or_sound(files: Mapping[str, bytes], folder: Path) -> bool:
    """The same of a distributed checkpoint whose table holds no code, so that torch may read it too."""
    return _whole_folder(files, folder / "divided", trusted=True)


def _whole_folder(files: Mapping[str, bytes], folder: Path, *, trusted: bool) -> bool:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder_refused_or_sound(folder, trusted=trusted)


SEARCHES: tuple[tuple[st.SearchStrategy[Any], Callable[[Any, Path], bool]], ...] = (
    (SPOILED, file_refused_or_sound),
    (spoiled_tables(), table_refused_or_sound),
    (divided_folders(), division_refused_or_sound),
)
"""What is tried, and what is asked of each."""


def _search(round_: int, folder: Path, strategy: st.SearchStrategy[Any], holds: Callable[[Any, Path], bool]) -> None:
    @seed(round_)
    @settings(max_examples=_ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def property_(spoiled: Any) -> None:
        faulthandler.dump_traceback_later(_HANGS, exit=True)
        holds(spoiled, folder)
        faulthandler.cancel_dump_traceback_later()

    property_()


def main() -> None:
    """Search for a number of minutes; the file that was last tried stays behind after a failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    sys.stderr.write(f"Trying {folder} from seed {arguments.seed} on.\n")
    end = time.monotonic() + 60 * arguments.minutes
    for round_ in itertools.count(arguments.seed):
        for strategy, holds in SEARCHES:
            _search(round_, folder, strategy, holds)
        if time.monotonic() > end:
            break
    sys.stderr.write(f"{(round_ - arguments.seed + 1) * len(SEARCHES) * _ROUND} files, nothing found.\n")


if __name__ == "__main__":
    main()
