"""Networks as Hugging Face's libraries save them: a local directory, read without a network or its code."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from bnsharp_cli.errors import CheckpointRefusedError, named
from bnsharp_cli.io.checkpoints.formats import CheckpointContent, Source
from bnsharp_cli.io.checkpoints.image_processors import processor_preprocessing, timm_preprocessing
from bnsharp_cli.io.containers.bounded_json import bounded_json
from bnsharp_cli.io.containers.folders import WEIGHTS
from bnsharp_cli.io.containers.untrusted_files import open_untrusted
from bnsharp_cli.io.files.printable_text import one_line, shown_path

HUGGINGFACE = "huggingface"
"""The format, and what the names of networks that transformers builds begin with."""

_CONFIG, _PREPROCESSOR, _PROCESSOR = "config.json", "preprocessor_config.json", "processor_config.json"
_FURTHER = tuple(name.replace("model.", "model_1.") for name in WEIGHTS)
_INDEX = ".index.json"
_LARGEST_SETTINGS, _LARGEST_INDEX = 2**20, 8 * 2**20
_DEEPEST_JSON = 16
_MOST_SHARDS, _MOST_LAYERS, _LARGEST_NUMBER = 256, 1000, 2**18
_OF_POSITIONS = {"max_position_embeddings", "original_max_position_embeddings", "rope_theta", "sliding_window"}
_LARGEST_OF_POSITIONS = 2**30
"""What positions in texts are counted or divided by, which takes no memory."""

_LAYERS = re.compile(r"layers|depth|blocks", re.IGNORECASE)
_NEVER = {
    "auto_map": "it asks for code of its own (auto_map), which is never run",
    "attribute_map": "it gives its settings other names (attribute_map), which transformers never writes",
    "quantization_config": "its weights are quantised",
    "transformers_weights": "it names a file of weights of its own choice (transformers_weights)",
    "fusion_config": "it asks for other layers than those of its kind (fusion_config)",
}
_NEVER_TRUE = {
    "use_pretrained_backbone": "it asks for another network's weights (use_pretrained_backbone)",
    "label_offset": "the first rows of its classifier stand for no class (label_offset)",
}
_ADAPTER, _PARALLEL = "adapter_config.json", re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")
"""What transformers loads beside or instead of ``WEIGHTS``: an adapter, and the parts that several processes wrote."""

_ROUNDED = ("float16", "bfloat16")
_NAMES_OF_CLASSES = {"id2label", "label2id"}


def is_model_directory(source: Source) -> bool:
    """Whether it is a directory with a ``config.json``."""
    path = source.path
    return os.path.isdir(path) and os.path.lexists(path / _CONFIG)  # noqa: PTH112 - Path.is_dir raises where it may not look


def read_model_directory(source: Source) -> CheckpointContent:
    """The weights of a directory, and what it says of the network: ``architecture``, ``config``, ``preprocessing``.

    Raises:
        CheckpointRefusedError: it asks for code of its own, names files elsewhere or lacks some.
    """
    directory, settings = source.path, _Settings(source.path, source.texts)
    config = _checked(directory, settings.read(_CONFIG, _LARGEST_SETTINGS))
    stated = {"architecture": _architecture(directory, config), "config": config, **_preprocessing(settings, config)}
    return _weights(source, settings, stated)


def is_folder_of_weights(source: Source) -> bool:
    """Whether it has the weights of one network and no ``config.json``, as Accelerate's directories.

    Accelerate numbers the weights of further networks; then it is for the user to name one.
    """
    path = source.path
    if not os.path.isdir(path) or os.path.lexists(path / _CONFIG):  # noqa: PTH112 - as above
        return False
    there = any(os.path.lexists(path / name) for name in WEIGHTS)
    return there and not any(os.path.lexists(path / name) for name in _FURTHER)


def read_folder_of_weights(source: Source) -> CheckpointContent:
    """The weights of such a directory; it says nothing of the network.

    Raises:
        CheckpointRefusedError: it names files elsewhere or lacks some.
    """
    return _weights(source, _Settings(source.path, source.texts), {})


def _weights(source: Source, settings: _Settings, stated: Mapping[str, Any]) -> CheckpointContent:
    """The weights of a directory, from one file or from several, beside what is ``stated``."""
    directory = source.path
    tensors: dict[str, Any] = {}
    notes: dict[str, None] = {}
    files = list(_weight_files(settings, sharded=not str(stated.get("architecture", "")).startswith("timm:")))
    digest = settings.digest
    containers = source.containers([_member(directory, name) for name, _ in files])
    for (name, expected), container in zip(files, containers, strict=True):
        if expected is not None and set(container.content) != expected:
            raise refusal(directory, f"{one_line(name)} does not hold the tensors that the index promises")
        tensors |= container.content
        notes |= dict.fromkeys(container.notes)
        digest.update(f"{name} {container.sha256}\n".encode())
    notes |= dict.fromkeys(_rounding(stated.get("config", {}), tensors))
    return CheckpointContent(tensors, digest.hexdigest(), stated, notes=tuple(notes))


def _rounding(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> Iterator[str]:
    """A note where transformers would round the weights when it loads them."""
    stated = config.get("dtype", config.get("torch_dtype"))
    finer = {torch.float32, torch.float64} & {getattr(tensor, "dtype", None) for tensor in tensors.values()}
    if stated in _ROUNDED and finer:
        yield f"config.json says {stated}, to which transformers rounds the weights; they are measured as they are"


def read_configuration(directory: Path) -> dict[str, Any]:
    """``config.json``, if it describes a network of the library itself with floating weights.

    Raises:
        CheckpointRefusedError: it asks for code, for another network's weights, or for a network of no sensible size.
    """
    return _checked(directory, _Settings(directory, {}).read(_CONFIG, _LARGEST_SETTINGS))


def _checked(directory: Path, config: dict[str, Any]) -> dict[str, Any]:
    for key, value in _entries(config):
        if key in _NEVER:
            raise refusal(directory, _NEVER[key])
        if key in _NEVER_TRUE and value:
            raise refusal(directory, _NEVER_TRUE[key])
    layers = [value for key, value in _entries(config) if _LAYERS.search(key)]
    depths = [value for entry in layers for value in (entry if isinstance(entry, list) else [entry])]
    if sum(value for value in depths if isinstance(value, int)) > _MOST_LAYERS:
        raise refusal(directory, f"its configuration is of more than {_MOST_LAYERS} layers")
    for key, value in _named_values(config):
        largest = _LARGEST_OF_POSITIONS if key in _OF_POSITIONS else _LARGEST_NUMBER
        if isinstance(value, int) and value > largest:
            raise refusal(directory, f"its configuration has a number above {largest:,}")
    return config


def refusal(directory: Path, reason: str) -> CheckpointRefusedError:
    """The refusal of a directory for a reason that follows "is not read: "."""
    there = [directory / name for name in WEIGHTS if not name.endswith(_INDEX) and os.path.lexists(directory / name)]
    weights = f"'{shown_path(there[0])}'" if there else "its weights file"
    remedy = f"Write the directory with model.save_pretrained, or name {weights} with {named('arch')} file.py:factory."
    return CheckpointRefusedError(f"{shown_path(directory)} is not read: {reason}.", remedy, subject=directory)


def _architecture(directory: Path, config: Mapping[str, Any]) -> str:
    """What builds the network: transformers, or timm for the directories that timm writes."""
    kind, name = config.get("model_type"), config.get("architecture")
    if isinstance(kind, str) and kind != "timm_wrapper":
        return f"{HUGGINGFACE}:{directory.resolve()}"
    if isinstance(name, str):
        return f"timm:{name}"
    raise refusal(directory, "its config.json names no model_type")


class _Settings:
    """The files of settings in a directory, and the digest of what was read.

    Args:
        directory: that they are in.
        texts: those that were read before, by name; the others are added.
    """

    def __init__(self, directory: Path, texts: dict[str, bytes]) -> None:
        self.directory, self._texts = directory, texts
        self.digest = hashlib.sha256()

    def has(self, name: str) -> bool:
        """Whether there is anything of this name."""
        return os.path.lexists(self.directory / name)

    def read(self, name: str, largest: int) -> dict[str, Any]:
        """The table in a file of at most ``largest`` bytes."""
        if name not in self._texts:
            self._texts[name] = read_member(self.directory, name, largest)
        text = self._texts[name]
        self.digest.update(f"{name} {hashlib.sha256(text).hexdigest()}\n".encode())
        try:
            entries = bounded_json(text)
        except (ValueError, RecursionError) as error:
            raise refusal(self.directory, f"{name} is not JSON: {one_line(error)}") from error
        if not isinstance(entries, dict) or _depth(entries) > _DEEPEST_JSON:
            raise refusal(self.directory, f"{name} is no table of settings")
        return entries


def read_member(directory: Path, name: str, largest: int) -> bytes:
    """What is in a file of a directory.

    Raises:
        CheckpointRefusedError: it is not there, leads out of the directory, or has more than ``largest`` bytes.
    """
    with open_untrusted(_member(directory, name)) as file:
        if file.size > largest:
            raise refusal(directory, f"{name} is larger than {largest // 2**20} MiB")
        return file.read(0, file.size)


def _preprocessing(settings: _Settings, config: Mapping[str, Any]) -> dict[str, Any]:
    """The ``preprocessing`` entry, if the directory says anything of it: where transformers and timm look first."""
    if settings.has(_PROCESSOR):
        processor = settings.read(_PROCESSOR, _LARGEST_SETTINGS).get("image_processor")
        if isinstance(processor, dict):
            return {"preprocessing": processor_preprocessing(processor, config)}
    if settings.has(_PREPROCESSOR):
        entries = settings.read(_PREPROCESSOR, _LARGEST_SETTINGS)
        return {"preprocessing": processor_preprocessing(entries, config)}
    timm = config.get("pretrained_cfg")
    known = isinstance(timm, dict) and "mean" in timm and "std" in timm
    return {"preprocessing": timm_preprocessing(timm)} if known and isinstance(timm, dict) else {}


def _weight_files(settings: _Settings, *, sharded: bool) -> Iterator[tuple[str, set[str] | None]]:
    """Each file of weights, and for shards the names of the tensors that the index says it holds.

    Args:
        settings: of the directory.
        sharded: whether its library reads an index; timm takes another file beside one.
    """
    directory = settings.directory
    if settings.has(_ADAPTER):
        raise refusal(directory, f"an adapter lies beside its weights ({_ADAPTER})")
    if any(_PARALLEL.match(path.name) for path in directory.iterdir()):
        raise refusal(directory, "its weights are in parts that several processes wrote (shard-00001-model-…)")
    names = [name for name in WEIGHTS if sharded or not name.endswith(_INDEX)]
    there = next(filter(settings.has, names), None)
    if there is None:
        raise refusal(directory, f"it has none of {', '.join(names)}")
    if not there.endswith(_INDEX):
        yield there, None
        return
    listed = settings.read(there, _LARGEST_INDEX).get("weight_map")
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
    if not name.isprintable() or name in {"", ".", ".."} or any(mark in name for mark in "/\\"):
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


def _depth(entries: object) -> int:
    return sum(1 for _ in zip(range(_DEEPEST_JSON + 1), _levels(entries), strict=False))


def _levels(entries: object) -> Iterator[list[Any]]:
    """What is there, what is inside of that, and so on."""
    level = [entries]
    while level:
        yield level
        level = [inner for entry in level for inner in _inside(entry)]


def _named_values(entries: object) -> Iterator[tuple[str, Any]]:
    """Every value of every table with its key, and of every list with none."""
    for level in _levels(entries):
        for entry in level:
            yield from entry.items() if isinstance(entry, dict) else (("", inner) for inner in _inside(entry))


def _inside(entry: object) -> list[Any]:
    return list(entry.values()) if isinstance(entry, dict) else list(entry) if isinstance(entry, list) else []


def _entries(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every key with its value, of the nested settings too, whether in tables or lists; no names of classes."""
    for level in _levels({key: value for key, value in config.items() if key not in _NAMES_OF_CLASSES}):
        for entry in level:
            if isinstance(entry, dict):
                yield from entry.items()
