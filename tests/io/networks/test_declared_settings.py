"""Settings of a stranger: what a class declares, of the declared type, within bounds."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from bnsharp_cli.io.networks import declared_settings
from bnsharp_cli.io.networks.declared_settings import ForbiddenSettingError, declared, declared_types
from bnsharp_cli.io.networks.known_classifiers import CLASSIFIER_KINDS

transformers = pytest.importorskip("transformers", reason="transformers has the classes that declare settings")

KINDS = sorted(CLASSIFIER_KINDS.intersection(transformers.CONFIG_MAPPING.keys()))


def mentioned(kind: Any) -> set[Any]:
    """A type and all types inside of it."""
    return {kind, *(inner for part in getattr(kind, "__args__", ()) for inner in mentioned(part))}


def test_every_kind_is_there() -> None:
    assert set(KINDS) == CLASSIFIER_KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_every_declared_setting_has_a_type_and_every_text_a_table(kind: str) -> None:
    kinds = declared_types(transformers.CONFIG_MAPPING[kind])
    assert kinds
    assert not {name for name, one in kinds.items() if one is inspect.Parameter.empty or isinstance(one, str)}
    assert {name for name, one in kinds.items() if str in mentioned(one)} <= declared_settings._WORDS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_nested_configurations_are_of_a_class_that_the_outer_one_fixes(kind: str) -> None:
    for part in transformers.CONFIG_MAPPING[kind].sub_configs.values():
        assert issubclass(part, transformers.PreTrainedConfig)
        assert not part.sub_configs


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("vit", {"hidden_size": "8"}),
        ("vit", {"hidden_size": True}),
        ("vit", {"hidden_size": 8.0}),
        ("vit", {"hidden_size": -1}),
        ("vit", {"hidden_size": 2**18 + 1}),
        ("vit", {"hidden_size": 10**400}),
        ("vit", {"hidden_size": None}),
        ("vit", {"hidden_dropout_prob": 1.5}),
        ("vit", {"layer_norm_eps": float("nan")}),
        ("vit", {"layer_norm_eps": float("inf")}),
        ("vit", {"hidden_act": "kernels/someone"}),
        ("vit", {"hidden_act": ["gelu"]}),
        ("vit", {"qkv_bias": 1}),
        ("vit", {"image_size": 1025}),
        ("vit", {"image_size": [16, 1025]}),
        ("vit", {"image_size": {"height": 16}}),
        ("vit", {"num_labels": 0}),
        ("vit", {"num_labels": 2**18 + 1}),
        ("vit", {"architectures": "Net"}),
        ("vit", {"architectures": [{"auto_map": {}}]}),
        ("vit", {"id2label": ["cat"]}),
        ("vit", {"id2label": {"0": {"auto_map": {}}}}),
        ("vit", {"label2id": {"cat": "0"}}),
        ("vit", {"problem_type": "code"}),
        ("resnet", {"depths": [1, "2"]}),
        ("resnet", {"depths": [1] * 257}),
        ("resnet", {"depths": [[1]]}),
        ("resnet", {"layer_type": "other"}),
        ("efficientnet", {"depth_coefficient": 65.0}),
        ("pp_lcnet", {"block_configs": [[[3, "same"]]]}),
        ("pp_lcnet", {"block_configs": [[[[3]]]]}),
        ("siglip", {"vision_config": {"hidden_size": "8"}}),
        ("siglip", {"vision_config": [1]}),
        ("siglip", {"num_labels": 2**16 + 1}),
    ],
)
def test_values_of_another_type_or_out_of_range_are_refused(kind: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ForbiddenSettingError, match="which a file may not say"):
        declared(transformers.CONFIG_MAPPING[kind], settings)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("vit", {"hidden_dropout_prob": 0, "image_size": [16, 24], "id2label": {"0": "cat"}, "label2id": {"cat": 0}}),
        ("resnet", {"depths": [1, 2], "layer_type": "basic", "downsample_in_first_stage": True}),
        ("pp_lcnet", {"block_configs": [[[3, 16, 32, 1, False]]]}),
        ("mobilenet_v2", {"semantic_loss_ignore_index": -100}),
        ("siglip", {"vision_config": {"hidden_size": 8, "hidden_act": "gelu_pytorch_tanh"}}),
    ],
)
def test_values_in_range_are_kept(kind: str, settings: dict[str, Any]) -> None:
    assert declared(transformers.CONFIG_MAPPING[kind], settings) == settings


def test_labels_are_a_matter_of_the_whole() -> None:
    settings = {"num_labels": 3, "vision_config": {"hidden_size": 8, "num_labels": 2**16, "id2label": {"0": "a"}}}
    kept = declared(transformers.CONFIG_MAPPING["siglip"], settings)
    assert kept == {"num_labels": 3, "vision_config": {"hidden_size": 8}}
