"""Weights under the names of earlier versions of the libraries, and entries beside them that are no weights."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import densenet121, resnet18
from torchvision.models.vision_transformer import VisionTransformer

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.networks.earlier_names import torchvisions_names
from bnsharp_cli.io.networks.identify import identify
from bnsharp_cli.io.networks.load_weights import load_tensors, load_weights
from tests.io.checkpoints.test_weights import FILE, net, prefixed, weights

SWIN = "swin_tiny_patch4_window7_224"


def opened(state: dict[str, Any], folder: Path, arch: str | None = None) -> tuple[nn.Module, tuple[str, ...], str]:
    torch.save(state, folder / "net.pt")
    checkpoint = load_checkpoint(folder / "net.pt")
    identity = identify(checkpoint, arch)
    module = identity.build(checkpoint)
    return module, load_weights(module, checkpoint, identity), identity.spec


def same(module: nn.Module, other: nn.Module) -> bool:
    left, right = module.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left if not name.endswith("num_batches_tracked")
    )


def counted(state: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """The numbers of ``thop.profile``, which it registers in every module."""
    modules = {""} | {name.rpartition(".")[0] + "." for name in state}
    names = (f"{prefix}{module}{what}" for module in modules for what in ("total_ops", "total_params"))
    return {**prefixed(prefix, state), **{name: torch.zeros(1, dtype=torch.float64) for name in names}}


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_what_thop_counted_is_no_weight(prefix: str, tmp_path: Path) -> None:
    network = resnet18(num_classes=3)
    for arch in ("torchvision:resnet18", None):
        module, notes, spec = opened(counted(network.state_dict(), prefix), tmp_path, arch)
        assert same(module, network)
        assert spec == "torchvision:resnet18"
        assert next(module.parameters()).dtype == torch.float32
        assert any("left out as no part of the network" in note and "total_ops" in note for note in notes)


def test_a_network_that_has_such_buffers_keeps_them() -> None:
    module = net()
    module.register_buffer("total_ops", torch.zeros(1))
    assert load_tensors(module, {**weights(), "total_ops": torch.ones(1)}, FILE) == ()
    assert module.total_ops == 1
    with pytest.raises(CheckpointRefusedError, match="has unknown total_ops"):
        load_tensors(net(), {**weights(), "total_ops": torch.ones(2)}, FILE)


def old_densenet(state: dict[str, Tensor]) -> dict[str, Tensor]:
    kept = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    return {re.sub(r"\.(norm|conv)([12])\.", r".\1.\2.", name): tensor for name, tensor in kept.items()}


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_the_names_of_the_first_densenets(prefix: str, tmp_path: Path) -> None:
    network = densenet121(num_classes=5)
    for arch in ("torchvision:densenet121", None):
        module, _, spec = opened(prefixed(prefix, old_densenet(network.state_dict())), tmp_path, arch)
        assert same(module, network)
        assert spec == "torchvision:densenet121"


def test_the_names_of_the_first_vision_transformers_are_those_of_torchvisions_own_hook() -> None:
    network = VisionTransformer(8, 4, 2, 2, 8, 12, num_classes=3)
    old = {
        name.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): 1 + tensor
        for name, tensor in network.state_dict().items()
    }
    assert len([name for name in old if "linear_" in name]) == 8
    by_hook = VisionTransformer(8, 4, 2, 2, 8, 12, num_classes=3)
    by_hook.load_state_dict(dict(old))  # without versions: the hook renames
    load_tensors(network, old, FILE)
    assert same(network, by_hook)


def test_a_network_with_old_names_keeps_them() -> None:
    def own() -> nn.Module:
        block = nn.ModuleDict({"mlp": nn.ModuleDict({"linear_1": nn.Linear(2, 2), "linear_2": nn.Linear(2, 2)})})
        return nn.ModuleDict({"encoder_layer_0": block})

    module = own()
    load_tensors(module, state := own().state_dict(), FILE)
    assert torch.equal(
        module.state_dict()["encoder_layer_0.mlp.linear_1.weight"], state["encoder_layer_0.mlp.linear_1.weight"]
    )


def microsofts(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A Swin as Microsoft's files have it: it shrinks at the end of a stage, and some buffers are kept."""
    old = {}
    for name, tensor in state.items():
        moved = re.sub(r"layers\.(\d)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", name)
        old[moved.replace("head.fc.", "head.")] = tensor
    return {**old, "layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49, dtype=torch.int64)}


@pytest.mark.parametrize("change", [microsofts, lambda state: prefixed("model.", microsofts(state))])
def test_microsofts_and_old_timms_swin(change: Callable[..., dict[str, Tensor]], tmp_path: Path) -> None:
    network = timm.create_model(SWIN, num_classes=4)
    module, notes, _ = opened({"model": change(network.state_dict())}, tmp_path, f"timm:{SWIN}")
    assert same(module, network)
    assert any("relative_position_index" in note for note in notes)


def test_what_timm_would_resample_is_refused(tmp_path: Path) -> None:
    small = timm.create_model(SWIN, num_classes=4, window_size=4, img_size=128)
    torch.save(microsofts(small.state_dict()), tmp_path / "net.pt")
    checkpoint = load_checkpoint(tmp_path / "net.pt")
    identity = identify(checkpoint, f"timm:{SWIN}", {"window_size": 7, "img_size": 224})
    with pytest.raises(CheckpointRefusedError, match="does not fit"):
        load_weights(identity.build(checkpoint), checkpoint, identity)


def test_windows_of_another_size_are_read_off_earlier_names_too(tmp_path: Path) -> None:
    small = timm.create_model(SWIN, num_classes=4, window_size=4, img_size=128).eval()
    module, _, _ = opened(microsofts(small.state_dict()), tmp_path, f"timm:{SWIN}")
    assert same(module, small)
    images = torch.rand(2, 3, 128, 128)
    assert torch.equal(module.eval()(images), small(images))


@pytest.mark.parametrize("weight", ["layers.0.blocks.0.attn.qkv.extra", "head_dist.weight", "attn_mask"])
def test_weights_that_timm_leaves_out_are_not_passed_over(weight: str) -> None:
    network = timm.create_model(SWIN, num_classes=4)
    with pytest.raises(CheckpointRefusedError, match="does not fit"):
        load_tensors(network, {**microsofts(network.state_dict()), weight: torch.ones(3)}, FILE)


@pytest.mark.parametrize("name", ["patch_embed.proj.weight", "x.patch_embed.proj.weight"])
def test_no_shape_of_a_file_decides_how_long_timms_filter_takes(name: str) -> None:
    network = timm.create_model(SWIN, num_classes=4)
    huge = torch.zeros(1).expand(96, 3, 2000, 2000)
    began = time.process_time()
    with pytest.raises(CheckpointRefusedError, match="does not fit"):
        load_tensors(network, {**microsofts(network.state_dict()), name: huge}, FILE)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("values", [1.0, 2.0])
def test_a_buffer_that_the_network_computes_is_left_out_where_the_file_has_the_same(values: float) -> None:
    module = net()
    module.register_buffer("positions", torch.ones(3), persistent=False)
    found = {**weights(), "positions": torch.full((3,), values)}
    if values == 1.0:
        assert load_tensors(module, found, FILE) == ("left out as no part of the network: positions",)
    else:
        with pytest.raises(CheckpointRefusedError, match="has unknown positions"):
            load_tensors(module, found, FILE)


def test_names_that_collide_stay_as_they_are() -> None:
    one = {"denselayer1.norm.1.weight": torch.ones(1), "denselayer1.norm1.weight": torch.zeros(1)}
    assert torchvisions_names(one) == one
