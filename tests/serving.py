"""A process that imports torch once and then does what it is told, a line of JSON at a time."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Server:
    """What asks it."""

    process: subprocess.Popen[str]

    def ask(self, plan: dict[str, Any]) -> Any:
        """Its answer to ``plan``."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(plan) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextmanager
def served_by(module: str, **environment: str) -> Iterator[Server]:
    """A process that runs ``module``, with one thread and 80 columns."""
    with subprocess.Popen(
        [sys.executable, "-m", module],
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80", **environment},
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Server(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


def serve(run: Callable[[dict[str, Any]], Any]) -> None:
    """Answer every line by what ``run`` makes of it, in that process."""
    gc.collect()
    gc.freeze()  # a collection in a forked child would copy every page
    for line in sys.stdin:
        sys.stdout.write(json.dumps(run(json.loads(line))) + "\n")
        sys.stdout.flush()
