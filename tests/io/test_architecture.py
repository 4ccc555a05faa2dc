"""Architectures by name, by the shapes of the weights, and by the user's own factory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

from bnsharp_cli.errors import CheckpointRefusedError, UsageError
from bnsharp_cli.io.architecture import build_architecture
from bnsharp_cli.models import lenet_bn, vgg11_bn


@pytest.mark.parametrize(("channels", "classes", "size"), [(1, 10, 8), (3, 100, 32), (3, 7, 28), (1, 2, 12)])
def test_lenet_is_read_off_its_weights(channels: int, classes: int, size: int) -> None:
    weights = lenet_bn(channels, classes, size).state_dict()
    built = build_architecture("lenet-bn", {}, weights)
    assert {name: t.shape for name, t in built.state_dict().items()} == {name: t.shape for name, t in weights.items()}
    assert built(torch.zeros(2, channels, size, size)).shape == (2, classes)


def test_the_papers_networks_have_no_bias_before_a_norm() -> None:
    for module in (lenet_bn(), vgg11_bn(3, 100)):
        biases = [name for name, _ in module.named_parameters() if name.endswith("bias") and "norm" not in name]
        assert biases == ["output.bias"]
    assert vgg11_bn(1, 5)(torch.zeros(2, 1, 32, 32)).shape == (2, 5)
    weights = 3 * 6 * 25 + 6 * 16 * 25 + 400 * 120 + 120 * 84 + 84 * 10 + 10
    assert sum(p.numel() for p in lenet_bn().parameters()) == weights + 2 * (6 + 16 + 120 + 84)


def test_torchvision_networks_take_their_classes_from_the_weights() -> None:
    weights = torchvision.models.resnet18(num_classes=7).state_dict()
    assert build_architecture("torchvision:resnet18", {}, weights).fc.out_features == 7


def test_a_factory_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from torch import nn\ndef net(width=2):\n    return nn.Linear(width, 1)\n")
    assert build_architecture(f"{tmp_path / 'mine.py'}:net", {"width": 5}).in_features == 5


def test_a_checkpoint_cannot_name_code_to_import(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')\ndef net(): pass\n")
    for spec in (f"{tmp_path / 'evil.py'}:net", "os:system", "torchvision:../evil", "subprocess:run"):
        with pytest.raises(CheckpointRefusedError, match="would import code"):
            build_architecture(spec, {}, trusted=False)
    assert not marker.exists()


def test_torchvision_networks_that_would_fetch_a_backbone_are_refused() -> None:
    with pytest.raises(UsageError, match="no image classifier 'fcn_resnet50'"):
        build_architecture("torchvision:fcn_resnet50", {}, trusted=False)


@pytest.mark.parametrize("spec", ["lenet", "torchvision:resnet19", "none:such", "lenet-bn:x"])
def test_unknown_architectures(spec: str) -> None:
    with pytest.raises(UsageError):
        build_architecture(spec, {})


def test_unknown_options_are_named() -> None:
    with pytest.raises(UsageError, match="lenet-bn has no option depth"):
        build_architecture("lenet-bn", {"depth": 3})
