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
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.hostile.in_process import folder_refused_or_sound, refused_or_sound
from tests.hostile.mutations import distributed, spoiled_tables
from tests.hostile.run_states import changes, state_refused_or_resumed
from tests.hostile.structured_mutations import SPOILED, divided_folders

_HANGS = 60


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


class Search(NamedTuple):
    """What is tried, what is asked of each, and how many are tried in a round."""

    strategy: st.SearchStrategy[Any]
    holds: Callable[[Any, Path], bool]
    examples: int


SEARCHES = (
    Search(SPOILED, file_refused_or_sound, 3000),
    Search(spoiled_tables(), table_refused_or_sound, 500),
    Search(divided_folders(), division_refused_or_sound, 500),
    Search(changes(), state_refused_or_resumed, 20),
)


def _search(round_: int, folder: Path, search: Search) -> None:
    @seed(round_)
    @settings(max_examples=search.examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(search.strategy)
    def property_(spoiled: Any) -> None:
        faulthandler.dump_traceback_later(_HANGS, exit=True)
        search.holds(spoiled, folder)
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
        for search in SEARCHES:
            _search(round_, folder, search)
        if time.monotonic() > end:
            break
    tried = (round_ - arguments.seed + 1) * sum(search.examples for search in SEARCHES)
    sys.stderr.write(f"{tried} files, nothing found; the next seed is {round_ + 1}.\n")


if __name__ == "__main__":
    main()
