"""Vision transformers for images of other sizes: recognised by their positions, and never without a nearest network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from bnsharp_cli.errors import CheckpointRefusedError, UsageError
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.networks.constructor_arguments import completed
from bnsharp_cli.io.networks.identify import identify
from bnsharp_cli.io.networks.load_weights import load_weights
from bnsharp_cli.io.networks.outlines import shapes_of_network

TINY = "vit_tiny_patch16_224"
SWIN = "swin_tiny_patch4_window7_224"
WINDOW = "layers.{}.blocks.0.attn.relative_position_bias_table"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (TINY, {"img_size": 64}),
        (TINY, {"img_size": 64, "patch_size": 8}),
        (TINY, {"patch_size": 8, "img_size": 112}),
        (TINY, {"img_size": 32, "in_chans": 1}),
        (TINY, {}),
        (SWIN, {"window_size": 4, "img_size": 128}),
        (SWIN, {"img_size": 128}),
        (SWIN, {"window_size": 12, "img_size": 384}),
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
        (SWIN, {"window_size": 4, "img_size": 128}, "swin"),
    ],
)
def test_the_nearest_network_of_a_transformer_of_another_size_can_be_named_as_printed(
    name: str, options: dict[str, Any], near: str, tmp_path: Path
) -> None:
    network = timm.create_model(name, num_classes=7, **options)
    torch.save(network.state_dict(), tmp_path / "net.pt")
    checkpoint = load_checkpoint(tmp_path / "net.pt")
    identity = identify(checkpoint)
    assert any(near in candidate.spec for candidate in identity.candidates)
    with pytest.raises(UsageError, match="Nearest: ") as caught:
        identity.build(checkpoint)
    printed = re.search(r"for example arch (\S+) or", caught.value.remedy)
    assert printed
    named = identify(checkpoint, printed[1])
    module = named.build(checkpoint)
    load_weights(module, checkpoint, named)
    side = options["img_size"]
    images = torch.rand(2, 3, side, side)
    assert torch.equal(module.eval()(images), network.eval()(images))


def test_the_option_that_is_printed_for_a_network_that_averages_over_patches_works(tmp_path: Path) -> None:
    network = timm.create_model(TINY, num_classes=7, global_pool="avg")
    torch.save({"model": network.state_dict()}, tmp_path / "net.pt")
    checkpoint = load_checkpoint(tmp_path / "net.pt")
    identity = identify(checkpoint, f"timm:{TINY}")
    with pytest.raises(CheckpointRefusedError, match="has unknown fc_norm") as caught:
        load_weights(identity.build(checkpoint), checkpoint, identity)
    printed = re.fullmatch(r"Add arch_option (\w+)=(\w+)\.", caught.value.remedy)
    assert printed
    identity = identify(checkpoint, f"timm:{TINY}", {printed[1]: printed[2]})
    module = identity.build(checkpoint)
    load_weights(module, checkpoint, identity)
    images = torch.rand(2, 3, 224, 224)
    assert torch.equal(module.eval()(images), network.eval()(images))


@pytest.mark.parametrize(
    ("name", "options"),
    [(TINY, {"patch_size": 8, "img_size": 64}), (SWIN, {"window_size": 4, "img_size": 128}), (SWIN, {"img_size": 160})],
)
def test_timms_script_may_state_sizes_that_the_shapes_confirm(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    network = timm.create_model(name, num_classes=7, **options)
    marks = dict.fromkeys(("img_size", "crop_pct", "interpolation", "mean", "std"))
    for stated, source in ((options, "metadata"), ({**options, "img_size": 10**6}, None)):
        args = {"model": name, **marks, "model_kwargs": stated}
        torch.save({"arch": name, "state_dict": network.state_dict(), "args": args}, tmp_path / "net.pt")
        checkpoint = load_checkpoint(tmp_path / "net.pt")
        if source is None:
            with pytest.raises(CheckpointRefusedError, match="img_size=1000000, which a file may not decide"):
                identify(checkpoint)
            continue
        identity = identify(checkpoint)
        assert (identity.spec, identity.source) == (f"timm:{name}", source)
        assert options.items() <= identity.options.items()
        module = identity.build(checkpoint)
        load_weights(module, checkpoint, identity)
        images = torch.rand(2, 3, options["img_size"], options["img_size"])
        assert torch.equal(module.eval()(images), network.eval()(images))


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


@pytest.mark.parametrize("table", [(10**12, 0), (169, 0), (10**12, 3), (65**2 - 1, 3), (0, 3), (169,)])
def test_no_window_is_read_off_tables_that_no_swin_has(table: tuple[int, ...]) -> None:
    shapes = {**shapes_of_network(f"timm:{SWIN}", {}), WINDOW.format(0): table}
    found = completed(f"timm:{SWIN}", {}, shapes)
    assert found.get("window_size", 7) <= 32
    assert found.get("img_size", 224) <= 32 * 32
