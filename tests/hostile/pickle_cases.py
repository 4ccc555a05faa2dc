"""Pickles that call nothing and yet ask for too much, or for what is not there."""

from __future__ import annotations

import itertools
import math
import struct
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
import torch

from tests.hostile.cases import add_bytes
from tests.hostile.forge import (
    FLOATS,
    START,
    Rebuilt,
    Reference,
    legacy,
    named,
    number,
    opcodes,
    pickled,
    saved,
    tensor,
    text,
    zipped,
)

_DEEP = 200_000
_HUGE = 2**40
_TUPLE_HASH_PRIMES = (11400714785074694791, 14029467366897019727, 2870177450012600261)
_INVERSE = pow(_TUPLE_HASH_PRIMES[1], -1, 2**64)
_ENCODED = b"h\x00h\x01\x86R"
_NOT_EXECUTED = "nothing in it was executed"
_DICT = named("collections.OrderedDict")


def add_pickle(name: str, says: str, content: bytes) -> None:
    """The same opcodes in both formats of torch.save."""
    add_bytes(name, says, zipped(content))
    add_bytes(f"{name}-legacy", says, legacy(content))


def add_content(name: str, says: str, content: object) -> None:
    """The same content in both formats of torch.save."""
    add_bytes(name, says, zipped(pickled(content)))
    add_bytes(f"{name}-legacy", says, legacy(pickled(content, legacy=True)))


def _laughs() -> bytes:
    """Lists of ten references to the list before: 10³⁰ elements for a walk that does not remember."""
    lists = ((b"h" + bytes([index])) * 10 + b"eq" + bytes([index + 1]) for index in range(30))
    return START + b"}" + text("w") + b"]q\x00s" + b"".join(text("w") + b"](" + each + b"s" for each in lists) + b"."


def _laughing_key() -> bytes:
    """A tuple of pairs of pairs as a key: its hash alone takes 2⁶⁰ steps."""
    pairs = (b"h" + bytes([index]) + b"h" + bytes([index]) + b"\x86q" + bytes([index + 1]) for index in range(60))
    return START + b"}" + text("w") + b")q\x00s" + b"".join(text("w") + each + b"s" for each in pairs) + b"h\x3cNs."


def _colliding_keys(count: int) -> bytes:
    """Numbers that hash to zero, so that a dict of them takes quadratic time."""
    return b"}(" + b"".join(number(index * (2**61 - 1)) + b"N" for index in range(1, count)) + b"u"


def _colliding_tuples(count: int) -> bytes:
    """Pairs of floats that have one hash, as keys: the hash of a tuple is solved for its second float."""
    pairs = (each for first in itertools.count(1) for each in _pair_with_the_hash(first + 0.5))
    return b"}(" + b"".join(b"G%bG%b\x86N" % pair for pair in itertools.islice(pairs, count)) + b"u"


def _pair_with_the_hash(first: float) -> Iterator[tuple[bytes, bytes]]:
    """The pair that begins with ``first``, as bytes, if there is one."""
    one, two, five = _TUPLE_HASH_PRIMES
    accumulated = (five + hash(first) * two) % 2**64
    accumulated = ((accumulated << 31 | accumulated >> 33) % 2**64) * one
    lane = (12345678901 - accumulated) * _INVERSE % 2**64
    lane -= lane >> 63 << 64
    if not 1 < abs(lane) < 2**61 - 1:
        return
    bits = 2 * f"{abs(lane):061b}"
    start = bits.find("0" * 8)  # a float has 53 of the 61 bits of a hash; a power of two rotates them
    if 0 <= start < 61:
        second = math.copysign(math.ldexp(int(bits[start : start + 61], 2), 61 - start), lane)
        yield struct.pack(">d", first), struct.pack(">d", second)


# what does not end, or grows
add_bytes("billion-laughs", "endless when they are written out", zipped(_laughs(), storages={}))
add_bytes("billion-laughs-legacy", "endless when they are written out", legacy(_laughs(), keys=(), storages=b""))
add_pickle("billion-laughs-key", "no text or number", _laughing_key())
add_pickle("colliding-keys", "no text or number", opcodes(_colliding_keys(100_000)))
add_pickle("colliding-key", "no text or number", opcodes(_colliding_keys(8)))
add_bytes("colliding-tuples", "no text or number", lambda _: zipped(opcodes(_colliding_tuples(30_000))))
add_pickle("refers-to-itself", "refers to itself", opcodes(b"]q\x00h\x00a"))
add_pickle("dict-refers-to-itself", "refers to itself", opcodes(b"}q\x00", text("k"), b"h\x00s"))
add_pickle("refers-in-a-circle", "refers to itself", opcodes(b"]q\x00]q\x01ah\x01h\x00a"))
add_pickle("deep-lists", "100 deep", opcodes(b"]" * _DEEP, b"a" * (_DEEP - 1)))
add_pickle("deep-tuples", "100 deep", opcodes(b")", b"\x85" * _DEEP))
add_pickle("deep-dicts", "100 deep", opcodes((b"}" + text("k")) * _DEEP, b"N", b"s" * _DEEP))
add_pickle("deep-marks", "100 deep", opcodes(b"(" * _DEEP))
add_pickle("deep-by-memo", "100 deep", opcodes(b"]q\x00" + b"]h\x00aq\x00" * _DEEP))
add_pickle("bytearray", "makes a bytearray", opcodes(named("builtins.bytearray"), number(_HUGE), b"\x85R"))
add_pickle(
    "many-copies",
    "more steps",
    opcodes(text("a" * 2**20), b"q\x00", text("latin1"), b"q\x01", (named("_codecs.encode") + _ENCODED) * 99),
)
add_pickle(
    "many-shapes",
    "no short tuple",
    opcodes(b"(" + b"K\x01" * 9999 + b"tq\x00", (named("torch.Size") + b"h\x00\x85R") * 9),
)
add_pickle("many-dicts", "more steps", opcodes(b"](", _DICT, b"q\x00)R", b"h\x00)R" * 450_000, b"e"))
add_pickle("many-memos", "more steps", opcodes(b"N", b"".join(b"r" + struct.pack("<I", i) for i in range(1_400_000))))
add_pickle("many-numbers", "more steps", opcodes(b"](", b"K\x01" * 1_400_000, b"e"))
add_bytes("long-number", "builtins.int", zipped(opcodes(number(2**2000))))
add_bytes("long-number-legacy", "builtins.int", legacy(opcodes(number(2**2000)), keys=(), storages=b""))
add_bytes(
    "longer-number", "builtins.int", lambda _: zipped(opcodes(b"\x8b", struct.pack("<i", 2**23), b"\x7f" * 2**23))
)
add_bytes(
    "long-numbers-as-keys",
    "builtins.int",
    lambda _: zipped(opcodes(b"}(" + b"".join(number(2**70 + index) + b"N" for index in range(100_000)) + b"u")),
)

# what is not read, and costs as much as it can
_CLASS = named("project.Config") + b"q\x00"
_LAUGHS = b"]q\x01" + b"".join(b"](" + (b"h" + bytes([i])) * 10 + b"eq" + bytes([i + 1]) for i in range(1, 90))
add_bytes("many-mentions", "more steps", zipped(opcodes(b"](", named("a.b") * 400_000, b"e")))
add_bytes("many-objects", "more steps", zipped(opcodes(b"](", _CLASS, b"h\x00)\x81" * 330_000, b"e")))
add_bytes(
    "objects-in-objects", "project.Config", zipped(opcodes(_CLASS, b"h\x00" * 10**5, b"N", b"\x85R" * (10**5 + 1)))
)
add_bytes("deep-inside-an-object", "100 deep", zipped(opcodes(_CLASS, b")", b"\x85" * 101, b"R")))
add_bytes("laughs-inside-an-object", "project.Config", zipped(opcodes(_CLASS, b"(", _LAUGHS, b"tR"), storages={}))
add_bytes("object-that-holds-itself", "project.Config", zipped(opcodes(_CLASS, b")\x81q\x01](h\x01h\x01ebh\x01b")))
add_bytes("long-name", _NOT_EXECUTED, zipped(opcodes(text("m" * 2**20), b"q\x00](", b"h\x00h\x00\x93" * 999, b"e")))
add_bytes("name-of-300-characters", _NOT_EXECUTED, zipped(opcodes(named("m." + "n" * 300))))
add_bytes("escapes-in-a-name", "(project.owned?)", zipped(opcodes(named("project.\x1b[31mowned\x07"))))

# as much as may be, so that torch reads it as well
for name, says, content in (
    ("memos", "no state_dict", b"N" + b"".join(b"r" + struct.pack("<I", index) for index in range(499_990))),
    ("numbers", "no state_dict", b"](" + (b"G" + struct.pack(">d", 0.5)) * 499_900 + b"e"),
    ("lists", "no state_dict", b"](" + b"]" * 124_000 + b"e"),
    ("dicts", "no state_dict", b"](" + _DICT + b"q\x00)R" + b"h\x00)R" * 62_000 + b"e"),
    ("keys", "no state_dict", b"}(" + b"".join(number((index + 1) << 36) + b"N" for index in range(32_000)) + b"u"),
    ("text", "no state_dict", text("a" * (15 * 2**20) + "\U0001f600")),
):
    add_bytes(f"within-limits-{name}", says, zipped(opcodes(content)))
add_bytes("within-limits-tensors", "no state_dict", lambda _: zipped(pickled({"w": [tensor() for _ in range(17_000)]})))

# what is not there
add_pickle("text-beyond-the-end", "damaged", START + b"}" + b"X" + struct.pack("<I", 2**31) + b"abc")
add_pickle("bytes-of-eight-exabytes", "damaged", START + b"\x8e" + struct.pack("<Q", 2**63 - 1) + b"abc")
add_pickle("text-of-eight-exabytes", "damaged", START + b"\x8d" + struct.pack("<Q", 2**63 - 1) + b"abc")
add_pickle("bytearray-of-eight-exabytes", "damaged", START + b"\x96" + struct.pack("<Q", 2**63 - 1) + b"abc")
add_pickle("number-of-two-gibibytes", "damaged", START + b"\x8b" + struct.pack("<i", 2**31 - 1) + b"abc")
add_pickle("setitem-on-a-list", "puts items into a", opcodes(b"]", text("k"), b"Ns"))
add_bytes(
    "setitems-on-a-tensor",
    "puts items into something",
    zipped(pickled({"w": tensor()})[:-2] + b"(" + text("k") + b"Nu."),
)
add_pickle("append-to-a-dict", "puts items into a", opcodes(b"}Na"))
add_pickle("append-to-a-text", "puts items into a", opcodes(text("k"), b"Na"))
add_pickle("odd-items", "key without a value", opcodes(b"}(", text("k"), b"u"))
add_pickle("stack-underflow", "damaged", START + b"s.")
add_pickle("mark-underflow", "damaged", START + b"}u.")
add_pickle("tuple-underflow", "damaged", START + b"\x87.")
add_pickle("missing-memo", "damaged", opcodes(b"h\x07"))
add_pickle("bad-opcode", "damaged", START + b"}\xff.")
add_bytes("missing-stop", "truncated", zipped(opcodes(b"N")[:-1]))
add_bytes("missing-stop-legacy", "unbalanced", legacy(opcodes(b"N")[:-1]))
add_pickle("open-mark", "unbalanced", START + b"}(.")
add_pickle("stop-at-once", "unbalanced", START + b".")
add_pickle("protocol-255", "protocol 255", b"\x80\xff}.")
add_pickle("no-text", "damaged", START + b"}X" + struct.pack("<I", 2) + b"\xff\xfeNs.")
add_pickle("python-2-bytes", "raw bytes", START + b"}U\x02\xff\xfeNs.")

# tensors that the file has no values for
for name, says, value in (
    ("declared-storage", "declares a storage of", tensor(Reference(count=_HUGE))),
    ("declared-size", "declares more values", tensor(size=(_HUGE,))),
    ("declared-sizes", "that no tensor can have", tensor(size=(2**20, 2**20, 2**20), stride=(0, 0, 0))),
    ("stride-zero", "declares more values", tensor(size=(_HUGE,), stride=(0,))),
    ("offset-beyond", "reaches beyond", tensor(offset=1)),
    ("offset-far-beyond", "reaches beyond", tensor(offset=_HUGE)),
    ("stride-beyond", "reaches beyond", tensor(size=(2,), stride=(4,))),
    ("overflowing-stride", "beyond reach", tensor(size=(2,), stride=(2**63 - 1,))),
    ("overflowing-size", "beyond reach", tensor(size=(2**62, 4), stride=(1, 1))),
    ("negative-size", "negative", tensor(size=(-4,))),
    ("negative-stride", "negative", tensor(offset=3, stride=(-1,))),
    ("negative-offset", "negative", tensor(offset=-4)),
    ("negative-storage", "negative", tensor(Reference(count=-4))),
    ("size-is-text", "no short tuple", tensor(size="4")),
    ("size-is-a-float", "no number", tensor(size=(4.0,))),
    ("strides-missing", "never does", tensor(stride=())),
    ("dimensions", "no short tuple", tensor(size=(1,) * 65, stride=(1,) * 65)),
    ("storage-of-nothing", "no storage", tensor(reference=None)),
    ("storage-without-a-key", "something else than", tensor(Reference(key=7))),
    ("storage-of-another-type", "something else than", tensor(Reference(kind=torch.float32))),
    ("storage-too-long-an-id", "no storage", tensor(Reference(extra=((1, 2), (3, 4))))),
    ("storage-of-meta", "meta tensor", tensor(Reference(location="meta"))),
    ("storage-in-two-ways", "in two ways", [tensor(), tensor(Reference(kind=torch.IntStorage))]),
    ("hooks", "never does", Rebuilt((Reference(), 0, (4,), (1,), False, OrderedDict(a=1)))),
):
    add_content(name, says, {"w": value})
add_bytes("storage-missing", "where it has none", zipped(pickled({"w": tensor(Reference(key="1"))})))
add_bytes("storage-outside", "where it has none", zipped(pickled({"w": tensor(Reference(key="../data.pkl"))})))
add_bytes("storage-short", "where it has 12", zipped(pickled({"w": tensor()}), storages={"0": FLOATS[:-4]}))
add_bytes("storage-short-legacy", "truncated", legacy(pickled({"w": tensor()}, legacy=True))[:-4])
add_bytes("storage-keys-missing-legacy", "does not hold", legacy(pickled({"w": tensor()}, legacy=True), keys=()))
add_bytes("storage-keys-twice-legacy", "does not hold", legacy(pickled({"w": tensor()}, legacy=True), keys=("0", "0")))
add_bytes("storage-keys-no-list-legacy", "does not hold", legacy(pickled({"w": tensor()}, legacy=True), keys="0"))
add_bytes("bytes-behind-legacy", "bytes after its end", legacy(pickled({"w": tensor()}, legacy=True)) + b"\0")
add_bytes(
    "view-beyond-legacy",
    "reaches beyond it",
    legacy(pickled({"w": tensor(Reference(extra=(("view", 2, 4),)))}, legacy=True)),
)
_view = tensor(Reference(extra=(("1", 0, 4),)))
_reused = pickled({"a": _view, "w": tensor(Reference(key="1"))}, legacy=True)
_two = struct.pack("<q4fq4f", 4, 1, 2, 3, 4, 4, 5, 6, 7, 8)
add_bytes("view-reused-legacy", "in two ways", legacy(_reused, keys=("0", "1"), storages=_two))
add_bytes(
    "big-endian-legacy",
    "another byte order",
    legacy(pickled({"w": tensor()}, legacy=True), system={"little_endian": False}),
)
add_bytes("version-legacy", "never wrote", legacy(pickled({})).replace(b"M\xe9\x03", b"M\xe8\x03", 1))
add_bytes(
    "one-storage-many-times",
    "the same few values",
    zipped(
        pickled({str(i): tensor(Reference(count=2**20), size=(2**20,)) for i in range(100)}),
        storages={"0": b"\0" * 2**22},
    ),
)

# what is no plain weight
add_bytes("meta", "meta tensor", lambda _: saved({"w": torch.ones(3, device="meta")}))
add_bytes("sparse", "sparse tensor", lambda _: saved({"w": torch.eye(3).to_sparse()}))
add_bytes("attributes", "attributes of its own", lambda _: saved({"w": _with_attribute()}))
add_bytes("quantised", "quantised tensor", zipped(pickled({"w": tensor(Reference(kind=torch.QInt8Storage))})))
add_bytes("numpy-objects", "numpy.ndarray", lambda _: saved({"w": np.array([{}], dtype=object)}))
add_bytes("numpy-texts", "Python objects", lambda _: saved({"w": np.array(["a"]).view(np.rec.recarray)}))
add_bytes("numpy-big-endian", "numpy.ndarray", lambda _: saved({"w": np.ones(3, dtype=">f8")}))
add_bytes("numpy-short", "another size", zipped(pickled({"w": np.ones(3)}).replace(b"K\x03\x85", b"K\x04\x85", 1)))


def _with_attribute() -> torch.Tensor:
    tagged = torch.ones(3)
    tagged.numel_ = 5  # type: ignore[attr-defined]  # no tensor has it, and that is the case
    return tagged
