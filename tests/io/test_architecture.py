"""Architectures by name, by the checkpoint's own word, and by the names and shapes of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from bnsharp_cli.errors import CheckpointRefusedError, UsageError
from bnsharp_cli.io import index
from bnsharp_cli.io import skeleton as skeletons
from bnsharp_cli.io.architecture import Identity, build_architecture, identify
from bnsharp_cli.io.checkpoint import Checkpoint, fit
from bnsharp_cli.io.constructors import construct, in_outline, to_be_loaded
from bnsharp_cli.io.skeleton import Slot, names_hash, read_off, shapes_hash, shapes_of, skeleton
from bnsharp_cli.models import lenet_bn, vgg11_bn
from tools import index_architectures

KNOWN = {spec for known in index.known() for group in known.functions for spec in group}
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
    return in_outline(f"torchvision:{name}", options).state_dict()


def with_channels(tensors: dict[str, Tensor], channels: int) -> dict[str, Tensor]:
    """The first convolution, which takes colours, made to take another number of channels."""
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 4 and tensor.shape[1] == 3)
    return {**tensors, name: tensors[name][:, :1].expand(-1, channels, -1, -1)}


def fitted(identity: Identity, tensors: Mapping[str, Tensor]) -> bool:
    return shapes_of(in_outline(identity.spec, identity.options).state_dict()) == shapes_of(tensors)


@pytest.mark.parametrize("name", FAMILIES)
def test_torchvisions_families_are_found_whatever_their_classes_and_channels(name: str) -> None:
    tensors = with_channels(outline(name, num_classes=23), 1)
    found = identify(checkpoint(tensors))
    assert (found.spec, found.source) == (f"torchvision:{name}", "guess")
    assert fitted(found, tensors)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_without_their_auxiliary_classifiers(name: str) -> None:
    tensors = outline(name, num_classes=5, aux_logits=False)
    found = identify(checkpoint(tensors))
    assert found.spec == f"torchvision:{name}"
    assert found.options["aux_logits"] is False
    assert fitted(found, tensors)


@pytest.mark.parametrize("module", [lenet_bn(1, 10, 8), lenet_bn(3, 7, 28), lenet_bn(2, 2, 12), vgg11_bn(1, 5)])
def test_the_papers_networks_are_found(module: nn.Module) -> None:
    found = identify(checkpoint(module.state_dict()))
    assert found.spec in {"lenet-bn", "vgg11-bn"}
    assert fitted(found, module.state_dict())


def test_what_is_found_takes_the_weights() -> None:
    module = with_channels(torchvision.models.resnet18(num_classes=4).state_dict(), 2)
    file = checkpoint({f"module.model.{name}": tensor for name, tensor in module.items()})
    found = identify(file)
    network = found.build(file)
    fit(network, file)
    assert all(torch.equal(tensor, module[name]) for name, tensor in network.state_dict().items())
    assert network(torch.zeros(2, 2, 32, 32)).shape == (2, 4)


def test_a_network_of_the_users_own_is_unknown_and_the_nearest_are_named() -> None:
    tensors = outline("resnet34", num_classes=10)
    del tensors["layer3.5.bn2.bias"]
    tensors["extra.weight"] = torch.empty(3, 3, device="meta")
    found = identify(checkpoint(tensors))
    assert (found.spec, found.source) == ("", "unknown")
    nearest, reference = found.candidates[0], shapes_of(outline("resnet34"))
    assert nearest.spec == "torchvision:resnet34"
    assert nearest.shared == len(reference) - 3  # without the bias that is gone, and the classifier of 1,000
    assert nearest.tensors == len(reference) + 3
    with pytest.raises(UsageError, match=r"none known here has its names and shapes\. Nearest: torchvision:resnet34"):
        found.build(checkpoint(tensors))


def test_nothing_is_near_a_network_that_shares_no_name() -> None:
    found = identify(checkpoint({"strange": torch.ones(3)}))
    assert found.candidates == ()
    with pytest.raises(UsageError, match="none known here has its names and shapes") as caught:
        found.build(checkpoint({"strange": torch.ones(3)}))
    assert "--arch" in caught.value.remedy


def test_two_sizes_that_disagree_are_no_match() -> None:
    tensors = outline("resnet18", num_classes=10)
    tensors["fc.bias"] = torch.empty(11, device="meta")
    assert identify(checkpoint(tensors)).source == "unknown"


@needs_timms_outlines
def test_networks_that_compute_different_functions_with_one_outline_are_listed() -> None:
    pytest.importorskip("timm", reason="timm's networks share outlines, torchvision's do not")
    tensors = in_outline("timm:efficientnet_b0", {"num_classes": 10}).state_dict()
    found = identify(checkpoint(tensors))
    assert found.source == "unknown"
    assert {"timm:efficientnet_b0", "timm:tf_efficientnet_b0"} <= {candidate.spec for candidate in found.candidates}
    with pytest.raises(UsageError, match=r"several fit them: .*timm:efficientnet_b0") as caught:
        found.build(checkpoint(tensors))
    assert caught.value.remedy.startswith("Say which, for example --arch timm:")
    said = identify(checkpoint(tensors, args={"model": "tf_efficientnet_b0"}))
    assert (said.spec, said.source) == ("timm:tf_efficientnet_b0", "metadata")
    assert fitted(said, tensors)


@needs_timms_outlines
def test_torchvisions_own_is_taken_where_timm_has_variants_of_it_and_they_are_named() -> None:
    pytest.importorskip("timm", reason="the variants are timm's")
    tensors = in_outline("torchvision:resnet18", {"num_classes": 10}).state_dict()
    found = identify(checkpoint(tensors))
    assert (found.spec, found.source) == ("torchvision:resnet18", "guess")
    assert "timm:resnet18 computes the same" in found.notes
    assert "timm:resnetblur18 has the same names and shapes, and computes something else" in found.notes


@needs_timms_outlines
def test_timms_networks_are_found_with_other_classes_and_channels() -> None:
    pytest.importorskip("timm")
    for name in ("convnext_atto", "resnet10t", "vit_tiny_patch16_224", "mobilenetv3_small_050"):
        tensors = in_outline(f"timm:{name}", {"num_classes": 3, "in_chans": 1}).state_dict()
        found = identify(checkpoint(tensors))
        specs = {found.spec, *(candidate.spec for candidate in found.candidates)}
        group = next(group for known in index.known() for group in known.functions if f"timm:{name}" in group)
        assert specs & set(group)
        if found.spec:
            assert fitted(found, tensors)


@needs_timms_outlines
def test_where_timm_is_not_installed_its_networks_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    tensors = in_outline("timm:convnext_atto", {"num_classes": 3}).state_dict()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="fits timm:convnext_atto, but timm is not installed") as caught:
        identify(checkpoint(tensors)).build(checkpoint(tensors))
    assert caught.value.remedy == "pip install timm"


WORDS: list[dict[str, Any]] = [
    {"arch": "resnet18"},
    {"hyper_parameters": {"model_name": "resnet18", "lr": 0.1}},
    {"hyper_parameters": {"backbone": "torchvision:resnet18"}},
    {"arch": "resnet", "model": "resnet18"},
    {"hyper_parameters": {"arch": 3, "encoder": "resnet18"}},
]


@pytest.mark.parametrize("metadata", WORDS)
def test_the_files_word_wins_over_a_guess(metadata: dict[str, Any]) -> None:
    tensors = outline("resnet18", num_classes=6)
    found = identify(checkpoint(tensors, **metadata))
    assert (found.spec, found.source) == ("torchvision:resnet18", "metadata")
    assert fitted(found, tensors)


def test_timms_training_script_means_timms_network() -> None:
    pytest.importorskip("timm")
    tensors = outline("resnet18", num_classes=6)
    word = {"arch": "resnet18", "args": {"model": "resnet18", "img_size": None}}
    assert identify(checkpoint(tensors, **word)).spec == "timm:resnet18"
    assert identify(checkpoint(tensors, arch="resnet18")).spec == "torchvision:resnet18"


def test_the_users_word_wins_over_the_files() -> None:
    tensors = outline("resnet18", num_classes=6)
    assert identify(checkpoint(tensors, arch="resnet18"), "torchvision:resnet34").spec == "torchvision:resnet34"
    own = checkpoint(lenet_bn(1, 10, 8).state_dict(), "bnsharp/1", architecture="lenet-bn")
    assert identify(own, "vgg11-bn").source == "option"
    assert identify(own).source == "metadata"


@pytest.mark.parametrize(
    "word", ["resnet34", "no_such_network", "os:system", "mine.py:net", "../x", "x" * 5000, "\x1b[31m"]
)
def test_a_word_that_does_not_fit_is_noted_and_not_followed(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnsharp_cli.io.constructors.run_factory", None)
    found = identify(checkpoint(outline("resnet18"), arch=word))
    assert (found.spec, found.source) == ("torchvision:resnet18", "guess")
    assert "but that is none known here" in found.notes[0]
    assert "\x1b" not in found.notes[0]
    assert len(found.notes[0]) < 400


def test_a_file_that_names_many_networks_has_few_of_them_built(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    monkeypatch.setattr(skeletons, "in_outline", lambda spec, options: built.append(spec) or in_outline(spec, options))
    stated = {
        container: {key: f"torchvision:{name}" for key, name in zip(("arch", "model", "backbone"), names, strict=True)}
        for container, names in zip(("args", "config", "opt"), zip(*[iter(FAMILIES)] * 3, strict=False), strict=False)
    }
    assert not identify(checkpoint({"a.b.c.d.weight": torch.zeros(2, 2)}, **stated)).spec
    first = [*stated["args"].values(), stated["config"]["arch"]]
    assert [spec for spec in built if spec.startswith("torchvision:")] == first


def test_a_checkpoint_cannot_name_code_to_import(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')\ndef net(): pass\n")
    for spec in (f"{tmp_path / 'evil.py'}:net", "os:system", "torchvision:../evil", "subprocess:run", "huggingface:/"):
        with pytest.raises(CheckpointRefusedError, match="would import code"):
            identify(checkpoint(outline("resnet18"), "bnsharp/1", architecture=spec))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"classes": 2**40}, r"classes=1099511627776, which a file may not decide"),
        ({"classes": 2**30}, r"holds 2\d,\d\d\d numbers, lenet-bn would need 91,2"),
        ({"in_channels": 2**20}, r"holds 2\d,\d\d\d numbers, lenet-bn would need"),
        ({"image_size": 4096}, r"holds 2\d,\d\d\d numbers, lenet-bn would need"),
        ({"image_size": 3}, "Cannot build 'lenet-bn': image_size must be at least 8"),
        ({"classes": 10**5000}, "which a file may not decide"),
        ({"classes": -1}, "classes=-1, which a file may not decide"),
        ({"classes": True}, "classes=True, which a file may not decide"),
        ({"classes": "10"}, "classes='10', which a file may not decide"),
        ({"depth": 10**9}, "depth=1000000000, which a file may not decide"),
        ({"checkpoint_path": "/etc/passwd"}, "which a file may not decide"),
        ({"\x1b[31m\n": 1}, "which a file may not decide"),
        ([1, 2], "'architecture_options' are a list"),
    ],
)
def test_arguments_that_a_file_states_are_bounded(options: Any, says: str) -> None:
    file = checkpoint(
        lenet_bn(1, 10, 8).state_dict(), "bnsharp/1", architecture="lenet-bn", architecture_options=options
    )
    with pytest.raises(CheckpointRefusedError, match=says) as caught:
        identify(file).build(file)
    assert "\x1b" not in caught.value.reason
    assert "\n" not in caught.value.reason


def test_a_small_file_cannot_ask_for_a_large_network() -> None:
    file = checkpoint({"conv1.weight": torch.ones(64, 3, 7, 7)}, "bnsharp/1", architecture="torchvision:vit_h_14")
    with pytest.raises(CheckpointRefusedError, match=r"holds 9,408 numbers, torchvision:vit_h_14 would need 63\d,"):
        identify(file).build(file)


@pytest.mark.parametrize("size", [32, 64])
def test_a_vision_transformers_image_size_is_read_off_its_positions(size: int) -> None:
    tensors = outline("vit_b_32", num_classes=3, image_size=size)
    assert fitted(identify(checkpoint(tensors), "torchvision:vit_b_32"), tensors)


def test_torchvisions_networks_take_other_channels_when_asked() -> None:
    network = build_architecture("torchvision:squeezenet1_1", {"in_channels": 5, "num_classes": 2})
    reference = torchvision.models.squeezenet1_1(num_classes=2)
    assert network(torch.zeros(2, 5, 64, 64)).shape == (2, 2)
    ours, theirs = ({k: v for k, v in vars(m.features[0]).items() if k != "in_channels"} for m in (network, reference))
    assert [ours[key] for key in ("stride", "padding", "kernel_size")] == [
        theirs[key] for key in ("stride", "padding", "kernel_size")
    ]


@pytest.mark.parametrize("name", ["regnet_x_400mf", "mobilenet_v3_small", "googlenet"])
def test_a_network_to_be_loaded_is_the_real_one_but_for_its_weights(name: str) -> None:
    """The same function once both have the same weights: nothing but initial values was left out."""
    options = {"init_weights": False} if name == "googlenet" else {}
    real, quick = (
        build(f"torchvision:{name}", {"num_classes": 3, **options}).eval() for build in (construct, to_be_loaded)
    )
    assert shapes_of(in_outline(f"torchvision:{name}", {"num_classes": 3}).state_dict()) == shapes_of(real.state_dict())
    quick.load_state_dict(real.state_dict())
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(real(image), quick(image))


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


@pytest.mark.parametrize(("channels", "classes", "size"), [(1, 10, 8), (3, 100, 32), (3, 7, 28), (1, 2, 12)])
def test_lenet_is_read_off_its_weights(channels: int, classes: int, size: int) -> None:
    file = checkpoint(lenet_bn(channels, classes, size).state_dict())
    built = identify(file, "lenet-bn").build(file)
    assert shapes_of(built.state_dict()) == shapes_of(file.state_dict)
    assert built(torch.zeros(2, channels, size, size)).shape == (2, classes)


def test_the_papers_networks_have_no_bias_before_a_norm() -> None:
    for module in (lenet_bn(), vgg11_bn(3, 100)):
        biases = [name for name, _ in module.named_parameters() if name.endswith("bias") and "norm" not in name]
        assert biases == ["output.bias"]
    assert vgg11_bn(1, 5)(torch.zeros(2, 1, 32, 32)).shape == (2, 5)
    weights = 3 * 6 * 25 + 6 * 16 * 25 + 400 * 120 + 120 * 84 + 84 * 10 + 10
    assert sum(p.numel() for p in lenet_bn().parameters()) == weights + 2 * (6 + 16 + 120 + 84)


def test_named_networks_take_their_classes_from_the_weights() -> None:
    tensors = with_channels(torchvision.models.resnet18(num_classes=7).state_dict(), 1)
    file = checkpoint(tensors)
    network = identify(file, "torchvision:resnet18").build(file)
    assert network.fc.out_features == 7
    assert network.conv1.in_channels == 1


def test_a_matrix_after_the_classifier_is_not_taken_for_it() -> None:
    """squeezenet's classifier is a convolution, and inception's auxiliary classifier comes before the last matrix."""
    for name in ("squeezenet1_1", "inception_v3"):
        tensors = outline(name, num_classes=7)
        assert fitted(identify(checkpoint(tensors), f"torchvision:{name}"), tensors)


def test_a_factory_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from torch import nn\ndef net(width=2):\n    return nn.Linear(width, 1)\n")
    assert build_architecture(f"{tmp_path / 'mine.py'}:net", {"width": 5}).in_features == 5
    file = checkpoint({"anything": torch.ones(1)})
    assert identify(file, f"{tmp_path / 'mine.py'}:net", {"width": 4}).build(file).in_features == 4


def test_torchvision_networks_that_would_fetch_a_backbone_are_refused() -> None:
    with pytest.raises(UsageError, match="no image classifier 'fcn_resnet50'"):
        build_architecture("torchvision:fcn_resnet50", {})
    with pytest.raises(CheckpointRefusedError, match="no image classifier 'fcn_resnet50'"):
        identify(checkpoint({}, "bnsharp/1", architecture="torchvision:fcn_resnet50"))


@pytest.mark.parametrize("spec", ["lenet", "torchvision:resnet19", "none:such", "lenet-bn:x"])
def test_unknown_architectures(spec: str) -> None:
    with pytest.raises(UsageError):
        build_architecture(spec, {})
    file = checkpoint(lenet_bn().state_dict())
    with pytest.raises(UsageError):
        identify(file, spec).build(file)


def test_unknown_options_are_named() -> None:
    with pytest.raises(UsageError, match="lenet-bn has no option depth"):
        build_architecture("lenet-bn", {"depth": 3})


def test_a_loss_beside_a_network_in_two_wrappers_hides_it_from_nobody() -> None:
    wrapped = {f"model.net.{name}": tensor for name, tensor in outline("resnet18", num_classes=3).items()}
    found = identify(checkpoint({**wrapped, "criterion.weight": torch.ones(3)}, arch="resnet18"))
    assert (found.spec, found.options, found.source) == ("torchvision:resnet18", {"num_classes": 3}, "metadata")
