"""Every kind of hostile file, read in this process: refused, or read as torch and safetensors read it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.forge import MARKER
from tests.hostile.harness import Harness, harness
from tests.hostile.in_process import folder_refused_or_sound, refused_or_sound
from tests.hostile.kinds import KINDS
from tests.hostile.test_checkpoints import measure, one_line

for _name in ("zip_kinds", "pickle_kinds", "tensor_kinds", "safetensors_kinds", "folder_kinds"):
    importlib.import_module(f"tests.hostile.{_name}")

SAMPLED = 25
"""One of so many goes through the command too."""


@pytest.fixture(scope="module")
def command() -> Iterator[Harness]:
    with harness() as running:
        yield running


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_refused_or_read_as_others_read_it(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    path = kind.write(tmp_path)
    read = folder_refused_or_sound(path, trusted=kind.harmless) if path.is_dir() else refused_or_sound(path)
    assert kind.harmless or not read
    assert not (tmp_path / MARKER).exists()


@pytest.mark.parametrize("name", [*KINDS][::SAMPLED])
def test_a_sample_is_refused_by_the_command(command: Harness, tmp_path: Path, name: str) -> None:
    path = KINDS[name].write(tmp_path)
    finished = measure(command, path, tmp_path)
    assert finished.code == 3, finished  # what is harmless has not the weights of this network
    one_line(finished)
    assert not (tmp_path / MARKER).exists()
