"""Pickles: every name that means something, called with every kind of argument, and every value where none belongs."""

from __future__ import annotations

import itertools
import struct

from bnsharp_cli.io.containers.pickle_reader import Budget
from bnsharp_cli.io.containers.tensor_plans import TensorPlans
from tests.hostile.forge import START, legacy, named, number, pickled, tensor, text, zipped
from tests.hostile.kinds import kind

NAMES = sorted(TensorPlans(None, Budget()).stand_ins())
_UNREAD = {
    *("torch._utils._rebuild_meta_tensor_no_storage", "torch._utils._rebuild_wrapper_subclass"),
    *("torch._utils._rebuild_sparse_tensor", "torch._utils._rebuild_qtensor", "torch._utils._rebuild_nested_tensor"),
    *("torch._tensor._rebuild_from_type_v2", "torch.serialization._get_layout"),
}
"""Functions that make objects which are not read, and which may be called again."""
_PLACE = text("storage") + named("torch.FloatStorage") + text("0") + text("cpu") + b"K\x04"
_SHAPE = b"K\x04\x85K\x01\x85"
_EMPTY = named("collections.OrderedDict") + b")R"
_TENSOR = named("torch._utils._rebuild_tensor_v2") + b"((" + _PLACE + b"tQK\x00" + _SHAPE + b"\x89" + _EMPTY + b"tR"
VALUES = {
    "None": b"N",
    "True": b"\x88",
    "a number": b"K\x04",
    "a negative number": number(-1),
    "a large number": number(2**64 - 1),
    "a float": b"G" + struct.pack(">d", 1.5),
    "NaN": b"G" + struct.pack(">d", float("nan")),
    "a text": text("f4"),
    "an emoji": text("\U0001f600"),
    "a surrogate": b"X\x03\0\0\0\xed\xa0\x80",
    "bytes": named("_codecs.encode") + text("\x01\x02") + text("latin1") + b"\x86R",
    "a list": b"](K\x01K\x02e",
    "a dict": b"}" + text("a") + b"K\x01s",
    "a tuple": b"K\x04\x85",
    "pairs": b"](" + text("a") + b"K\x01\x86e",
    "a storage": b"(" + _PLACE + b"tQ",
    "a tensor": _TENSOR,
    "a type": named("torch.float32"),
    "a function": named("torch._utils._rebuild_tensor_v2"),
    "a name": named("builtins.int"),
    "a set": named("builtins.set") + b"](K\x01e\x85R",
    "an array's type": named("numpy.dtype") + text("f4") + b"\x89\x88\x87R",
}
"""What pushes one value each."""


def _content(value: bytes) -> bytes:
    """A pickle of sound weights with a value beside them."""
    return START + b"}(" + text("w") + _TENSOR + text("x") + value + b"u."


def _add(mechanism: str, name: str, value: bytes, *, harmless: bool = True) -> None:
    kind(mechanism, name, lambda: zipped(_content(value)), harmless=harmless)


# every name, with every kind and number of arguments, then with a state
for name, (shown, value), count in itertools.product(NAMES, VALUES.items(), (1, 2, 3, 5, 8)):
    if count == 1 or shown in {"a number", "a text"}:
        _add("call", f"{name} of {count} × {shown}", named(name) + b"(" + value * count + b"tR")
for name in NAMES:
    _add("call", f"{name} of nothing", named(name) + b")R")
    _add("call", f"{name} by its __new__", named(name) + b")\x81")
    _add("call", f"what {name} returns", named(name) + b")R)R", harmless=name in _UNREAD)
    _add("mention", name, named(name))
for (made, shown), (state, value) in itertools.product(
    (
        (_EMPTY, "an OrderedDict"),
        (named("argparse.Namespace") + b")R", "a Namespace"),
        (named("numpy.dtype") + text("f4") + b"\x89\x88\x87R", "an array's type"),
        (named("numpy._core.multiarray._reconstruct") + b"NNN\x87R", "an array"),
        (named("collections.defaultdict") + b")R", "a defaultdict"),
        (_TENSOR, "a tensor"),
        (b"]", "a list"),
        (named("builtins.set") + b"](K\x01e\x85R", "a set"),
    ),
    VALUES.items(),
):
    _add("state", f"{state} of {shown}", made + value + b"b")
    _add("state", f"{state} of {shown}, twice", made + value + b"b" + value + b"b")
    _add("items", f"{state} put into {shown}", made + text("k") + value + b"s")
    _add("items", f"{state} appended to {shown}", made + value + b"a")

# names that are not read, called with and filled with every kind of value, and names that are refused
for shown, value in {**VALUES, "a class": named("project.Config")}.items():
    for mechanism, opcodes in (
        ("an object of", named("project.Config") + value + b"\x85R"),
        ("an object made of", named("project.Config") + value + b"\x85\x81"),
        ("the state of an object is", named("project.Config") + b")\x81" + value + b"b"),
        ("an object's items are", named("project.Config") + b")\x81(" + value + value + b"e"),
        ("an object's entries are", named("project.Config") + b")\x81(" + value + value + b"u"),
        ("what an object returns for", named("project.Config") + b")R" + value + b"\x85R"),
        ("a name twice called with", named("builtins.getattr") + value + text("x") + b"\x86R" + value + b"\x85R"),
        ("an object beside", named("project.Config") + value + b"\x86"),
    ):
        _add(mechanism, shown, opcodes)
        dangerous = opcodes.replace(b"project\nConfig", b"os\nsystem").replace(b"\ngetattr", b"\neval")
        _add(f"dangerous: {mechanism}", shown, dangerous, harmless=False)
_DANGEROUS = (
    *(
        "os.system",
        "posix.system",
        "nt.system",
        "os.popen",
        "os.exec.x",
        "subprocess.Popen",
        "builtins.eval",
        "pty.spawn",
    ),
    *(
        "__builtin__.eval",
        "builtins.exec",
        "builtins.open",
        "io.open",
        "_io.open",
        "runpy.run_path",
        "importlib.import_module",
    ),
    *("pickle.loads", "_pickle.loads", "marshal.loads", "ctypes.CDLL", "shutil.rmtree", "sys.exit", "code.interact"),
    *(
        "torch.load",
        "torch.hub.load",
        "torch.serialization.os.system",
        "torch.storage.os.path.join",
        "a.b.builtins.eval",
    ),
    *("asyncio.subprocess.create_subprocess_shell", "socket.socket", "webbrowser.open", "numpy.load", "timeit.timeit"),
)
for name in _DANGEROUS:
    _add("dangerous", f"mention of {name}", named(name), harmless=False)
    _add("dangerous", f"call of {name}", named(name) + text("x") + b"\x85R", harmless=False)
    _add("dangerous", f"{name} inside", named("project.Config") + named(name) + b"\x85R", harmless=False)
for name in ("project.Config", "x", "a.b.c", "", ".", "..", "a\tb", "é.ü", "n" * 256, "n" * 257, "project.os_system"):
    _add("mention", name, named(name), harmless=len(name) <= 250)

# keys
for shown, value in VALUES.items():
    for place in ("%b", "%b\x85", "K\x01%b\x86", "%b%b%b\x87", "(%b%b%b%b%bt"):
        key = place.encode("latin-1").replace(b"%b", value)
        harmless = (
            shown not in {"NaN", "a list", "a dict", "pairs", "a storage", "a tensor", "a set"} and len(place) < 10
        )
        alone = place == "%b" and shown in {"a storage", "a tensor"}  # not read, as a key either
        _add("key", f"{shown} in {place!r}", b"}" + key + b"Ns", harmless=harmless or alone)
        _add(
            "member of a set",
            f"{shown} in {place!r}",
            named("builtins.set") + b"](" + key + b"e\x85R",
            harmless=harmless,
        )
for bits in (29, 30, 59, 60, 61, 62, 63, 64, 65, 128, 2000):
    for sign, count in itertools.product((1, -1), (1, 2, 3, 4)):
        key = b"(" + number(sign * (2**bits - 1)) * count + b"t"
        _add("key", f"{count} × {sign * bits} bits", b"}" + key + b"Ns", harmless=bits * count <= 60 or bits > 64)
for kinds, many in itertools.product(("numbers", "floats", "tuples"), (1000, 33_000)):
    one = {
        "numbers": lambda i: number(i << 20),
        "floats": lambda i: b"G" + struct.pack(">d", i + 1),
        "tuples": lambda i: number(i) + b"\x85",
    }[kinds]
    for shown, begin, item, end in (
        ("dict", b"}(", b"N", b"u"),
        ("set", named("builtins.set") + b"](", b"", b"e\x85R"),
        ("OrderedDict of pairs", named("collections.OrderedDict") + b"](", b"N\x86", b"e\x85R"),
        ("Counter", named("collections.Counter") + b"}(", b"K\x01", b"u\x85R"),
    ):
        kind(
            "many keys",
            f"{many} {kinds} in a {shown}",
            lambda one=one, begin=begin, item=item, end=end, many=many: zipped(
                _content(begin + b"".join(one(index) + item for index in range(many)) + end)
            ),
            harmless=many == 1000,
        )

# sharing, copies, depth
for levels, width, (shown, begin, end) in itertools.product(
    (5, 20, 90),
    (2, 10, 100),
    (("lists", b"](", b"e"), ("tuples", b"(", b"t"), ("namespaces", b"", b""), ("ordered dicts", b"", b"")),
):

    def _next(index: int, begin: bytes = begin, end: bytes = end, width: int = width, shown: str = shown) -> bytes:
        fetch = b"h" + bytes([index])
        if begin:
            return begin + fetch * width + end
        entries = b"}(" + b"".join(text(f"k{i}") + fetch for i in range(width)) + b"u"
        return (named("argparse.Namespace") + b")R" + entries + b"b") if shown == "namespaces" else _EMPTY + entries[1:]

    chain = b"]q\x00" + b"".join(b"0" * 0 + _next(index) + b"q" + bytes([index + 1]) for index in range(levels))
    value = b"(" + chain + b"t"
    _add("sharing", f"{levels} levels of {width} {shown}", value, harmless=width**levels <= 10**5)
for depth in (50, 97, 98, 99, 100, 101, 5000):
    for shown, begin, end in (("lists", b"]", b"a"), ("tuples", b"", b"\x85"), ("dicts", b"}" + text("k"), b"s")):
        inside = begin * depth + (b"N" if begin else b")") + end * depth
        _add("depth", f"{depth} {shown}", inside, harmless=depth < 100)
for memo in (0, 1, 255, 256, 2**31, 2**32 - 1):
    index = struct.pack("<I", memo)
    _add("memo", f"kept at {memo}", b"]r" + index + b"j" + index + b"\x86")
    _add("memo", f"fetched from {memo} where nothing is", b"j" + struct.pack("<I", memo ^ 2**20), harmless=False)
    _add("memo", f"a list that holds itself, at {memo}", b"]r" + index + b"j" + index + b"a", harmless=False)

# opcodes and texts
_HARMLESS = {"N", "\x88", "\x89", "]", "}", ")", "\x8f", "\x86"}
for code in map(chr, range(256)):
    _add("opcode", repr(code), code.encode("latin-1"), harmless=code in _HARMLESS)
for protocol in range(256):
    content = b"\x80" + bytes([protocol]) + _content(b"N")[2:]
    kind("protocol", protocol, zipped(content), harmless=protocol == 2)
for index, bad in enumerate(
    (b"\xff", b"\xc3", b"\xe2\x82", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xed\xb0\x80", b"\0", b"\x1b]0;\x07")
):
    for place in ("value", "key", "string", "name"):
        length = struct.pack("<I", len(bad))
        value = {
            "value": b"X" + length + bad,
            "key": b"}X" + length + bad + b"Ns",
            "string": b"U" + length[:1] + bad,
            "name": b"c" + bad + b"\nx\n",
        }[place]
        _add("text", f"{index} as a {place}", value)
_WHOLE = pickled({"w": tensor()})
for end in range(0, len(_WHOLE), 3):
    kind("cut", f"at {end}", zipped(_WHOLE[:end]))
    kind("cut", f"at {end}, legacy", legacy(_WHOLE[:end]))
