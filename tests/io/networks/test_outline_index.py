"""The shipped index of outlines."""

from __future__ import annotations

from importlib.metadata import version

import pytest
import torchvision

from bnsharp_cli.io.networks.index_file import index_contents
from bnsharp_cli.io.networks.outline_index import index_text, known_outlines
from bnsharp_cli.io.networks.outlines import OpenDimension, names_hash, outline_of, read_off, shapes_hash, shapes_of
from tests.io.networks.outlines import needs_timms_outlines, outline, with_channels
from tools import index_architectures


def test_open_dimensions_follow_a_constructor() -> None:
    found = outline_of("torchvision:resnet18")
    assert found.classes == (OpenDimension("fc.bias", 0), OpenDimension("fc.weight", 0))
    assert found.channels == (OpenDimension("conv1.weight", 1),)
    fourfold = OpenDimension("stem.weight", 1, 4, 2)
    assert read_off([fourfold], {"stem.weight": (8, 14)}) == 3
    assert read_off([fourfold], {"stem.weight": (8, 15)}) is None
    assert read_off([fourfold, OpenDimension("a", 0)], {"stem.weight": (8, 14), "a": (4,)}) is None
    assert read_off([], {}) is None


def test_hashes_leave_out_the_open_dimensions_and_nothing_else() -> None:
    found = outline_of("torchvision:resnet18")
    masked = (*found.classes, *found.channels)
    other = shapes_of(with_channels(outline("resnet18", num_classes=77), 9))
    assert shapes_hash(found.shapes, masked) == shapes_hash(other, masked)
    assert shapes_hash(found.shapes) != shapes_hash(other)
    assert names_hash(found.shapes) == names_hash(shapes_of(outline("resnet34"))) or found.shapes != other
    changed = {**other, "layer1.0.bn1.weight": (65,)}
    assert shapes_hash(changed, masked) != shapes_hash(other, masked)


def test_the_index_lists_every_classifier_of_torchvision() -> None:
    if version("torchvision").partition("+")[0] != index_contents()["torchvision"]:
        pytest.skip("another torchvision than the index was built with")
    listed = {spec for known in known_outlines() for group in known.functions for spec in group}
    names = torchvision.models.list_models(module=torchvision.models)
    assert {f"torchvision:{name}" for name in names} <= listed


def assert_rebuilt(specs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for library, built_with in ((name, index_contents()[name]) for name in ("torchvision", "timm")):
        if version(library).partition("+")[0] != built_with:
            pytest.skip(f"another {library} than the index was built with")
    shipped = [line for line in index_contents()["networks"] if any(set(g) & set(specs) for g in line["functions"])]
    text = index_text(index_architectures.lines(specs), {})
    assert text == index_text(shipped, {})


@pytest.mark.parametrize(
    "specs",
    [
        ["torchvision:googlenet"],
        ["torchvision:regnet_x_400mf"],
        ["torchvision:vgg11"],
        pytest.param(
            ["timm:efficientnet_b0", "timm:efficientnet_blur_b0", "timm:tf_efficientnet_b0"], marks=needs_timms_outlines
        ),
        pytest.param(["torchvision:resnet18", "timm:resnet18", "timm:resnetblur18"], marks=needs_timms_outlines),
    ],
)
def test_a_part_of_the_index_is_rebuilt_bit_by_bit(specs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm", reason="the index holds timm's networks too")
    assert_rebuilt(specs, monkeypatch)
