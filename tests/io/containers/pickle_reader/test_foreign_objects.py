"""Names outside the table that the caller admits: kept as names, whatever the pickle does with them."""

from __future__ import annotations

import os
import pickle

from bnsharp_cli.io.containers.pickle_reader import Fault, PickledData
from tests.io.containers.pickle_reader.test_pickle_reader import START, read, refused


class Plain:
    def __init__(self) -> None:
        self.rate = 0.5


def test_a_foreign_name_is_kept_and_nothing_else() -> None:
    def admits(name: str) -> bool:
        return name.startswith(f"{__name__}.") or name == "builtins.int"

    class Data(PickledData):
        pass

    stand_ins = {"mine.data": Data}
    data = b"cmine\ndata\n)R"
    (made,) = read(pickle.dumps([Plain()], 2), admits=admits)
    assert (made.name, made.holds_data, made.depth) == (f"{__name__}.Plain", False, 0)
    own = b"c" + __name__.encode() + b"\nPlain\n"
    for content in (own + data + b"\x85R.", own + b")\x81" + data + b"b.", own + b")\x81(" + data + data + b"u."):
        made = read(START + content, stand_ins, admits=admits)
        assert (made.name, made.holds_data) == (f"{__name__}.Plain", True)
    (key,) = read(START + b"}" + data + b"Ns.", stand_ins, admits=lambda name: True)
    assert (key.name, key.holds_data) == ("data", True)
    assert refused(START + b"}" + data + b"Ns.", stand_ins).fault is Fault.UNSUPPORTED
    (itself,) = read(START + own + b")\x81q\0](h\0h\0eb\x85.", admits=admits)
    assert vars(itself) == {"name": f"{__name__}.Plain", "holds_data": False}
    assert read(pickle.dumps(2**64, 2), admits=admits).name == "builtins.int"
    assert refused(pickle.dumps([Plain(), os.system], 2), admits=admits).found == ("posix.system",)
    assert refused(START + (own + b"0") * 10, admits=admits).fault is Fault.OPCODE
    assert refused(START + b"ca\nb\n" * 400_000 + b".", admits=lambda _: True).fault is Fault.BUDGET
