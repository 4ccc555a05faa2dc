"""Files that cost much, or say much, once they are read: by their settings, their names or their preprocessing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.hostile.forge import weights
from tests.hostile.model_cases import add, add_file, write

TOO_MANY_STEPS = "building it takes more steps than a file may ask for"
NOT_HELD = "which it does not hold"
LENET = {"image_size": 8, "in_channels": 1}
MANY = {f"p{number}.weight": torch.ones(1) for number in range(5000)}
"""So many tensors that a limit in proportion to them is none."""


def _own(folder: Path, architecture: str, tensors: dict[str, Tensor], **entries: Any) -> Path:
    """A file of bnsharp's own format."""
    path = folder / "net.pt"
    torch.save({"format": "bnsharp/1", "architecture": architecture, "state_dict": tensors, **entries}, path)
    return path


def _lenet(folder: Path, tensors: dict[str, Tensor], **entries: Any) -> Path:
    return _own(folder, "lenet-bn", tensors, architecture_options=LENET, **entries)


def _preprocessed(folder: Path, **entries: int) -> Path:
    return _lenet(folder, weights(), preprocessing=entries)


def _in_halves(name: str, length: Tensor, direction: Tensor) -> dict[str, Tensor]:
    """LeNet, one of whose tensors is a length and a direction."""
    module, _, attribute = name.rpartition(".")
    halves = (f"{module}.parametrizations.{attribute}.original{number}" for number in range(2))
    others = {other: tensor for other, tensor in weights().items() if other != name}
    return {**others, **dict(zip(halves, (length, direction), strict=True))}


def _shards(folder: Path, count: int, tensors: int) -> Path:
    """A directory whose weights are in ``count`` files of ``tensors`` each."""
    directory = write(folder, {"model_type": "vit"})
    (directory / "model.safetensors").unlink()
    index = {}
    for number in range(count):
        part = {f"{number}.{inner}": torch.ones(1) for inner in range(tensors)}
        save_file(part, directory / f"{number}.safetensors")
        index |= dict.fromkeys(part, f"{number}.safetensors")
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return directory


def _efficientnet(depth: float) -> dict[str, Any]:
    return {"model_type": "efficientnet", "depth_coefficient": depth, "width_coefficient": 0.1}


def _levit(image_size: int) -> dict[str, Any]:
    return {"model_type": "levit", "image_size": image_size, "architectures": []}


# directories
add_file("shards-of-many-tensors", "holds more than 32768 tensors", lambda folder: _shards(folder, 12, 10_000))
add_file("many-shards", "names more than 256 files", lambda folder: _shards(folder, 257, 1))
add_file("many-lists", "more entries than any network", lambda folder: write(folder, f'{{"a": [{"[]," * 340_000} 1]}}'))
add_file("a-long-configuration", "config.json is larger than 1 MiB", lambda folder: write(folder, " " * 2**20 + "{}"))
add_file("a-name-twice", "it names something twice", lambda folder: write(folder, '{"model_type": 1, "model_type": 2}'))
add_file("5000-names", "does not fit", lambda folder: write(folder, {"model_type": "vit", "hidden_size": 12}, MANY))
add(
    "text-in-a-report",
    NOT_HELD,
    lambda _: {"model_type": "vit", "num_labels": 3, "id2label": {"0": "a\x1b[31m\nbnsharp: fine"}, "label2id": {}},
)
add(
    "names-of-2000-layers",
    NOT_HELD,
    lambda _: {"model_type": "vit", "label2id": {f"blocks{number}": number for number in range(2000)}},
)

# networks
add("a-table-of-positions", TOO_MANY_STEPS, lambda _: {"model_type": "levit", "image_size": 1024, "architectures": []})
add(
    "a-large-image",
    "image_size is 2048, which a file",
    lambda _: {"model_type": "levit", "image_size": 2048, "architectures": []},
)
add("a-deep-network", "depth_coefficient is 500", lambda _: _efficientnet(500.0))
add_file("5000-tensors", TOO_MANY_STEPS, lambda folder: write(folder, _efficientnet(60.0), MANY))
add_file("a-slow-network", TOO_MANY_STEPS, lambda folder: _own(folder, "timm:tiny_vit_21m_512", {"w": torch.ones(1)}))
add_file(
    "slow-windows",
    "img_size=4096, which a file may not decide",
    lambda folder: _own(
        folder, "timm:maxvit_tiny_tf_512", {"w": torch.ones(1)}, architecture_options={"img_size": 4096}
    ),
)

# weights
add_file(
    "8000-names",
    "does not fit the architecture",
    lambda folder: _lenet(folder, {f"{number}.b.c.w": torch.ones(1) for number in range(8_000)}),
)
add_file(
    "a-negative-variance-in-halves",
    "lacks norm1.running_var",
    lambda folder: _lenet(folder, _in_halves("norm1.running_var", torch.tensor(-1.0), torch.ones(6))),
)
add_file(
    "a-direction-of-zero",
    "'conv1.weight' has",
    lambda folder: _lenet(folder, _in_halves("conv1.weight", torch.ones(6, 1, 1, 1), torch.zeros(6, 1, 5, 5))),
)

# images
add_file("enlarged", "wants images of 1,024 pixels", lambda folder: _preprocessed(folder, image_size=1024))
add_file(
    "enlarged-and-cut",
    "wants images of 4,096 pixels",
    lambda folder: _preprocessed(folder, image_size=8, shorter_side=4096),
)
