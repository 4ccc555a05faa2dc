"""Which words and which remedy a refusal has."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.pickle_reader import Fault, PickleRefusedError
from bnsharp_cli.io.containers.read_container import read_container
from bnsharp_cli.io.containers.remedies import COPY_AGAIN, SAVE_WEIGHTS
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError, damaged, unsound
from tests.hostile.forge import FLOATS, START, Reference, legacy, named, opcodes, pickled, tensor, text, zipped

ADDRESS = "{0.__class__}"


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
        (zipped(opcodes(named("damaged.truncated" + "d" * 256))), SAVE_WEIGHTS),
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
