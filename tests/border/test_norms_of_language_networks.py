"""Which weights of Qwen3, OLMo 2 and Llama are scale-invariant: by theory, by scaling outputs, and as found."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import bnsharp_cli
from bnsharp_cli.io.networks.known_networks import LANGUAGE_MODEL
from tests.border.oracle import Block
from tests.border.test_language_networks import doubled, heads_of, mean_loss, without_casts
from tests.io.checkpoints.huggingface_texts import text_network, token_batches

pytest.importorskip("transformers", reason="transformers has these networks")

BEFORE_NORMS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
"""In OLMo 2 norms follow queries, keys and each branch, so that what a branch is linear in scales as a whole."""


def whole(network: nn.Module, names: tuple[str, ...]) -> list[Block]:
    """All rows of the weights of these layers, each weight by itself."""
    found = {f"model.layers.{layer}.{name}.weight" for layer in range(2) for name in names}
    return [{name: slice(0, len(network.get_parameter(name)))} for name in sorted(found)]


def blocks_of(kind: str, network: nn.Module) -> list[Block]:
    """By theory."""
    if kind == "olmo2":
        return whole(network, (*BEFORE_NORMS, "mlp.up_proj", "mlp.down_proj"))
    return [*heads_of(network, 0), *heads_of(network, 1)] if kind == "qwen3" else []


@pytest.mark.parametrize("kind", ["qwen3", "olmo2", "llama"])
def test_rows_that_are_found_are_those_whose_scaling_changes_no_output(kind: str) -> None:
    batches = token_batches(LANGUAGE_MODEL)
    network = text_network(LANGUAGE_MODEL, kind)
    blocks = blocks_of(kind, network)
    found = bnsharp_cli.find_blocks(network, batches, mean_loss)
    assert found.invariant == len(blocks)
    rows = {
        name: sum(one[name].stop - one[name].start for one in blocks if name in one) for name in network.state_dict()
    }
    assert {one.name: one.invariant for one in found.tensors} == {one.name: rows[one.name] for one in found.tensors}
    exact = doubled(text_network(LANGUAGE_MODEL, kind, rms_norm_eps=0.0))
    ids = batches[0][0]
    with torch.no_grad(), without_casts():
        expected = exact(ids).logits
        for block in blocks:
            for factor in (0.3, 3.0):
                scaled = copy.deepcopy(exact)
                for name, own in block.items():
                    scaled.get_parameter(name)[own] *= factor
                torch.testing.assert_close(scaled(ids).logits, expected, rtol=1e-10, atol=1e-10)
        scaled = copy.deepcopy(exact)
        scaled.get_parameter("model.layers.0.mlp.gate_proj.weight").mul_(3.0)
        assert not torch.allclose(scaled(ids).logits, expected, rtol=1e-4)


def test_keys_and_values_for_a_next_call_are_no_outputs() -> None:
    """Values change with OLMo 2's ``v_proj``, of which the scores see the direction alone."""
    batches = token_batches(LANGUAGE_MODEL)
    found = {}
    for use in (True, False):
        network = text_network(LANGUAGE_MODEL, "olmo2", use_cache=use)
        found[use] = bnsharp_cli.find_blocks(network, batches, mean_loss).invariant
        assert network.config.use_cache is use
    assert found[True] == found[False]
