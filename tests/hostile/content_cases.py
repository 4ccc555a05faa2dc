"""Readable files whose content is no weights, or not these; safetensors and distributed checkpoints."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from safetensors.torch import save as serialised

from tests.hostile.cases import add, add_bytes
from tests.hostile.forge import MARKED, MARKER, Evil, safetensors, saved, weights

_ESCAPES = "\x1b]0;owned\x07\x1b[31m[/rich]\u202e\nconv1.weight\x9b2J"


def _weights_with(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, torch.Tensor]:
    content = weights()
    return {**content, name: change(content[name].clone())}


def _changed(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> bytes:
    return saved(_weights_with(name, change))


def _with(name: str, value: object) -> bytes:
    return saved({**weights(), name: value})


def _first(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor.view(-1)[0] = value
        return tensor

    return change


# content that is no weights, or not these
add_bytes("escapes-in-a-key", "[/rich]", _with(_ESCAPES, "text"))
add_bytes("escapes-in-an-unknown-tensor", "[/rich]", _with(_ESCAPES, torch.ones(3)))
add_bytes("surrogate-in-a-key", "is a str", _with("\ud800", "text"))
add_bytes("number-as-a-key", "an entry without name", saved({1: torch.ones(3)}))
add_bytes("tuple-as-a-key", "an entry without name", saved({("w",): torch.ones(3)}))
add_bytes("list-root", "holds a list", saved([torch.ones(3)]))
add_bytes("tensor-root", "holds a Tensor", saved(torch.ones(3)))
add_bytes("number-root", "holds an int", saved(7))
add_bytes("empty-root", "no state_dict", saved({}))
add_bytes("nan-of-an-option", "has unknown ?delta?", lambda _: saved({MARKED: torch.full((2,), float("nan"))}))
add_bytes("nan", "1 NaN or infinite of 2400", _changed("conv2.weight", _first(float("nan"))))
add_bytes("infinite", "1 NaN or infinite of 2400", _changed("conv2.weight", _first(float("-inf"))))
add_bytes("infinite-variance", "NaN or infinite", _changed("norm1.running_var", _first(float("inf"))))
add_bytes("negative-variance", "negative variance", _changed("norm1.running_var", _first(-1.0)))
add_bytes("int8", "torch.int8", _changed("conv1.weight", lambda tensor: tensor.to(torch.int8)))
add_bytes("float8", "torch.float8", _changed("conv1.weight", lambda tensor: tensor.to(torch.float8_e4m3fn)))
add_bytes(
    "complex",
    "is torch.complex64, expected torch.float32",
    _changed("conv1.weight", lambda tensor: tensor.to(torch.complex64)),
)
add_bytes(
    "another-shape", "conv1.weight of (6, 1, 5), expected", _changed("conv1.weight", lambda tensor: tensor[..., 0])
)
add_bytes("missing-tensor", "lacks conv1.weight", saved({k: v for k, v in weights().items() if k != "conv1.weight"}))
add_bytes("name-of-dots", "has 2,000,000 characters", saved({"." * 2_000_000: torch.ones(2)}))
add_bytes("name-of-many-parts", "has 101 parts, more than 100", saved({"a." * 100 + "w": torch.ones(2)}))
add_bytes(
    "long-keys-of-many",
    "expected a tensor of a state_dict",
    saved({"n" * 8_000_000: {f"a{n}": {} for n in range(256)}, "w": torch.tensor(1.0)}),
)
add_bytes(
    "deep-names",
    "names of 400 tensors stand for 36,000 modules",
    saved({f"{n}{'.x' * 89}.w": torch.ones(2) for n in range(400)}),
)
add_bytes("unknown-tensor", "unknown extra", _with("extra", torch.ones(3)))


# our own format
def _own(**entries: object) -> bytes:
    return saved({"format": "bnsharp/1", "state_dict": weights(), **entries})


add_bytes(
    "epsilon-is-complex",
    "'norm_epsilon' is not a list of real tensors",
    _own(norm_epsilon=[torch.ones(6, dtype=torch.cfloat)]),
)
add_bytes("epsilon-is-nan", "norm_epsilon.0' has 6 NaN", _own(norm_epsilon=[torch.full((6,), float("nan"))]))
add_bytes("epsilon-is-a-number", "not a list of real tensors", _own(norm_epsilon=1e-5))
add_bytes("size-is-true", "'preprocessing' entry is not", _own(preprocessing={"image_size": True}))
add_bytes("size-of-a-million", "'preprocessing' entry is not", _own(preprocessing={"image_size": 10**6}))


# safetensors
_WHOLE = save(weights())


def _described(**entries: object) -> bytes:
    """A file of 16 bytes of tensors, described by ``entries``."""
    return safetensors(json.dumps(entries), b"\0" * 16)


def _entry(begin: object = 0, end: object = 16, shape: object = (4,), dtype: object = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


add_bytes("safetensors-header-of-an-exbibyte", "not a PyTorch checkpoint", safetensors("{}", length=2**60))
add_bytes("safetensors-header-of-all-bits", "not a PyTorch checkpoint", safetensors("{}", length=2**64 - 1))
add_bytes("safetensors-header-of-101-mebibytes", "more than 16 MiB", lambda _: safetensors("{" + " " * 101 * 2**20))
for sixteenth in range(1, 16):
    cut = _WHOLE[: len(_WHOLE) * sixteenth // 16]
    add_bytes(f"truncated-safetensors-{sixteenth}", "safetensors file", cut)
for name, header in (
    ("no-json", "{]"),
    ("no-object", "{}1"),
    ("no-text", b"{\xff\xfe}"),
    ("nested", '{"w":' * 99_999),
    ("nested-lists", '{"w":' + "[" * 99_999),
    ("many-braces", '{"w":[' + "{}," * 200_000 + "{}]}"),
    ("long-number", '{"w":{"dtype":"F32","shape":[' + "9" * 9999 + '],"data_offsets":[0,16]}}'),
    ("not-a-number", '{"w":{"dtype":"F32","shape":[NaN],"data_offsets":[0,16]}}'),
    ("duplicate-keys", '{"w":' + json.dumps(_entry()) + ',"w":' + json.dumps(_entry()) + "}"),
    ("duplicate-inner-keys", '{"w":{"dtype":"F32","dtype":"F16","shape":[4],"data_offsets":[0,16]}}'),
):
    add_bytes(f"safetensors-{name}", "damaged safetensors", safetensors(header, b"\0" * 16))
for name, says, content in (
    ("overlap", "begins at byte 0, expected 16", _described(a=_entry(), b=_entry())),
    ("partial-overlap", "begins at byte 4, expected 8", _described(a=_entry(0, 8, (2,)), b=_entry(4, 16, (3,)))),
    ("hole", "begins at byte 8, expected 4", _described(a=_entry(0, 4, (1,)), b=_entry(8, 16, (2,)))),
    ("hole-at-the-start", "begins at byte 8, expected 0", _described(a=_entry(8, 16, (2,)))),
    ("trailing-bytes", "describes 8 bytes of tensors, the file has 16", _described(a=_entry(0, 8, (2,)))),
    ("beyond-the-end", "describes 32 bytes of tensors, the file has 16", _described(a=_entry(0, 32, (8,)))),
    ("backwards", "does not fit", _described(a=_entry(16, 0))),
    ("overflow", "no list of sizes", _described(a=_entry(0, 16, (2**62, 4)))),
    ("overflowing-product", "that no tensor can have", _described(a=_entry(0, 16, (2**40, 2**40)))),
    ("too-many-values", "does not fit", _described(a=_entry(0, 16, (5,)))),
    ("negative-shape", "no list of sizes", _described(a=_entry(0, 16, (-4,)))),
    ("negative-offset", "no pair of numbers", _described(a=_entry(-16, 0))),
    ("fraction", "no list of sizes", _described(a=_entry(0, 16, (4.0,)))),
    ("truth", "no list of sizes", _described(a=_entry(0, 16, (True, 4)))),
    ("text-as-shape", "no list of sizes", _described(a=_entry(0, 16, "4"))),
    ("unknown-type", "unknown type F31", _described(a=_entry(dtype="F31"))),
    ("escapes-in-type", "unknown type", _described(a=_entry(dtype=_ESCAPES))),
    ("type-is-a-list", "unknown type", _described(a=_entry(dtype=["F32"]))),
    ("escapes-in-a-key", "[/rich]", _described(**{_ESCAPES: _entry(dtype="F31")})),
    ("entry-is-a-list", "not described by", _described(a=[0, 16])),
    ("entry-without-type", "not described by", _described(a={"shape": [4], "data_offsets": [0, 16]})),
    ("metadata-is-a-list", "metadata are not texts", _described(__metadata__=["w"], a=_entry())),
    ("metadata-of-numbers", "metadata are not texts", _described(__metadata__={"w": 1}, a=_entry())),
    ("int8", "torch.int8", _described(a=_entry(0, 16, (16,), "I8"))),
    ("nan", "1 NaN or infinite of 2400", serialised(_weights_with("conv2.weight", _first(float("nan"))))),
):
    add_bytes(f"safetensors-{name}", says, content, "net.safetensors")


# folders
def _distributed(folder: Path, table: object, shard: bytes = b"") -> Path:
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / ".metadata").write_bytes(table if isinstance(table, bytes) else pickle.dumps(table))
    (checkpoint / "__0_0.distcp").write_bytes(shard)
    (folder / "outside.distcp").write_bytes(shard)
    return checkpoint


def _table(
    path: str = "__0_0.distcp", offset: int = 0, length: int = 0, size: int = 3, pieces: int = 1, keys: Any = ("w",)
) -> object:
    """The table of contents of one tensor of ``size`` values in pieces of three, all at the same place."""
    from torch.distributed.checkpoint import metadata
    from torch.distributed.checkpoint.filesystem import _StorageInfo

    chunk = metadata.ChunkStorageMetadata(torch.Size([0]), torch.Size([3]))
    tensor = metadata.TensorStorageMetadata(metadata.TensorProperties(), torch.Size([size]), [chunk] * pieces)
    places = {metadata.MetadataIndex("w", torch.Size([0])): _StorageInfo(path, offset, length)}
    return metadata.Metadata({"w": tensor}, {"w": keys}, places)


def _shards(says: str, shard: Callable[[Path], bytes], **table: Any) -> tuple[str, Callable[[Path], Path]]:
    def write(folder: Path) -> Path:
        content = shard(folder)
        return _distributed(folder, _table(**{"length": len(content), **table}), content)

    return says, write


def _good(_: Path) -> bytes:
    return saved(torch.ones(3))


add("distributed-evil-table", "nothing in it was executed", lambda folder: _distributed(folder, Evil(folder)))
add("distributed-evil-inside", "nothing in it", lambda folder: _distributed(folder, {"storage_data": Evil(folder)}))
add("distributed-empty-table", "is empty", lambda folder: _distributed(folder, b""))
add("distributed-cut-table", "truncated", lambda folder: _distributed(folder, pickle.dumps(_table())[:-9]))
add("distributed-list-table", "not one of", lambda folder: _distributed(folder, ["w"]))
add(
    "distributed-deep-table",
    "100 deep",
    lambda folder: _distributed(folder, b"\x80\x04" + b"]" * 999 + b"a" * 998 + b"."),
)
add("distributed-evil-piece", *_shards("nothing in it was executed", lambda folder: saved(Evil(folder))))
add("distributed-up", *_shards("no file of the folder itself", _good, path="../outside.distcp"))
add("distributed-absolute", *_shards("no file of the folder itself", _good, path="/dev/zero"))
add("distributed-itself", *_shards("truncated", _good, path=".metadata", length=2))
add("distributed-missing-file", *_shards("no file of the folder itself", _good, path="__1_0.distcp"))
add("distributed-beyond", *_shards("beyond its file", _good, length=2**40))
add("distributed-before", *_shards("without a place", _good, offset=-8))
add("distributed-huge-size", *_shards("do not make the whole", _good, size=2**40))
for number, keys in enumerate((("b",), ("w", "w"), ("w", ""), (0,))):
    add(f"distributed-another-name-{number}", *_shards("was saved under another name", _good, keys=keys))
add("distributed-piece-twice", *_shards("beyond its file", _good, size=6, pieces=2))
add("distributed-other-shape", *_shards("another shape", lambda _: saved(torch.ones(4))))
add("distributed-no-tensor", *_shards("another shape", lambda _: saved({"w": 1})))


def _hugging_face(folder: Path, shard: str) -> Path:
    model = folder / "model"
    model.mkdir()
    auto_map = {"AutoModelForImageClassification": "modeling.Net"}
    (model / "config.json").write_text(json.dumps({"architectures": ["Net"], "auto_map": auto_map}))
    (model / "modeling.py").write_text(f"open({str(folder / MARKER)!r}, 'w')")
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": shard}}))
    (folder / "outside.safetensors").write_bytes(_WHOLE)
    return model


add("hugging-face-up", "model", lambda folder: _hugging_face(folder, "../outside.safetensors"))
add("hugging-face-absolute", "model", lambda folder: _hugging_face(folder, str(folder / "outside.safetensors")))
add("hugging-face-remote-code", "model", lambda folder: _hugging_face(folder, "model-00001-of-00001.safetensors"))
add("tensorflow-folder", "TensorFlow", lambda folder: (folder / "saved_model.pb").write_bytes(b"x") and folder)
