"""Files that would run code if anyone unpickled, compiled or imported what is in them."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save

from tests.hostile.cases import add, add_bytes
from tests.hostile.forge import (
    MARKED,
    MARKER,
    START,
    Evil,
    legacy,
    named,
    opcodes,
    pickled,
    saved,
    text,
    weights,
    zipped,
)

_NOT_EXECUTED = "nothing in it was executed"


def _duplicate(folder: Path, evil_first: bool) -> Path:
    contents = [pickled(Evil(folder)), pickled({"w": 1})]
    with warnings.catch_warnings(), zipfile.ZipFile(folder / "net.pt", "w") as archive:
        warnings.simplefilter("ignore")
        for content in contents if evil_first else contents[::-1]:
            archive.writestr("net/data.pkl", content)
    return folder / "net.pt"


def _legacy_tar(folder: Path) -> Path:
    path = folder / "net.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            content = pickle.dumps(Evil(folder), 2)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def _hidden_behind(folder: Path) -> bytes:
    """Two archives in one file: a reader that takes the last end sees another one than the rest."""
    return zipped(pickled({"w": 1}), storages={}) + zipped(pickled(Evil(folder)), storages={})


def _shell(folder: Path) -> bytes:
    return text(f"touch {folder / MARKER}")


def _call(name: str) -> bytes:
    return named(name) + text("open('executed', 'w')") + b"\x85R"


for protocol in (0, 2, 4):
    says = "not a PyTorch checkpoint" if protocol == 0 else _NOT_EXECUTED
    add_bytes(f"bare-pickle-{protocol}", says, lambda folder, protocol=protocol: pickle.dumps(Evil(folder), protocol))
add_bytes("evil-zip", "posix.system", lambda folder: saved(Evil(folder)))
add_bytes("evil-legacy", "posix.system", lambda folder: saved(Evil(folder), legacy=True))
add_bytes("evil-inside", "posix.system", lambda folder: saved({"state_dict": weights(), "hook": Evil(folder)}))
add_bytes("evil-key", _NOT_EXECUTED, lambda folder: saved({"state_dict": weights(), Evil(folder): 1}))
add_bytes("evil-in-magic", _NOT_EXECUTED, lambda folder: pickle.dumps(Evil(folder), 2) + legacy(pickled({})))
add_bytes("evil-in-system-information", _NOT_EXECUTED, lambda folder: legacy(pickled({}), system=Evil(folder)))
add_bytes("evil-in-storage-keys", _NOT_EXECUTED, lambda folder: legacy(pickled({}), keys=Evil(folder)))
add("evil-tar", "tar archive", _legacy_tar)
add_bytes("junk-before-pickle", "not a PyTorch checkpoint", lambda folder: b"junk" + pickle.dumps(Evil(folder), 2))
add_bytes("junk-before-legacy", "not a PyTorch checkpoint", lambda folder: b"\n\n" + saved(Evil(folder), legacy=True))
add_bytes("junk-before-zip", "not a PyTorch checkpoint", lambda folder: b"junk" + saved(Evil(folder)))
add_bytes("zip-behind-a-pickle", "not written by torch.save", lambda folder: pickle.dumps(1, 2) + saved(Evil(folder)))
add("duplicate-evil-first", "two members of one name", lambda folder: _duplicate(folder, True))
add("duplicate-evil-last", "two members of one name", lambda folder: _duplicate(folder, False))
add_bytes(
    "duplicate-by-case",
    "two members of one name",
    lambda folder: zipped(pickled({"w": 1}), others={"net/DATA.PKL": pickled(Evil(folder))}),
)
add_bytes("two-archives", "not where it should be", _hidden_behind)
add_bytes("pickle-called-safetensors", _NOT_EXECUTED, lambda folder: pickle.dumps(Evil(folder), 2), "net.safetensors")
add_bytes("zip-called-safetensors", _NOT_EXECUTED, lambda folder: saved(Evil(folder)), "net.safetensors")
add_bytes(
    "pickle-inside-safetensors",
    "not a PyTorch checkpoint",
    lambda folder: struct.pack("<Q", 2**40) + b"{" + pickle.dumps(Evil(folder), 2),
    "net.safetensors",
)
add_bytes("safetensors-followed-by-pickle", "describes", lambda folder: save(weights()) + pickle.dumps(Evil(folder), 2))
for name in ("builtins.eval", "builtins.exec", "__builtin__.eval", "builtins.getattr", "torch.load", "torch.hub.load"):
    add_bytes(f"calls-{name}", _NOT_EXECUTED, zipped(opcodes(_call(name))))
add_bytes("calls-a-method", _NOT_EXECUTED, zipped(opcodes(_call("torch.serialization.os.system"))))
add_bytes(
    "calls-by-stack", _NOT_EXECUTED, lambda f: zipped(opcodes(text("os"), text("system"), b"\x93", _shell(f), b"\x85R"))
)
add_bytes(
    "one-long-name-many-times",
    _NOT_EXECUTED,
    zipped(opcodes(named("os.system"), b"X", struct.pack("<I", 2**23), b"m" * 2**23, b"\x93" * 400_000)),
)
_texts = [chr(97 + index // 16) + chr(97 + index % 16) + "\N{BOMB}" * 1000 for index in range(250)]
_memo = [text(name) + b"\x94" for name in _texts]
_pairs = [b"h" + bytes([i]) + b"h" + bytes([j]) + b"\x93" for i in range(250) for j in range(250)]
add_bytes("many-names-of-few-texts", _NOT_EXECUTED, zipped(opcodes(*_memo, named("os.system"), *_pairs)))
add_bytes("calls-an-option", "(?delta?.?delta?)", zipped(opcodes(text(MARKED), text(MARKED), b"\x93", b")R")))
add_bytes("calls-by-inst", "opcode INST", lambda f: zipped(opcodes(b"(", _shell(f), b"ios\nsystem\n")))
add_bytes("calls-by-obj", _NOT_EXECUTED, lambda f: zipped(opcodes(b"(", named("os.system"), _shell(f), b"o")))
add_bytes("calls-by-extension", "opcode EXT1", zipped(opcodes(b"\x82\x01")))
add_bytes("calls-a-number", "no function", zipped(opcodes(b"K\x01)R")))
add_bytes("calls-a-stand-in-value", "no function", zipped(opcodes(named("builtins.list"), b")R")))
add_bytes("builds-on-a-function", "sets the state", zipped(opcodes(named("torch._utils._rebuild_tensor_v2"), b"}b")))
add_bytes(
    "shadows-a-method",
    "sets attributes of a dict",
    zipped(opcodes(named("collections.OrderedDict"), b")R}", text("items"), b"Nsb")),
)
add_bytes("pickled-module", "torch.nn.modules.linear.Linear", lambda _: saved(torch.nn.Linear(2, 2)))
add_bytes(
    "pickled-optimiser", "torch.optim.sgd.SGD", lambda _: saved(torch.optim.SGD(torch.nn.Linear(2, 2).parameters()))
)
add(
    "environment-says-unsafe",
    _NOT_EXECUTED,
    lambda folder: (folder / "net.pt").write_bytes(saved(Evil(folder))) and folder / "net.pt",
    environment={"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
)


def _torchscript(folder: Path) -> bytes:
    code = f"import os; os.system('touch {folder / MARKER}')".encode()
    others = {"net/constants.pkl": pickled(Evil(folder)), "net/code/__torch__.py": code}
    return zipped(pickled(Evil(folder)), others=others)


def _exported(folder: Path, evil: bool) -> Path:
    path = folder / "net.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/archive_format", "pt2")
        archive.writestr("net/models/model.json", '{"graph_module": {}}')
        archive.writestr("net/data/weights/weight_0", saved(Evil(folder)) if evil else b"\0" * 16)
        archive.writestr("net/data/sample_inputs/model.pt", saved(Evil(folder) if evil else ()))
    return path


def _exported_earlier(folder: Path) -> Path:
    path = folder / "net.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
        archive.writestr("serialized_state_dict.pt", saved(Evil(folder)))
    return path


add_bytes("torchscript", "TorchScript program", _torchscript)
add("exported", ".pt2", lambda folder: _exported(folder, evil=False))
add("exported-evil", ".pt2", lambda folder: _exported(folder, evil=True))
add("exported-earlier-evil", ".pt2", _exported_earlier)
add_bytes("protocol-4", "protocol 4", zipped(pickled({"w": 1}, 4)))
add_bytes("no-start", "damaged", zipped(START + b"."))
