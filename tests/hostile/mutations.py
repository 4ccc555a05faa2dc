"""Valid checkpoints, and ways to spoil them: bytes, opcodes with checksums put right again, headers."""

from __future__ import annotations

import argparse
import datetime
import io
import json
import pathlib
import pickletools
import tempfile
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import torch
from hypothesis import strategies as st
from safetensors.torch import save

from tests.hostile.forge import named, number, safetensors, saved, text, zipped
from tests.hostile.spoiled_bytes import spoiled_bytes

INTERESTING = (0, 1, 2, 3, 4, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
_OPCODES = bytes(sorted(ord(opcode.code) for opcode in pickletools.opcodes))
NAMES = (
    "os.system",
    "builtins.eval",
    "builtins.bytearray",
    "builtins.set",
    "builtins.list",
    "collections.OrderedDict",
    "collections.Counter",
    "collections.defaultdict",
    "argparse.Namespace",
    "pathlib.PosixPath",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy._core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "torch.Size",
    "torch.device",
    "torch.float32",
    "torch.FloatStorage",
    "torch.IntStorage",
    "torch.storage.UntypedStorage",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
    "torch._utils._rebuild_parameter",
    "_codecs.encode",
    "torch._utils._rebuild_wrapper_subclass",
    "project.Config",
    "torch.distributed.checkpoint.metadata.MetadataIndex",
    "torch.distributed.checkpoint.metadata.TensorStorageMetadata",
    "torch.distributed.checkpoint.filesystem._StorageInfo",
)
_SNIPPETS = (
    *(named(name) for name in NAMES),
    *(number(value) for value in (-1, 0, 2**31, 2**40, 2**63, 2**64)),
    *(bytes([opcode]) for opcode in b"()}]0.NabdeostuRQ\x81\x85\x86\x87\x88\x89\x8f\x90\x93\x94"),
    *(b"h" + bytes([index]) for index in range(8)),
    *(b"q" + bytes([index]) for index in range(8)),
    *(text(value) for value in ("", "storage", "0", "weight", "\x1b[31m", "items", "latin1")),
)
_TYPES = ("F32", "I8", "BF16", "F8_E4M3", "C64", "F4", "")


@cache
def originals() -> tuple[bytes, ...]:
    """Small checkpoints in every format, as people save them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        optimiser = torch.optim.Adam(network.parameters())
        network(torch.ones(4, 3)).sum().backward()
        optimiser.step()
    weights = network.state_dict()
    training = {
        "state_dict": weights,
        "optimizer": optimiser.state_dict(),
        "args": argparse.Namespace(rate=0.1, folder=pathlib.PurePosixPath("/data")),
        "best": np.float64(0.5),
        "history": np.arange(3.0),
        "begun": {
            datetime.date(2024, 1, 1): [datetime.timedelta(1), 2**70, torch.nn.CrossEntropyLoss(weight=torch.ones(2))]
        },
    }
    small = {"weight": torch.ones(2, 2)}
    contents = (small, weights, training)
    files = [saved(content, legacy) for content in contents for legacy in (False, True)]
    return (*files, save(weights, {"format": "pt"}), save(small))


@cache
def parts_of(original: bytes) -> tuple[tuple[bytes, ...], tuple[tuple[str, bytes], ...]]:
    """The opcodes of a zip checkpoint with their arguments, and its storages."""
    with zipfile.ZipFile(io.BytesIO(original)) as archive:
        names = archive.namelist()
        pickled = archive.read(next(name for name in names if name.endswith("/data.pkl")))
        storages = tuple((name.split("/data/")[1], archive.read(name)) for name in names if "/data/" in name)
    return separate(pickled), storages


def separate(pickled: bytes) -> tuple[bytes, ...]:
    """The opcodes of a pickle, each with its argument."""
    starts = [position or 0 for _opcode, _argument, position in pickletools.genops(pickled)]
    return tuple(pickled[start:end] for start, end in zip(starts, [*starts[1:], len(pickled)], strict=True))


def _spoil(draw: st.DrawFn, opcodes: Sequence[bytes]) -> bytes:
    """Opcodes dropped, doubled, exchanged, replaced or added."""
    changed = list(opcodes)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(changed) - 1))
        match draw(st.sampled_from(("drop", "double", "exchange", "replace", "add", "opcode", "argument"))):
            case "drop" if len(changed) > 1:
                del changed[at]
            case "double":
                changed[at:at] = changed[at : at + draw(st.integers(1, 20))]
            case "exchange":
                other = draw(st.integers(0, len(changed) - 1))
                changed[at], changed[other] = changed[other], changed[at]
            case "replace":
                changed[at] = draw(st.sampled_from(_SNIPPETS))
            case "add":
                changed.insert(at, draw(st.sampled_from(_SNIPPETS)))
            case "opcode":
                changed[at] = bytes([draw(st.sampled_from(_OPCODES))]) + changed[at][1:]
            case "argument":
                changed[at] = changed[at][:1] + draw(st.binary(max_size=9))
    return b"".join(changed)


@st.composite
def spoiled_opcodes(draw: st.DrawFn) -> bytes:
    """A zip checkpoint with spoiled opcodes and right checksums."""
    zips = [original for original in originals() if original.startswith(b"PK")]
    opcodes, storages = parts_of(draw(st.sampled_from(zips)))
    pickled, kept = _spoil(draw, opcodes), dict(storages)
    if kept and draw(st.integers(0, 9)) == 0:
        key = draw(st.sampled_from(sorted(kept)))
        kept[key] = kept[key][: draw(st.integers(0, len(kept[key])))]
    return zipped(pickled, kept)


@cache
def distributed() -> Mapping[str, bytes]:
    """The files of a distributed checkpoint by their names."""
    from torch.distributed import checkpoint

    content = {"model": {"weight": torch.ones(2, 2), "steps": torch.tensor(3)}, "epoch": 3}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint.save(content, checkpoint_id=folder, no_dist=True)
        return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}


@st.composite
def spoiled_tables(draw: st.DrawFn) -> bytes:
    """The table of contents of a distributed checkpoint with spoiled opcodes."""
    return _spoil(draw, separate(distributed()[".metadata"]))


@st.composite
def spoiled_headers(draw: st.DrawFn) -> bytes:
    """A safetensors file whose header says something else than its bytes."""
    original = draw(st.sampled_from([content for content in originals() if content[8:9] == b"{"]))
    length = int.from_bytes(original[:8], "little")
    header = json.loads(original[8 : 8 + length])
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(header)))
        scalar = st.one_of(st.integers(-(2**65), 2**65), st.sampled_from(INTERESTING), st.sampled_from(_TYPES))
        value = draw(st.one_of(scalar, st.none(), st.booleans(), st.floats(), st.lists(scalar, max_size=4)))
        entry = header[name]
        if isinstance(entry, dict) and entry and draw(st.integers(0, 4)):
            entry[draw(st.sampled_from(sorted(entry)))] = value
        else:
            header[name if draw(st.booleans()) else draw(st.text(max_size=4))] = value
    declared = draw(st.one_of(st.none(), st.sampled_from(INTERESTING)))
    return safetensors(json.dumps(header), original[8 + length :], declared)


_SPOILED_BYTES = spoiled_bytes(originals, INTERESTING, ("<H", "<I", "<Q"), _SNIPPETS, most=4)
BLIND = st.one_of(_SPOILED_BYTES, spoiled_opcodes(), spoiled_headers())
"""Files spoiled without knowing what their parts mean."""
