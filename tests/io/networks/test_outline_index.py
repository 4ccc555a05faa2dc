"""The shipped index of outlines."""

from __future__ import annotations

from importlib.metadata import version

import pytest
import torchvision

from bnsharp_cli.io.networks import outline_index as index
from bnsharp_cli.io.networks.outlines import Slot, names_hash, read_off, shapes_hash, shapes_of, skeleton
from tests.io.networks.outlines import needs_timms_outlines, outline, with_channels
from tools import index_architectures


def test_slots_follow_a_constructor() -> None:
    found = skeleton("torchvision:resnet18")
    assert found.classes == (Slot("fc.bias", 0), Slot("fc.weight", 0))
    assert found.channels == (Slot("conv1.weight", 1),)
    fourfold = Slot("stem.weight", 1, 4, 2)
    assert read_off([fourfold], {"stem.weight": (8, 14)}) == 3
    assert read_off([fourfold], {"stem.weight": (8, 15)}) is None
    assert read_off([fourfold, Slot("a", 0)], {"stem.weight": (8, 14), "a": (4,)}) is None
    assert read_off([], {}) is None


def test_hashes_leave_out_what_the_slots_decide_and_nothing_else() -> None:
    found = skeleton("torchvision:resnet18")
    masked = (*found.classes, *found.channels)
    other = shapes_of(with_channels(outline("resnet18", num_classes=77), 9))
    assert shapes_hash(found.shapes, masked) == shapes_hash(other, masked)
    assert shapes_hash(found.shapes) != shapes_hash(other)
    assert names_hash(found.shapes) == names_hash(shapes_of(outline("resnet34"))) or found.shapes != other
    changed = {**other, "layer1.0.bn1.weight": (65,)}
    assert shapes_hash(changed, masked) != shapes_hash(other, masked)


def test_the_index_lists_every_classifier_of_torchvision() -> None:
    if version("torchvision").partition("+")[0] != index.contents()["torchvision"]:
        pytest.skip("another torchvision than the index was built with")
    listed = {spec for known in index.known() for group in known.functions for spec in group}
    names = torchvision.models.list_models(module=torchvision.models)
    assert {f"torchvision:{name}" for name in names} <= listed


def rebuilt(specs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for library, built_with in ((name, index.contents()[name]) for name in ("torchvision", "timm")):
        if version(library).partition("+")[0] != built_with:
            pytest.skip(f"another {library} than the index was built with")
    shipped = [line for line in index.contents()["networks"] if any(set(g) & set(specs) for g in line["functions"])]
    text = index.write(index_architectures.lines(specs), {})
    assert text == index.write(shipped, {})


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
    rebuilt(specs, monkeypatch)
