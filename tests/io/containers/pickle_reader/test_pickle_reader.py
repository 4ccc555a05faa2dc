"""The pickle reader alone: what it reads, what it refuses and by which fault, and that it stands alone."""

from __future__ import annotations

import ast
import doctest
import io
import os
import pickle
import pickletools
import struct
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bnsharp_cli.io.containers import pickle_reader
from bnsharp_cli.io.containers.pickle_reader import (
    LARGEST_PICKLE,
    Budget,
    Fault,
    ForeignGlobalsError,
    PickledDict,
    PickledObject,
    PickledTuple,
    PickleRefusedError,
    read_pickle,
    require_key,
)
from bnsharp_cli.io.containers.pickle_reader.reader import _opcodes

FOLDER = Path(pickle_reader.__file__).parent
START = b"\x80\x02"
NAMES = (b"os", b"system", b"collections", b"OrderedDict")
ORDERED: Mapping[str, Any] = {"collections.OrderedDict": lambda: {}}


class Attributes(dict[str, Any], PickledObject):
    def __setstate__(self, state: object) -> None:
        assert isinstance(state, PickledDict)
        self.update(state)


class Plain:
    def __init__(self) -> None:
        self.rate = 0.5


def read(content: bytes, stand_ins: Mapping[str, Any] | None = None, **more: Any) -> Any:
    return read_pickle(io.BytesIO(content), stand_ins or {}, **more)


def refused(content: bytes, stand_ins: Mapping[str, Any] | None = None, **more: Any) -> PickleRefusedError:
    with pytest.raises(PickleRefusedError) as caught:
        read(content, stand_ins, **more)
    return caught.value


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def test_the_readme_is_true() -> None:
    results = doctest.testfile(str(FOLDER / "README.md"), module_relative=False)
    assert results.attempted >= 5
    assert not results.failed


def test_the_limits_in_the_readme_are_those_of_the_code() -> None:
    written = (FOLDER / "README.md").read_text()
    for limit in (f"{LARGEST_PICKLE // 2**20} MiB", f"{Budget().opcodes:,}", f"{Budget().objects:,}"):
        assert f"| {limit} (" in written
    assert f"| {Budget().copied // 2**20} Mi (" in written
    assert all(f"`{fault.name}`" in written for fault in Fault)


def test_it_imports_nothing_but_itself_and_the_standard_library() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names.append(node.module or "")
            for name in names:
                own = name.startswith("bnsharp_cli.io.containers.pickle_reader.")
                assert own or name.partition(".")[0] in sys.stdlib_module_names, f"{path.name} imports {name}"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_come_back_equal(protocol: int) -> None:
    value = {"a": [1, -(2**40), 0.5, None, True], (1, "b"): {"nested": ("x", ())}, 3: "é" * 300}
    assert read(pickle.dumps(value, protocol)) == value


def test_pickles_that_declare_no_protocol_are_read_as_far_as_their_opcodes_are_known() -> None:
    assert read(pickle.dumps([1], 1)) == [1]
    assert refused(pickle.dumps([1], 0)).fault is Fault.OPCODE


def test_the_stream_is_left_behind_the_stop() -> None:
    stream = io.BytesIO(pickle.dumps([1], 2) + pickle.dumps({"a": (2,)}, 2) + b"rest")
    assert [read_pickle(stream, {}), read_pickle(stream, {}), stream.read()] == [[1], {"a": (2,)}, b"rest"]


def test_what_is_shared_stays_shared() -> None:
    part = [1]
    first, second = read(pickle.dumps([part, part], 2))
    assert first is second


def test_sets_are_lists_that_are_full() -> None:
    assert sorted(read(pickle.dumps({1, 2}, 4))) == [1, 2]


def test_objects_get_their_state_from_the_stand_in() -> None:
    made = read(pickle.dumps(Plain(), 2), {f"{__name__}.Plain": Attributes})
    assert made == {"rate": 0.5}


@pytest.mark.parametrize(
    ("content", "fault", "finding"),
    [
        (START + b"]", Fault.DAMAGED, "truncated"),
        (START + b"(.", Fault.DAMAGED, "unbalanced"),
        (START + b"s.", Fault.DAMAGED, "IndexError"),
        (START + b"h\x07.", Fault.DAMAGED, "KeyError"),
        (START + b"X\x02\0\0\0\xff\xfe.", Fault.DAMAGED, "UnicodeDecodeError"),
        (START + b"}(" + text("k") + b"u.", Fault.DAMAGED, "a key without a value"),
        (START + b"cos\nsystem\n.", Fault.FOREIGN, "os.system"),
        (START + b"c__builtin__\neval\n.", Fault.FOREIGN, "builtins.eval"),
        (START + b")" + b"\x85" * 100 + b".", Fault.LIMIT, "100 deep"),
        (START + b"(" * 102, Fault.LIMIT, "100 deep"),
        (pickle.dumps(2**64, 2), Fault.LIMIT, "64 bits"),
        (b"\0" * (LARGEST_PICKLE + 1), Fault.LIMIT, "16 MiB"),
        (START + b"N0" * 10**6 + b"N.", Fault.OPCODE, "POP"),
        (START + b"N" * 2 * 10**6, Fault.BUDGET, "budget"),
        (START + b"](" + b"]" * 330_000 + b"e.", Fault.BUDGET, "budget"),
        (START + b"(ios\nsystem\n.", Fault.OPCODE, "INST"),
        (START + b"\x82\x01.", Fault.OPCODE, "EXT1"),
        (b"\x80\x06N.", Fault.PROTOCOL, "protocol 6"),
        (START + text("id") + b"\x85Q.", Fault.PERSISTENT_ID, "outside"),
        (START + b"]q\0h\0a.", Fault.UNSUPPORTED, "refers to itself"),
        (START + b"}]Ns.", Fault.UNSUPPORTED, "a key that is no text or number"),
        (START + b"U\x02\xff\xfe.", Fault.UNSUPPORTED, "raw bytes"),
        (START + b"K\x01)R.", Fault.UNSUPPORTED, "no function"),
        (START + b"]}b.", Fault.UNSUPPORTED, "sets the state of a list"),
        (START + b"}Na.", Fault.UNSUPPORTED, "puts items into a dict"),
    ],
)
def test_each_refusal_has_its_fault(content: bytes, fault: Fault, finding: str) -> None:
    error = refused(content)
    assert error.fault is fault
    assert finding in error.finding
    assert str(error) == f"the pickle {error.finding}"


def test_what_a_refusal_concerns_is_a_field() -> None:
    assert refused(START + b"(ios\nsystem\n.").found == "INST"
    assert refused(pickle.dumps(1, 4), protocols=(2,)).found == 4
    assert refused(START + b"cos\nsystem\n.").found == ("os.system",)


def test_the_name_that_stopped_the_reader_is_told_first() -> None:
    names = b"".join(b"\x8c" + bytes([len(name)]) + name + b"q" + bytes([index]) for index, name in enumerate(NAMES))
    for start in (b"", b"cposix\nsystem\n"):
        error = refused(START + start + names + b"h\0h\1\x93.", ORDERED)
        assert isinstance(error, ForeignGlobalsError)
        assert error.names == (*(["posix.system"] if start else []), "os.system")


def test_nothing_is_called_that_was_not_handed_in(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (f"touch {tmp_path / 'executed'}",)

    called: list[tuple[object, ...]] = []
    read(pickle.dumps([Evil()], 2), {"posix.system": lambda *arguments: called.append(arguments)})
    assert called == [(f"touch {tmp_path / 'executed'}",)]
    assert refused(pickle.dumps([Evil()], 2)).fault is Fault.FOREIGN
    assert [*tmp_path.iterdir()] == []


def test_a_dict_that_a_function_returns_may_be_filled_and_a_list_may_not() -> None:
    assert read(pickle.dumps(OrderedDict(a=1), 4), ORDERED) == {"a": 1}
    appending = START + b"cmine\nlist\n)RNa."
    assert "refers to itself" in refused(appending, {"mine.list": lambda: []}).finding


@pytest.mark.parametrize(
    ("name", "call"), [(b"cmine\nHolder\n", b"\x85R"), (b"cmine\nHolder\n", b"\x85\x81"), (b"", b"\x85Q")]
)
def test_objects_that_hold_their_arguments_nest_no_deeper_than_containers(name: bytes, call: bytes) -> None:
    class Holder(PickledObject):
        def __init__(self, held: object) -> None:
            self.held = held

    def nested(levels: int) -> bytes:
        return START + name * levels + b"N" + call * levels + b"."

    more: dict[str, Any] = {"stand_ins": {"mine.Holder": Holder}, "persistent_load": lambda identity: Holder(*identity)}
    assert read(nested(100), **more).depth == 100
    error = refused(nested(101), **more)
    assert (error.fault, error.finding) == (Fault.LIMIT, "nests containers more than 100 deep")


def test_an_exception_of_a_function_passes_through_and_a_type_error_is_damage() -> None:
    class MineError(Exception):
        pass

    def refuse() -> None:
        raise MineError

    with pytest.raises(MineError):
        read(START + b"cmine\nfunction\n)R.", {"mine.function": refuse})
    assert refused(START + b"cmine\nfunction\nN\x85R.", {"mine.function": refuse}).fault is Fault.DAMAGED


def test_the_opcodes_are_those_of_the_standard_library() -> None:
    for content in (pickle.dumps({"a": [1, 2.5, Plain, (None,)]}, protocol) for protocol in range(6)):
        expected = [(opcode.name, argument) for opcode, argument, _position in pickletools.genops(content)]
        assert [*_opcodes(io.BytesIO(content))] == expected
    for content in (b"", b"\x80\x02", b"\x80\x02\xff."):
        with pytest.raises(ValueError, match=r".") as expected_error:
            [*pickletools.genops(io.BytesIO(content))]
        with pytest.raises(ValueError, match=r".") as error:
            [*_opcodes(io.BytesIO(content))]
        assert str(error.value) == str(expected_error.value)


def test_a_text_with_odd_escapes_warns_nobody() -> None:
    filters = [*warnings.filters]
    content = START + rb"S'\q'" + b"\n."
    with pytest.warns(DeprecationWarning, match="escape"):
        [*pickletools.genops(content)]
    assert refused(content).found == "STRING"
    assert isinstance(refused(b"\x80\x02cos\nsystem\n" + content[2:]), ForeignGlobalsError)
    assert warnings.filters == filters


def test_a_persistent_id_is_the_callers() -> None:
    assert read(START + text("id") + b"\x85Q.", persistent_load=lambda identity: [*identity]) == ["id"]


def test_one_budget_serves_several_pickles() -> None:
    budget = Budget(opcodes=7)
    content = pickle.dumps(None, 2)
    for _ in range(3):
        read(content, budget=budget)
    assert budget.opcodes == 1
    assert refused(content, budget=budget).fault is Fault.BUDGET


def test_what_functions_may_copy_is_paid_for() -> None:
    content = START + b"cmine\nfunction\n" + text("a" * 1000) + b"\x85R."
    read(content, {"mine.function": len}, budget=Budget(copied=1000))
    assert refused(content, {"mine.function": len}, budget=Budget(copied=999)).fault is Fault.BUDGET


@pytest.mark.parametrize(
    "key",
    [
        *(None, "a", b"a", True, 2**60 - 1, 0.0, -0.5, 1e-4, 2.0**29),
        *(
            PickledTuple(key)
            for key in ((), (1, "a"), (None, b"a", True), (2**30 - 1, -(2**30) + 1), (1, 2, 3, 2**15 - 1))
        ),
    ],
)
def test_keys(key: object) -> None:
    require_key(key)


@pytest.mark.parametrize(
    "key",
    [
        *(2**60, -(2**60), 2.0**30, -(2.0**61), 2.0**-31, 5e-324, float("inf"), float("nan"), (1, 2), [], object()),
        *(PickledTuple(key) for key in ((2**30, 0), (2**20, 0, 0), (2**15, 0, 0, 0), (2**60,), range(5))),
        *(PickledTuple(key) for key in ((0.5,), ("a", 0.5), (0.5, 1.5), (PickledTuple((1,)),), ([],))),
    ],
)
def test_keys_that_could_collide(key: object) -> None:
    with pytest.raises(PickleRefusedError):
        require_key(key)


def test_no_text_of_a_pickle_is_taken_for_a_template() -> None:
    error = refused(START + b"c{0.__class__}\n{found}\n.")
    assert error.found == ("{0.__class__}.{found}",)
