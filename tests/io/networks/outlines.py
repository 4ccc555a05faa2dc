"""Networks in outline, for tests of what is recognised."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from bnsharp_cli.io.checkpoints.checkpoint import Checkpoint
from bnsharp_cli.io.networks.constructors import construct_on_meta
from bnsharp_cli.io.networks.network_identity import NetworkIdentity
from bnsharp_cli.io.networks.outline_index import known_outlines
from bnsharp_cli.io.networks.outlines import shapes_of

KNOWN = {spec for known in known_outlines() for group in known.functions for spec in group}
needs_timms_outlines = pytest.mark.skipif(
    not any(spec.startswith("timm:") for spec in KNOWN),
    reason="the shipped index holds no network of timm's: python -m tools.index_architectures adds them",
)

FAMILIES = [
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "resnet18",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "vgg11",
    "vit_b_16",
]


def checkpoint(tensors: Mapping[str, Tensor], format_: str = "state_dict", **metadata: Any) -> Checkpoint:
    return Checkpoint(Path("net.pt"), "0" * 64, format_, tensors, metadata)


def outline(name: str, **options: Any) -> dict[str, Tensor]:
    """The state dict of one of torchvision's networks, without a byte of weights."""
    return construct_on_meta(f"torchvision:{name}", options).state_dict()


def with_channels(tensors: dict[str, Tensor], channels: int) -> dict[str, Tensor]:
    """The first convolution, which takes colours, made to take another number of channels."""
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 4 and tensor.shape[1] == 3)
    return {**tensors, name: tensors[name][:, :1].expand(-1, channels, -1, -1)}


def fitted(identity: NetworkIdentity, tensors: Mapping[str, Tensor]) -> bool:
    return shapes_of(construct_on_meta(identity.spec, identity.options).state_dict()) == shapes_of(tensors)
