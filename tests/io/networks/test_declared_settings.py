"""Settings of a stranger: what a class declares, of the declared type, within bounds."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from bnsharp_cli.io.networks.declared_settings import ForbiddenSettingError, declared, declared_types
from bnsharp_cli.io.networks.known_networks import HEADS
from bnsharp_cli.io.networks.setting_ranges import WORDS

transformers = pytest.importorskip("transformers", reason="transformers has the classes that declare settings")

KINDS = sorted({kind for head in HEADS for kind in head.kinds})


def mentioned(kind: Any) -> set[Any]:
    """A type and all types inside of it."""
    return {kind, *(inner for part in getattr(kind, "__args__", ()) for inner in mentioned(part))}


def test_every_kind_is_there() -> None:
    assert set(KINDS) <= set(transformers.CONFIG_MAPPING.keys())


@pytest.mark.parametrize("kind", KINDS)
def test_every_declared_setting_has_a_type_and_every_text_a_table(kind: str) -> None:
    kinds = declared_types(transformers.CONFIG_MAPPING[kind])
    assert kinds
    assert not {name for name, one in kinds.items() if one is inspect.Parameter.empty or isinstance(one, str)}
    assert {name for name, one in kinds.items() if str in mentioned(one)} <= WORDS.keys()


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
        ("bert", {"hidden_act": "kernels-community/activation"}),
        ("bert", {"pad_token_id": -2}),
        ("bert", {"num_hidden_layers": "2"}),
        ("deberta-v2", {"conv_act": "os.system"}),
        ("deberta-v2", {"norm_rel_ebd": "layer_norm|x"}),
        ("deberta-v2", {"pos_att_type": ["c2p", "x"]}),
        ("deberta-v2", {"position_buckets": -2}),
        ("gpt2", {"activation_function": "kernels"}),
        ("gpt2", {"summary_type": "attn"}),
        ("modernbert", {"classifier_pooling": "max"}),
        ("modernbert", {"global_attn_every_n_layers": 2.0}),
        ("qwen2", {"layer_types": ["linear_attention"]}),
        ("qwen2", {"layer_types": ["full_attention"] * 257}),
        ("t5", {"feed_forward_proj": "gated-x"}),
        ("t5", {"tie_word_embeddings": "no"}),
        ("llama", {"rope_theta": 0.5}),
        ("llama", {"rope_theta": 1e10}),
        ("llama", {"rope_theta": True}),
        ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}),
        ("llama", {"rope_scaling": {"rope_type": "longrope", "long_factor": [1.0], "short_factor": [1.0]}}),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 1e300}}),
        ("llama", {"rope_scaling": {"type": "linear", "factor": float("nan")}}),
        ("llama", {"rope_scaling": {"type": "linear", "factor": [2.0]}}),
        ("llama", {"rope_scaling": {"type": "linear", "auto_map": "x"}}),
        ("llama", {"rope_scaling": ["linear"]}),
        ("llama", {"rope_scaling": {"rope_type": "someone/kernels"}}),
        ("llama", {"rope_parameters": {"full_attention": {"rope_type": "dynamic"}}}),
        ("llama", {"rope_parameters": {"full_attention": {"full_attention": {}}}}),
        ("llama", {"rope_parameters": {"rope_theta": 1e4, "truncate": 1}}),
        ("gpt_neox", {"rotary_pct": 1.5}),
        ("gpt_neox", {"rotary_pct": 0.0}),
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
        ("bert", {"hidden_act": "gelu", "pad_token_id": None, "classifier_dropout": 0.1}),
        ("deberta-v2", {"pos_att_type": "p2c|c2p", "max_relative_positions": -1, "share_att_key": True}),
        ("llama", {"rope_theta": 1000000, "rope_scaling": None, "max_position_embeddings": 131072}),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "truncate": False}}),
        ("modernbert", {"classifier_pooling": "mean", "rope_parameters": {"full_attention": None}}),
    ],
)
def test_values_in_range_are_kept(kind: str, settings: dict[str, Any]) -> None:
    assert declared(transformers.CONFIG_MAPPING[kind], settings) == settings


def test_labels_are_a_matter_of_the_whole() -> None:
    settings = {"num_labels": 3, "vision_config": {"hidden_size": 8, "num_labels": 2**16, "id2label": {"0": "a"}}}
    kept = declared(transformers.CONFIG_MAPPING["siglip"], settings)
    assert kept == {"num_labels": 3, "vision_config": {"hidden_size": 8}}
