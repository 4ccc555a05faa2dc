"""Every kind of hostile file, read in this process: refused, or read as torch and safetensors read it."""

from __future__ import annotations

import importlib
import math
from itertools import groupby
from pathlib import Path

import pytest

from tests.hostile.forge import MARKER
from tests.hostile.harness import Harness
from tests.hostile.in_process import folder_refused_or_sound, refused_or_sound
from tests.hostile.kinds import KINDS
from tests.hostile.test_checkpoints import measure, one_line

for _name in ("zip_kinds", "pickle_kinds", "tensor_kinds", "safetensors_kinds", "folder_kinds"):
    importlib.import_module(f"tests.hostile.{_name}")

SAMPLED = 100
"""One of so many goes through the command too, and one of each mechanism."""

TOGETHER = 100
"""So many files of one mechanism are one test: a test for each would take longer than reading it."""


def _groups() -> dict[str, list[str]]:
    """The parameters of one mechanism are spread over its groups, so that the first one has some of all kinds."""
    groups = {}
    for mechanism, entries in groupby(sorted(KINDS), key=lambda name: name.partition("[")[0]):
        names = [*entries]
        parts = math.ceil(len(names) / TOGETHER)
        groups |= {f"{mechanism}-{number}": names[number::parts] for number in range(parts)}
    return groups


GROUPS = _groups()
SAMPLE = sorted({*[*KINDS][::SAMPLED], *(names[0] for group, names in GROUPS.items() if group.endswith("-0"))})


FURTHER = pytest.mark.slow(
    reason="more parameters of a mechanism, of which a hundred are always tried",
    quick="tests/hostile/test_kinds.py::test_kinds_are_refused_or_read_as_others_read_them",
)


@pytest.mark.parametrize(
    "names",
    [pytest.param(names, id=group, marks=() if group.endswith("-0") else FURTHER) for group, names in GROUPS.items()],
)
def test_kinds_are_refused_or_read_as_others_read_them(tmp_path: Path, names: list[str]) -> None:
    failures = []
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            refused_or_read_as_others_read_it(folder, name)
        except Exception as failure:
            failure.add_note(name)
            failures.append(failure)
    if failures:
        raise ExceptionGroup("kinds that are neither refused nor sound", failures)


def refused_or_read_as_others_read_it(folder: Path, name: str) -> None:
    kind = KINDS[name]
    path = kind.write(folder)
    read = folder_refused_or_sound(path, trusted=kind.harmless) if path.is_dir() else refused_or_sound(path)
    assert kind.harmless or not read
    assert not (folder / MARKER).exists()


def test_every_kind_is_in_a_group_and_every_failure_in_a_group_is_told(tmp_path: Path) -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(KINDS)
    harmless = next(name for name in KINDS if KINDS[name].harmless)
    with pytest.raises(ExceptionGroup) as caught:
        test_kinds_are_refused_or_read_as_others_read_them(tmp_path, ["not in the table", harmless, "neither"])
    assert [failure.__notes__ for failure in caught.value.exceptions] == [["not in the table"], ["neither"]]


@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_is_refused_by_the_command(command: Harness, tmp_path: Path, name: str) -> None:
    path = KINDS[name].write(tmp_path)
    finished = measure(command, path, tmp_path)
    assert finished.code == 3, finished  # what is harmless has not the weights of this network
    one_line(finished)
    assert not (tmp_path / MARKER).exists()
