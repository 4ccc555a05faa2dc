"""What the settings of an untrusted configuration may be, by their names: ranges of numbers, and words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WHOLE_NUMBERS = (0, 2**18)
_NUMBERS = (0.0, 1e6)
_SHARE = (0.0, 1.0)
_FACTOR = (0.0, 64.0)
_LENGTH = (0, 2**24)
"""Of texts; where positions are weights, the weights themselves bound their number."""

_MAY_BE_NONE = (-1, 2**18)
"""Numbers of which −1 says that there is none."""

_RANGES: Mapping[str, tuple[float, float]] = {
    "depth_coefficient": _FACTOR,
    "depth_multiplier": _FACTOR,
    "embed_dim_multiplier": _FACTOR,
    "image_size": (1, 1024),
    "mask_ratio": _SHARE,
    "max_position_embeddings": _LENGTH,
    "max_relative_positions": _MAY_BE_NONE,
    "num_labels": (1, 2**16),
    "out_indices": (-(2**10), 2**10),
    "pad_token_id": _MAY_BE_NONE,
    "position_buckets": _MAY_BE_NONE,
    "rope_theta": (1.0, 1e9),
    "scale": _FACTOR,
    "semantic_loss_ignore_index": (-(2**18), 2**18),
    "sliding_window": _LENGTH,
    "sparse_pred_ignore_index": (-(2**18), 2**18),
    "width_coefficient": _FACTOR,
    "width_multiplier": _FACTOR,
}
"""Least and largest number, or number in a list, by the name of a setting; shares whose name has "drop" are ≤ 1 too."""

_ACTIVATIONS = frozenset(
    {"gelu", "gelu_fast", "gelu_new", "gelu_python", "gelu_pytorch_tanh", "hardswish", "leaky_relu", "linear", "mish"}
    | {"quick_gelu", "relu", "relu2", "relu6", "sigmoid", "silu", "swish", "tanh"}
)
_RELATIONS = frozenset({"none", "c2p", "p2c", "c2p|p2c", "p2c|c2p"})
WORDS: Mapping[str, frozenset[str]] = {
    "activation": _ACTIVATIONS,
    "activation_function": _ACTIVATIONS,
    "classifier_activation": _ACTIVATIONS,
    "conv_act": _ACTIVATIONS,
    "feed_forward_proj": frozenset({"relu", "gelu", "gated-gelu", "gated-relu", "gated-silu"}),
    "global_padding": frozenset({"SAME", "VALID", "same", "valid"}),
    "hidden_act": _ACTIVATIONS,
    "hidden_activation": _ACTIVATIONS,
    "layer_type": frozenset({"basic", "bottleneck", "preactivation", "x", "y"}),
    "layer_types": frozenset({"full_attention", "sliding_attention"}),
    "norm_rel_ebd": frozenset({"none", "layer_norm"}),
    "pooler_act": _ACTIVATIONS,
    "pooler_hidden_act": _ACTIVATIONS,
    "pooling_type": frozenset({"mean", "max"}),
    "pos_att_type": _RELATIONS,
    "problem_type": frozenset({"regression", "single_label_classification", "multi_label_classification"}),
    "qkv_projection_method": frozenset({"avg", "dw_bn", "linear"}),
    "stem_act_func": _ACTIVATIONS,
    "summary_activation": _ACTIVATIONS,
    "summary_type": frozenset({"last", "first", "mean", "cls_index"}),
}
"""What a text may be, by the name of a setting."""

_OF_DEBERTA = {"embedding_size": int, "pooler_hidden_size": int}
UNDECLARED: Mapping[str, Mapping[str, Any]] = {
    "deberta": {**_OF_DEBERTA, "talking_head": bool},
    "deberta-v2": {
        **_OF_DEBERTA,
        "attention_head_size": int,
        "conv_act": str,
        "conv_groups": int,
        "conv_kernel_size": int,
        "norm_rel_ebd": str,
        "position_buckets": int,
        "share_att_key": bool,
    },
    "modernbert": {"global_attn_every_n_layers": int},
    "t5": {"decoder_start_token_id": int, "tie_word_embeddings": bool},
}
"""Settings that a network obeys though its class does not declare them, with their types, by the network's kind."""


def is_in_range(name: str, value: object, kind: type) -> bool:
    """Whether a value is a number that the setting ``name`` may have.

    Args:
        name: of the setting.
        value: anything.
        kind: int, or float for whole numbers too.
    """
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        return False
    least, largest = _RANGES.get(name, _SHARE if "drop" in name else _WHOLE_NUMBERS if kind is int else _NUMBERS)
    return least <= value <= largest
