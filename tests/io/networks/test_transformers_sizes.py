"""Vision transformers for images of other sizes: recognised by their positions, and never without a nearest network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.networks.constructor_arguments import completed
from bnsharp_cli.io.networks.identify import identify
from bnsharp_cli.io.networks.load_weights import load_weights
from bnsharp_cli.io.networks.outlines import shapes_of_network

TINY = "vit_tiny_patch16_224"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (TINY, {"img_size": 64}),
        (TINY, {"img_size": 64, "patch_size": 8}),
        (TINY, {"patch_size": 8, "img_size": 112}),
        (TINY, {"img_size": 32, "in_chans": 1}),
        (TINY, {}),
        ("deit_tiny_distilled_patch16_224", {"img_size": 96}),
        ("vit_small_patch16_224", {"img_size": 48, "class_token": False, "global_pool": "avg"}),
    ],
)
def test_the_arguments_are_read_off_the_shapes(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    network = timm.create_model(name, num_classes=7, **options)
    torch.save({"state_dict": network.state_dict(), "arch": name}, tmp_path / "net.pt")
    checkpoint = load_checkpoint(tmp_path / "net.pt")
    told = {key: value for key, value in options.items() if key in ("class_token", "global_pool")}
    for arch in (f"timm:{name}", None):
        identity = identify(checkpoint, arch, told)
        assert {**options, "num_classes": 7}.items() <= identity.options.items()
        module = identity.build(checkpoint)
        load_weights(module, checkpoint, identity)
        assert all(torch.equal(own, network.state_dict()[key]) for key, own in module.state_dict().items())


@pytest.mark.parametrize(
    ("name", "options", "near"),
    [
        (TINY, {"img_size": 64}, "timm:vit_tiny_patch16"),
        ("swin_tiny_patch4_window7_224", {"window_size": 4, "img_size": 128}, "swin"),
    ],
)
def test_a_transformer_of_another_size_has_a_nearest_network(
    name: str, options: dict[str, Any], near: str, tmp_path: Path
) -> None:
    network = timm.create_model(name, num_classes=7, **options)
    torch.save(network.state_dict(), tmp_path / "net.pt")
    checkpoint = load_checkpoint(tmp_path / "net.pt")
    identity = identify(checkpoint)
    assert any(near in candidate.spec for candidate in identity.candidates)
    with pytest.raises(UsageError, match="Nearest: ") as caught:
        identity.build(checkpoint)
    assert f"for example arch {identity.candidates[0].spec} or" in caught.value.remedy


@pytest.mark.parametrize(
    ("positions", "patches"),
    [
        ((1, 10**12 + 1, 0), (192, 3, 16, 16)),
        ((1, 10**12 + 1, 1), (192, 3, 16, 16)),
        ((1, 17, 192), (192, 0, 10**9, 10**9)),
        ((1, 17, 192), (192, 3, 0, 10**9)),
        ((1, 17, 192), (0, 3, 10**9, 10**9)),
    ],
)
def test_no_size_is_read_off_tensors_without_numbers(positions: tuple[int, ...], patches: tuple[int, ...]) -> None:
    shapes = {**shapes_of_network(f"timm:{TINY}", {}), "pos_embed": positions, "patch_embed.proj.weight": patches}
    assert not {"img_size", "patch_size"} & completed(f"timm:{TINY}", {}, shapes).keys()
