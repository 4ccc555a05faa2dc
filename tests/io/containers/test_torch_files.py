"""What torch may see while it reads, and which remedy a refusal has."""

from __future__ import annotations

import argparse
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.pickle_reader import Fault, PickleRefusedError
from bnsharp_cli.io.containers.read_container import read_container
from bnsharp_cli.io.containers.remedies import COPY_AGAIN, SAVE_WEIGHTS
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError, damaged, unsound
from tests.hostile.forge import FLOATS, START, Reference, legacy, named, opcodes, pickled, tensor, text, zipped

ADDRESS = "{0.__class__}"
REAL_LOAD = torch.load


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.pt"
    torch.save({"args": argparse.Namespace(rate=0.5)}, path)
    return path


def test_torch_sees_our_stand_ins_and_nothing_that_others_call_safe(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def load(*arguments: Any, **options: Any) -> Any:
        seen.extend(torch.serialization.get_safe_globals())
        return REAL_LOAD(*arguments, **options)

    monkeypatch.setattr(torch, "load", load)
    with torch.serialization.safe_globals([nn.Linear]):
        assert read_container(path).content == {"args": {"rate": 0.5}}
        assert nn.Linear in torch.serialization.get_safe_globals()
    assert nn.Linear not in seen
    assert "argparse.Namespace" in {name for _stand_in, name in seen}


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_others_call_safe_comes_back_whatever_happens(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def load(*_: Any, **__: Any) -> Any:
        torch.serialization.add_safe_globals([nn.Conv2d])
        raise error

    monkeypatch.setattr(torch, "load", load)
    with torch.serialization.safe_globals([nn.Linear, nn.Conv2d]):
        torch.serialization.add_safe_globals([nn.Linear])
        before = {*torch.serialization.get_safe_globals()}
        with pytest.raises(error):
            read_container(path)
        assert {*torch.serialization.get_safe_globals()} == before


def test_loads_in_several_threads_wait_for_each_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most, read = [0], [0], []

    def load(*arguments: Any, **options: Any) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.02)
        inside[0] -= 1
        return REAL_LOAD(*arguments, **options)

    monkeypatch.setattr(torch, "load", load)
    before = {*torch.serialization.get_safe_globals()}
    threads = [threading.Thread(target=lambda: read.append(read_container(path).content)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [{"args": {"rate": 0.5}}] * 4
    assert most == [1]
    assert {*torch.serialization.get_safe_globals()} == before


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (zipped(START + b"}"), COPY_AGAIN),
        (zipped(pickled({"w": tensor()}), {"0": FLOATS[:-4]}), COPY_AGAIN),
        (zipped(pickled({"w": tensor()}), byte_order="middle"), COPY_AGAIN),
        (zipped(pickled({"w": tensor()}))[:-1], COPY_AGAIN),
        (legacy(pickled({"w": tensor()}, legacy=True))[:-4], COPY_AGAIN),
        (legacy(pickled({"w": tensor()}, legacy=True)) + b"\0", SAVE_WEIGHTS),
        (zipped(opcodes(b"(", text("touch"), b"ios\nsystem\n")), SAVE_WEIGHTS),
        (zipped(opcodes(named("damaged.truncated"))), SAVE_WEIGHTS),
        (zipped(pickled({"w": tensor(Reference(location="meta"))})), SAVE_WEIGHTS),
        (zipped(pickled({"w": tensor(size=(5,))})), SAVE_WEIGHTS),
    ],
)
def test_only_what_is_damaged_may_be_copied_again(tmp_path: Path, content: bytes, remedy: str) -> None:
    (tmp_path / "net.pt").write_bytes(content)
    with pytest.raises(CheckpointRefusedError) as refused:
        read_container(tmp_path / "net.pt")
    assert refused.value.remedy == remedy


@pytest.mark.parametrize(
    ("fault", "found", "finding"),
    [
        (Fault.OPCODE, "INST", "uses the opcode INST, which torch.save never writes"),
        (Fault.PROTOCOL, 4, "is a pickle of protocol 4, which torch cannot read as weights alone"),
        (Fault.BUDGET, None, "needs more steps than the pickle of any weights"),
        (Fault.PERSISTENT_ID, None, "refers to a storage where none can be"),
        (Fault.LIMIT, None, f"said {ADDRESS}"),
        (Fault.DAMAGED, None, f"said {ADDRESS}"),
    ],
)
def test_a_refused_pickle_in_the_words_of_checkpoints(fault: Fault, found: object, finding: str) -> None:
    error = unsound(PickleRefusedError(fault, f"said {ADDRESS}", found))
    assert error.finding == finding
    assert error.damaged == (fault is Fault.DAMAGED)


def test_content_that_is_unsound_stays_as_it_is() -> None:
    error = damaged("a key without a value")
    assert unsound(error) is error
    assert (error.finding, error.damaged) == ("is damaged (a key without a value)", True)
    assert not UnsoundContentError("holds a sparse tensor").damaged
