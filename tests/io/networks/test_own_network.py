"""Weights of a known network with another head or stem: the function that is printed builds it as it stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.networks.identify import identify
from bnsharp_cli.io.networks.load_weights import load_weights


def resnet(**parts: nn.Module) -> nn.Module:
    return with_parts(torchvision.models.resnet18(num_classes=7), **parts)


def with_parts(network: nn.Module, **parts: nn.Module) -> nn.Module:
    for name, part in parts.items():
        setattr(network, name, part)
    return network


NETWORKS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "dropout before the head": (
        "torchvision:resnet18",
        lambda: resnet(fc=nn.Sequential(nn.Dropout(), nn.Linear(512, 7))),
    ),
    "a head without bias": ("torchvision:resnet18", lambda: resnet(fc=nn.Linear(512, 7, bias=False))),
    "a wider head": (
        "torchvision:resnet18",
        lambda: resnet(fc=nn.Sequential(nn.Linear(512, 64), nn.BatchNorm1d(64), nn.Identity(), nn.Linear(64, 7))),
    ),
    "a stem for small images": ("torchvision:resnet18", lambda: resnet(conv1=nn.Conv2d(3, 64, 3, 1, 1, bias=False))),
    "stem and head": (
        "torchvision:resnet18",
        lambda: resnet(
            conv1=nn.Sequential(nn.Conv2d(3, 32, 5, 1, 2, bias=False), nn.BatchNorm2d(32), nn.Conv2d(32, 64, 1)),
            fc=nn.Sequential(nn.Identity(), nn.Linear(512, 7)),
        ),
    ),
    "a classifier of one layer": (
        "torchvision:mobilenet_v2",
        lambda: with_parts(torchvision.models.mobilenet_v2(), classifier=nn.Linear(1280, 7)),
    ),
    "a network of timm's": (
        "timm:resnet18",
        lambda: with_parts(timm.create_model("resnet18"), fc=nn.Sequential(nn.LayerNorm(512), nn.Linear(512, 7))),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("wrap", ["", "module.model."])
def test_the_function_that_is_printed_works(name: str, wrap: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec, build = NETWORKS[name]
    network = build().eval()
    weights = {f"{wrap}{key}": tensor for key, tensor in network.state_dict().items()}
    torch.save({"state_dict": weights}, tmp_path / "net.pt")
    checkpoint = load_checkpoint(tmp_path / "net.pt")
    identity = identify(checkpoint, spec)
    with pytest.raises(CheckpointRefusedError, match="does not fit") as caught:
        load_weights(identity.build(checkpoint), checkpoint, identity)
    code, arch = re.search(r"`(.*)`", caught.value.remedy), re.search(r"arch net\.py:(\w+)\.", caught.value.remedy)
    assert code
    assert arch
    (tmp_path / "net.py").write_text(code[1])
    own = identify(checkpoint, f"{tmp_path / 'net.py'}:{arch[1]}")
    module = own.build(checkpoint)
    load_weights(module, checkpoint, own)
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(module.eval()(images), network(images))


@pytest.mark.parametrize(
    "network",
    [
        lambda: resnet(projector=nn.Linear(512, 7)),
        lambda: resnet(layer1=nn.Sequential(nn.Sequential(nn.Linear(2, 2)))),
        lambda: resnet(fc=nn.Sequential(*[nn.Linear(7, 7) for _ in range(99)])),
        lambda: resnet(fc=nn.Conv3d(2, 2, 2)),
        lambda: resnet(fc=nn.GRU(2, 2)),
        lambda: resnet(fc=nn.Conv2d(2, 2, 3), conv1=nn.Conv2d(3, 64, (3, 1)), bn1=nn.LayerNorm(3)),
    ],
)
def test_what_no_line_can_build_is_left_to_the_user(network: Callable[[], nn.Module], tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "net.pt")
    checkpoint = load_checkpoint(tmp_path / "net.pt")
    identity = identify(checkpoint, "torchvision:resnet18")
    with pytest.raises(CheckpointRefusedError, match="does not fit") as caught:
        load_weights(identity.build(checkpoint), checkpoint, identity)
    assert "`" not in caught.value.remedy
    assert "file.py:factory" in caught.value.remedy


def test_another_network_is_no_head(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "net.pt")
    checkpoint = load_checkpoint(tmp_path / "net.pt")
    identity = identify(checkpoint, "torchvision:vgg11")
    with pytest.raises(CheckpointRefusedError) as caught:
        load_weights(identity.build(checkpoint), checkpoint, identity)
    assert "`" not in caught.value.remedy
