"""Every hostile directory of Hugging Face's kind is refused, and sound ones build nothing but what they declare."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bnsharp_cli.io.networks.known_classifiers import CLASSIFIER_KINDS, alone, declared
from tests.hostile.forge import MARKER
from tests.hostile.harness import Harness, harness
from tests.hostile.model_cases import CASES, write
from tests.hostile.test_checkpoints import FAST, one_line

transformers = pytest.importorskip("transformers", reason="transformers builds these networks")


@pytest.fixture(scope="module")
def command() -> Iterator[Harness]:
    with harness() as running:
        yield running


@pytest.mark.parametrize("name", CASES)
def test_a_stranger_is_refused(command: Harness, tmp_path: Path, name: str) -> None:
    configuration, says = CASES[name]
    folder = tmp_path / "folder"
    folder.mkdir()
    directory = write(folder, configuration(folder))
    before = {entry.name for entry in tmp_path.rglob("*")}
    finished = command("measure", directory, "--data", "digits", *FAST, folder=folder)
    assert finished.code == 3, finished
    assert says in one_line(finished)
    assert not (folder / MARKER).exists()
    assert {entry.name for entry in tmp_path.rglob("*")} == before


def test_a_sound_directory_passes_through_the_same_harness(command: Harness, tmp_path: Path) -> None:
    from tests.io.checkpoints.huggingface import write as write_sound

    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=rng.integers(0, 256, (8, 3, 32, 32), dtype=np.uint8), y=rng.integers(0, 4, 8))
    data = ("--data", "npz:x.npz", "--samples", 8, "--batch-size", 8, "--quiet")
    finished = command("measure", write_sound(tmp_path / "resnet"), *data, folder=tmp_path)
    assert finished.code == 0, finished.stderr


@pytest.mark.parametrize("kind", sorted(CLASSIFIER_KINDS.intersection(transformers.CONFIG_MAPPING.keys())))
def test_a_configuration_has_only_what_its_class_declares(kind: str) -> None:
    configuration = transformers.CONFIG_MAPPING[kind]
    asked = {"auto_map": {}, "attribute_map": {}, "_attn_implementation": "x", "dtype": "float16", "__class__": "x"}
    written = configuration(num_labels=5, architectures=["Net"]).to_dict()
    kept = declared(configuration, {**written, **asked, "return_dict": False, "self": 1})
    assert not kept.keys() & {*asked, "return_dict", "self"}
    assert configuration.from_dict(kept).to_dict() == configuration.from_dict(written).to_dict()


def test_nested_configurations_have_no_more() -> None:
    nested = {"attribute_map": {}, "auto_map": {}, "hidden_size": 8}
    assert declared(transformers.SiglipConfig, {"vision_config": nested}) == {"vision_config": {"hidden_size": 8}}


def test_nothing_is_fetched_and_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *where, **_: called.append(where))
    stdin = sys.stdin
    with alone():
        with pytest.raises(OSError, match="huggingface"):
            transformers.AutoConfig.from_pretrained("someone/net")
        with pytest.raises(EOFError):
            input()
    assert sys.stdin is stdin
    assert called == []
