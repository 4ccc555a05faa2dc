"""Image classifiers as Hugging Face's libraries save them: a local directory, read without a network or its code."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import CheckpointRefusedError, named
from bnsharp_cli.io.checkpoints.formats import CheckpointContent, Source
from bnsharp_cli.io.containers.bounded_json import bounded_json
from bnsharp_cli.io.containers.read_container import read_containers
from bnsharp_cli.io.containers.untrusted_files import open_untrusted
from bnsharp_cli.io.files.printable_text import one_line, shown_path

HUGGINGFACE = "huggingface"
"""The format, and what the names of networks that transformers builds begin with."""

_CONFIG, _PREPROCESSOR = "config.json", "preprocessor_config.json"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_LARGEST_SETTINGS, _LARGEST_INDEX = 2**20, 8 * 2**20
_DEEPEST_JSON = 16
_MOST_SHARDS, _MOST_LAYERS, _LARGEST_NUMBER = 256, 1000, 2**18
_LAYERS = re.compile(r"layers|depth|blocks", re.IGNORECASE)
_NEVER = {
    "auto_map": "it asks for code of its own (auto_map), which is never run",
    "attribute_map": "it gives its settings other names (attribute_map), which transformers never writes",
    "quantization_config": "its weights are quantised",
}
_NAMES_OF_CLASSES = {"id2label", "label2id"}
_INSTEAD = (
    f"Write the directory with model.save_pretrained, or name its weights file with {named('arch')} file.py:factory."
)


def is_model_directory(source: Source) -> bool:
    """Whether it is a directory with a ``config.json``."""
    path = source.path
    return os.path.isdir(path) and os.path.lexists(path / _CONFIG)  # noqa: PTH112 - Path.is_dir raises where it may not look


def read_model_directory(source: Source) -> CheckpointContent:
    """The weights of a directory, and what it says of the network: ``architecture``, ``config``, ``preprocessing``.

    Raises:
        CheckpointRefusedError: it asks for code of its own, names files elsewhere or lacks some.
    """
    directory = source.path
    config = read_configuration(directory)
    described = json.dumps(config, sort_keys=True).encode()
    stated = {"architecture": _architecture(directory, config), "config": config, **_preprocessing(directory, config)}
    tensors: dict[str, Any] = {}
    notes: dict[str, None] = {}
    digest = hashlib.sha256(described)
    files = list(_weight_files(directory))
    containers = read_containers([_member(directory, name) for name, _ in files])
    for (name, expected), container in zip(files, containers, strict=True):
        if expected is not None and set(container.content) != expected:
            raise refusal(directory, f"{one_line(name)} does not hold the tensors that the index promises")
        tensors |= container.content
        notes |= dict.fromkeys(container.notes)
        digest.update(f"{name} {container.sha256}\n".encode())
    return CheckpointContent(tensors, digest.hexdigest(), stated, notes=tuple(notes))


def read_configuration(directory: Path) -> dict[str, Any]:
    """``config.json``, if it describes a network of the library itself with floating weights.

    Raises:
        CheckpointRefusedError: it asks for code, for another network's weights, or for a network of no sensible size.
    """
    config = _json(directory, _CONFIG, _LARGEST_SETTINGS)
    for key, value in _entries(config):
        if key in _NEVER:
            raise refusal(directory, _NEVER[key])
        if key == "use_pretrained_backbone" and value:
            raise refusal(directory, "it asks for another network's weights (use_pretrained_backbone)")
    layers = [value for key, value in _entries(config) if _LAYERS.search(key)]
    depths = [value for entry in layers for value in (entry if isinstance(entry, list) else [entry])]
    if sum(value for value in depths if isinstance(value, int)) > _MOST_LAYERS:
        raise refusal(directory, f"its configuration is of more than {_MOST_LAYERS} layers")
    if any(isinstance(value, int) and value > _LARGEST_NUMBER for level in _levels(config) for value in level):
        raise refusal(directory, f"its configuration has a number above {_LARGEST_NUMBER:,}")
    return config


def refusal(directory: Path, reason: str) -> CheckpointRefusedError:
    """The refusal of a directory for a reason that follows "is not read: "."""
    return CheckpointRefusedError(f"{shown_path(directory)} is not read: {reason}.", _INSTEAD)


def _architecture(directory: Path, config: Mapping[str, Any]) -> str:
    """What builds the network: transformers, or timm for the directories that timm writes."""
    kind, name = config.get("model_type"), config.get("architecture")
    if isinstance(kind, str) and kind != "timm_wrapper":
        return f"{HUGGINGFACE}:{directory.resolve()}"
    if isinstance(name, str):
        return f"timm:{name}"
    raise refusal(directory, "its config.json names no model_type")


def _preprocessing(directory: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The ``preprocessing`` entry, if the directory has any that can be followed."""
    if not os.path.lexists(directory / _PREPROCESSOR):
        timm = config.get("pretrained_cfg")
        timm = timm if isinstance(timm, dict) and "mean" in timm and "std" in timm else None
        size = timm.get("input_size") if timm else None
        return _stated(size[-1] if isinstance(size, list) and size else None, timm["mean"], timm["std"]) if timm else {}
    entries = _json(directory, _PREPROCESSOR, _LARGEST_SETTINGS)
    wanted = "crop_size" if entries.get("do_center_crop") is True else "size"
    size = entries.get(wanted) if entries.get("do_resize", True) else None
    if isinstance(size, dict):
        size = size.get("height", size.get("shortest_edge"))
    normal = entries.get("do_normalize", True)
    return _stated(size, entries.get("image_mean") if normal else None, entries.get("image_std") if normal else None)


def _stated(size: object, mean: object, std: object) -> dict[str, Any]:
    return {"preprocessing": {"image_size": size, "mean": mean, "std": std}}


def _weight_files(directory: Path) -> Iterator[tuple[str, set[str] | None]]:
    """Each file of weights, and for shards the names of the tensors that the index says it holds."""
    there = next((name for name in _WEIGHTS if os.path.lexists(directory / name)), None)
    if there is None:
        raise refusal(directory, f"it has none of {', '.join(_WEIGHTS)}")
    if not there.endswith(".index.json"):
        yield there, None
        return
    listed = _json(directory, there, _LARGEST_INDEX).get("weight_map")
    if not isinstance(listed, dict) or not listed or not all(isinstance(name, str) for name in listed.values()):
        raise refusal(directory, f"{there} has no weight_map from tensors to files")
    shards: dict[str, set[str]] = {}
    for tensor, name in listed.items():
        shards.setdefault(name, set()).add(tensor)
    if len(shards) > _MOST_SHARDS:
        raise refusal(directory, f"{there} names more than {_MOST_SHARDS} files")
    yield from shards.items()


def _member(directory: Path, name: str) -> Path:
    """The path of a file directly in the directory, or where a Hugging Face cache keeps the files of its snapshots."""
    shown = one_line(name)
    if not name or name in {".", ".."} or any(mark in name for mark in "/\\\0"):
        raise refusal(directory, f"it names '{shown}', which is no file of the directory itself")
    try:
        root = directory.resolve(strict=True)
        target = (directory / name).resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:  # ValueError: a name that no file can have
        raise refusal(directory, f"it lacks '{shown}'") from error
    roots = [root, root.parents[1] / "blobs"] if root.parent.name == "snapshots" else [root]
    if target.parent not in roots:
        raise refusal(directory, f"'{shown}' leads out of it")
    return target


def _json(directory: Path, name: str, largest: int) -> dict[str, Any]:
    with open_untrusted(_member(directory, name)) as file:
        if file.size > largest:
            raise refusal(directory, f"{name} is larger than {largest // 2**20} MiB")
        text = file.read(0, file.size)
    try:
        entries = bounded_json(text)
    except (ValueError, RecursionError) as error:
        raise refusal(directory, f"{name} is not JSON: {one_line(error)}") from error
    if not isinstance(entries, dict) or _depth(entries) > _DEEPEST_JSON:
        raise refusal(directory, f"{name} is no table of settings")
    return entries


def _depth(entries: object) -> int:
    return sum(1 for _ in zip(range(_DEEPEST_JSON + 1), _levels(entries), strict=False))


def _levels(entries: object) -> Iterator[list[Any]]:
    """What is there, what is inside of that, and so on."""
    level = [entries]
    while level:
        yield level
        level = [inner for entry in level for inner in _inside(entry)]


def _inside(entry: object) -> list[Any]:
    return list(entry.values()) if isinstance(entry, dict) else list(entry) if isinstance(entry, list) else []


def _entries(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every key with its value, of the nested settings too, whether in tables or lists; no names of classes."""
    for level in _levels({key: value for key, value in config.items() if key not in _NAMES_OF_CLASSES}):
        for entry in level:
            if isinstance(entry, dict):
                yield from entry.items()
