"""Architectures found by the names and shapes of the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from bnsharp_cli.errors import CheckpointRefusedError, UsageError
from bnsharp_cli.io.networks.constructors import construct, construct_for_loading, construct_on_meta
from bnsharp_cli.io.networks.identify import identify
from bnsharp_cli.io.networks.load_weights import load_weights
from bnsharp_cli.io.networks.network_identity import build_architecture
from bnsharp_cli.io.networks.outline_index import known_outlines
from bnsharp_cli.io.networks.outlines import shapes_of, shapes_of_network
from bnsharp_cli.models import lenet_bn, vgg11_bn
from tests.io.networks.outlines import FAMILIES, checkpoint, fitted, needs_timms_outlines, outline, with_channels


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
    load_weights(network, file)
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
    assert "Name it with arch" in caught.value.remedy


def test_two_sizes_that_disagree_are_no_match() -> None:
    tensors = outline("resnet18", num_classes=10)
    tensors["fc.bias"] = torch.empty(11, device="meta")
    assert identify(checkpoint(tensors)).source == "unknown"


@needs_timms_outlines
def test_networks_that_compute_different_functions_with_one_outline_are_listed() -> None:
    pytest.importorskip("timm", reason="timm's networks share outlines, torchvision's do not")
    tensors = construct_on_meta("timm:efficientnet_b0", {"num_classes": 10}).state_dict()
    found = identify(checkpoint(tensors))
    assert found.source == "unknown"
    assert {"timm:efficientnet_b0", "timm:tf_efficientnet_b0"} <= {candidate.spec for candidate in found.candidates}
    with pytest.raises(UsageError, match=r"several fit them: .*timm:efficientnet_b0") as caught:
        found.build(checkpoint(tensors))
    assert caught.value.remedy.startswith("Say which, for example arch timm:")
    said = identify(checkpoint(tensors, args={"model": "tf_efficientnet_b0"}))
    assert (said.spec, said.source) == ("timm:tf_efficientnet_b0", "metadata")
    assert fitted(said, tensors)


@needs_timms_outlines
def test_torchvisions_own_is_taken_where_timm_has_variants_of_it_and_they_are_named() -> None:
    pytest.importorskip("timm", reason="the variants are timm's")
    tensors = construct_on_meta("torchvision:resnet18", {"num_classes": 10}).state_dict()
    found = identify(checkpoint(tensors))
    assert (found.spec, found.source) == ("torchvision:resnet18", "guess")
    assert "timm:resnet18 computes the same" in found.notes
    assert "timm:resnetblur18 has the same names and shapes, and computes something else" in found.notes


@needs_timms_outlines
def test_timms_networks_are_found_with_other_classes_and_channels() -> None:
    pytest.importorskip("timm")
    for name in ("convnext_atto", "resnet10t", "vit_tiny_patch16_224", "mobilenetv3_small_050"):
        tensors = construct_on_meta(f"timm:{name}", {"num_classes": 3, "in_chans": 1}).state_dict()
        found = identify(checkpoint(tensors))
        specs = {found.spec, *(candidate.spec for candidate in found.candidates)}
        group = next(group for known in known_outlines() for group in known.functions if f"timm:{name}" in group)
        assert specs & set(group)
        if found.spec:
            assert fitted(found, tensors)


@needs_timms_outlines
def test_where_timm_is_not_installed_its_networks_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    tensors = construct_on_meta("timm:convnext_atto", {"num_classes": 3}).state_dict()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="fits timm:convnext_atto, but timm is not installed") as caught:
        identify(checkpoint(tensors)).build(checkpoint(tensors))
    assert caught.value.remedy == "pip install timm"


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
        build(f"torchvision:{name}", {"num_classes": 3, **options}).eval()
        for build in (construct, construct_for_loading)
    )
    assert shapes_of_network(f"torchvision:{name}", {"num_classes": 3}) == shapes_of(real.state_dict())
    quick.load_state_dict(real.state_dict())
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(real(image), quick(image))


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
