"""Torchvision's families of networks, cut down to a size that a test can measure, and the rows that norms undo.

``python -m tests.io.checkpoints.families [NAME …]`` finds the blocks of whole networks instead and compares them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.regnet import BlockParams
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.vgg import make_layers

CLASSES = 4

_MBCONV = [MBConvConfig(1, 3, 1, 8, 8, 1), MBConvConfig(4, 3, 2, 8, 16, 2)]
_STAGES = [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)]
_REGNET = BlockParams.from_init_params(5, 16, 8.0, 2.5, 8, 0.25)
_VGG = [8, "M", 16, "M", 16, "M"]

FAMILIES: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    "resnet": (32, partial(models.ResNet, BasicBlock, [1, 1, 1, 1], num_classes=CLASSES)),
    "resnext": (32, partial(models.ResNet, Bottleneck, [1] * 4, groups=4, width_per_group=4, num_classes=CLASSES)),
    "densenet": (32, partial(models.DenseNet, 8, (2, 2, 2, 2), 16, num_classes=CLASSES)),
    "vgg_bn": (32, lambda: nn.Sequential(make_layers(_VGG, True), nn.Flatten(), nn.Linear(16 * 4 * 4, CLASSES))),
    "mobilenet_v2": (64, partial(models.mobilenet_v2, width_mult=0.25, num_classes=CLASSES)),
    "mobilenet_v3_small": (64, partial(models.mobilenet_v3_small, width_mult=0.25, num_classes=CLASSES)),
    "efficientnet": (32, partial(models.EfficientNet, _MBCONV, 0.1, num_classes=CLASSES)),
    "shufflenet": (64, partial(models.ShuffleNetV2, [2, 2, 2], [8, 16, 32, 64, 64], num_classes=CLASSES)),
    "mnasnet": (64, partial(models.MNASNet, 0.1, num_classes=CLASSES)),
    "regnet": (32, partial(models.RegNet, _REGNET, num_classes=CLASSES)),
    "squeezenet1_1": (32, partial(models.squeezenet1_1, num_classes=CLASSES)),
    "googlenet": (32, partial(models.googlenet, num_classes=CLASSES, init_weights=False)),
    "convnext": (32, partial(models.ConvNeXt, _STAGES, num_classes=CLASSES)),
    "vit": (16, partial(models.VisionTransformer, 16, 8, 2, 2, 16, 32, num_classes=CLASSES)),
    "swin": (16, partial(models.SwinTransformer, [2, 2], 8, [1, 1], [2, 2], [2, 2], num_classes=CLASSES)),
}
"""Image size and constructor of each family; images so large that no 3 × 3 kernel sees a single pixel."""

MANY_LAYERS = pytest.mark.slow(
    reason="networks of many layers, whose kinds the other families have too",
    quick="tests/io/checkpoints/test_round_trips.py::test_families_of_torchvision",
)
EACH_FAMILY = [
    pytest.param(name, marks=MANY_LAYERS if name in {"resnext", "mobilenet_v2", "mnasnet", "googlenet"} else ())
    for name in FAMILIES
]
"""The parameters of a test."""

BY_NAME = {
    "mobilenet_v2": ["width_mult=0.25", f"num_classes={CLASSES}"],
    "mobilenet_v3_small": ["width_mult=0.25", f"num_classes={CLASSES}"],
    "squeezenet1_1": [f"num_classes={CLASSES}"],
    "googlenet": ["init_weights=False", f"num_classes={CLASSES}"],
}
"""The options of those that ``--arch torchvision:NAME`` builds."""

WHOLE = {
    **dict.fromkeys(("resnet18", "resnext50_32x4d", "wide_resnet50_2", "densenet121", "mobilenet_v2"), 64),
    **dict.fromkeys(("mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x0_5", "mnasnet0_5"), 64),
    **dict.fromkeys(("regnet_x_400mf", "regnet_y_400mf", "vgg11_bn", "squeezenet1_1", "convnext_tiny", "swin_t"), 64),
    **{"googlenet": 64, "inception_v3": 96},
}
"""Image sizes of whole networks by torchvision's name."""

_TRANSPARENT_MODULES = (nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Identity)
_TRANSPARENT = {torch.cat, torch.permute, functional.relu, functional.max_pool2d, functional.avg_pool2d}


def images(folder: Path, size: int) -> tuple[object, ...]:
    """Options of a data set of eight random images."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (8, 3, size, size), dtype=np.uint8)
    np.savez(folder / "images.npz", x=pixels, y=rng.integers(0, CLASSES, 8))
    return ("--data", f"npz:{folder / 'images.npz'}", "--samples", 8, "--batch-size", 8)


def build(family: str) -> nn.Module:
    """A network of a family with random weights, for ``--arch tests.io.checkpoints.families:build``."""
    return FAMILIES[family][1]()


def normalised_rows(module: nn.Module) -> tuple[dict[str, int], int]:
    """How many rows of each weight are scale-invariant, and how many blocks they make, read off the graph alone.

    A batch norm undoes each output channel of a convolution by itself, a layer norm all of them together, if nothing
    else uses them: directly, or through maps that a positive factor of a channel passes.
    """
    graph = _Tracer().trace(module.eval())
    parts = dict(module.named_modules())
    rows, blocks = {}, 0
    for node in graph.nodes:
        part = parts.get(str(node.target)) if node.op == "call_module" else None
        ends = set(_ends(node, parts)) if isinstance(part, nn.Conv2d | nn.Linear) else set()
        if ends in ({"batch"}, {"layer"}):
            rows[f"{node.target}.weight"] = len(part.weight)
            blocks += len(part.weight) if ends == {"batch"} else 1
    return rows, blocks


class _Tracer(fx.Tracer):
    """Norms are leaves, torchvision's own too."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, nn.LayerNorm) or super().is_leaf_module(module, name)


def _ends(node: fx.Node, parts: dict[str, nn.Module]) -> Iterator[str]:
    """What the values of ``node`` come to through transparent maps: a kind of norm, or something else."""
    for user in node.users:
        part: Any = parts.get(str(user.target)) if user.op == "call_module" else None
        if isinstance(part, _TRANSPARENT_MODULES) or user.target in _TRANSPARENT:
            yield from _ends(user, parts)
        else:
            yield "batch" if isinstance(part, _BatchNorm) else "layer" if isinstance(part, nn.LayerNorm) else ""


def compare(name: str, size: int) -> str:
    """The blocks found in a whole network, beside those that its graph tells."""
    from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
    from bnsharp_cli.measurement.surface.loss_surface import LossSurface

    torch.manual_seed(0)
    options = {"init_weights": False} if name in {"googlenet", "inception_v3"} else {}
    module = models.get_model(name, weights=None, num_classes=CLASSES, **options)
    surface = LossSurface.of(module, [(torch.randn(8, 3, size, size), torch.randint(CLASSES, (8,)))])
    began = time.process_time()
    blocks = find_blocks(surface, surface.point())
    rows, count = normalised_rows(module)
    found = {tensor.name: tensor.invariant for tensor in blocks.tensors if tensor.invariant}
    differ = [key for key in {*rows, *found} if key.endswith("weight") and rows.get(key) != found.get(key)]
    verdict = f"differ in {', '.join(sorted(differ))}" if differ or count != blocks.invariant else "agree"
    seconds = time.process_time() - began
    return f"{name:20} {blocks.invariant:7,} blocks, {count:7,} by the graph: {verdict} ({seconds:.0f} s)"


if __name__ == "__main__":
    for chosen in sys.argv[1:] or WHOLE:
        print(compare(chosen, WHOLE[chosen]), flush=True)  # noqa: T201  # it is a command
