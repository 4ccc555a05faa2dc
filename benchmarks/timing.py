"""Isolation and bookkeeping: a process per method, peak memory, and results that survive an interruption."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]
_KIB_PER_MIB = 1024

Record = dict[str, Any]


class Memory:
    """Peak resident memory above what was resident when this was made (Linux)."""

    def __init__(self) -> None:
        self._before = _status_kib("VmRSS")

    def reset(self) -> None:
        """Forget the peak so far."""
        Path("/proc/self/clear_refs").write_text("5")

    def peak_mib(self) -> float:
        """The peak since the last reset, MiB."""
        return (_status_kib("VmHWM") - self._before) / _KIB_PER_MIB


class Worker:
    """A process that runs one method of one network; see :mod:`benchmarks.worker`."""

    def __init__(self, **arguments: Any) -> None:
        threads = str(arguments["threads"])
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "passive"}
        command = [sys.executable, "-m", "benchmarks.worker", json.dumps(arguments)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def wait(self) -> None:
        """Until the network is loaded."""
        self._answer()

    def ask(self, **request: Any) -> Record:
        """One run."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return dict(self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a benchmark process ended with status {self._process.wait()}")
        return json.loads(line)


class Store:
    """An append-only file of records, one JSON line each, found again by their keys."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.records: list[Record] = [json.loads(line) for line in lines]

    def has(self, key: Mapping[str, Any]) -> bool:
        """Whether a record of that key is there."""
        return any(record["key"] == key for record in self.records)

    def compute(self, key: Mapping[str, Any], measure: Callable[[], Record]) -> None:
        """Measure and write unless it is there."""
        if self.has(key):
            return
        record = {"key": dict(key), **measure()}
        self.records.append(record)
        with self._path.open("a") as stream:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")

    def select(self, **parts: Any) -> list[Record]:
        """The records whose keys have these entries, in order of their writing."""
        return [record for record in self.records if parts.items() <= record["key"].items()]


def _status_kib(entry: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{entry}:"):
            return int(line.split()[1])
    raise RuntimeError(f"the kernel does not report {entry}")
