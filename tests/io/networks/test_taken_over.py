"""A network of transformers' and its checkpoint are in memory once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from torch import nn

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.networks.identify import identify
from bnsharp_cli.io.networks.load_weights import load_tensors, load_weights

SIZES = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def language_model(*, tied: bool = False) -> nn.Module:
    torch.manual_seed(0)
    network = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**SIZES, tie_word_embeddings=tied, attn_implementation="eager")
    )
    assert isinstance(network, nn.Module)
    return network


def addresses(tensors: dict[str, torch.Tensor]) -> dict[str, int]:
    return {name: tensor.data_ptr() for name, tensor in tensors.items()}


def test_the_weights_of_all_shards_are_those_of_the_network(tmp_path: Path) -> None:
    network = language_model()
    network.save_pretrained(tmp_path, max_shard_size="8KB")
    assert len([*tmp_path.glob("model-*.safetensors")]) > 2
    checkpoint = load_checkpoint(tmp_path)
    identity = identify(checkpoint)
    module = identity.build(checkpoint)
    load_weights(module, checkpoint, identity)
    assert addresses(module.state_dict()) == addresses(dict(checkpoint.state_dict))
    ids = torch.arange(12).reshape(2, 6)
    assert torch.equal(module.eval()(ids), network.eval()(ids).logits)


def test_what_is_tied_stays_tied(tmp_path: Path) -> None:
    network = language_model(tied=True)
    network.save_pretrained(tmp_path)
    checkpoint = load_checkpoint(tmp_path)
    identity = identify(checkpoint)
    module = identity.build(checkpoint)
    load_weights(module, checkpoint, identity)
    head, table = (module.get_parameter(name) for name in ("lm_head.weight", "model.embed_tokens.weight"))
    assert head is table
    different = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    different["lm_head.weight"] += 1
    with pytest.raises(CheckpointRefusedError, match="the network has one tensor for both"):
        load_tensors(identity.build(checkpoint), different, tmp_path / "net.pt")
    ids = torch.arange(12).reshape(2, 6)
    assert torch.equal(module.eval()(ids), network.eval()(ids).logits)


@pytest.mark.parametrize("network", [language_model, lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))])
def test_tensors_that_share_memory_and_other_networks_are_copied(network: object, tmp_path: Path) -> None:
    """Two parameters must not become one because a file keeps their numbers once."""
    assert callable(network)
    module = network()
    shared = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    first, second = [name for name, tensor in shared.items() if tensor.ndim == 2 and len(tensor) == len(tensor.T)][:2]
    shared[second] = shared[first]
    load_tensors(module, shared, tmp_path / "net.pt")
    own = module.state_dict()
    assert torch.equal(own[first], own[second])
    assert len({own[first].data_ptr(), own[second].data_ptr(), shared[first].data_ptr()}) == 3
    views = {name: torch.cat([tensor, tensor])[: len(tensor)] for name, tensor in shared.items()}
    load_tensors(module, views, tmp_path / "net.pt")
    assert not {*addresses(module.state_dict()).values()} & {*addresses(views).values()}
