"""Networks that use their weights in every way that torch has, with batches of theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

WORDS = 40


class Recurrent(nn.Module):
    """A table of words, an LSTM and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.lstm, self.head = nn.Embedding(WORDS, 6, padding_idx=0), nn.LSTM(6, 5), nn.Linear(5, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.lstm(self.words(ids).movedim(0, 1))[0][-1])


class Attending(nn.Module):
    """Attention by torch's flash kernel, which has no second derivative, beside torch's own layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.mix, self.head = nn.Embedding(WORDS, 8), nn.Linear(8, 24), nn.Linear(8, 3, bias=False)
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.words(ids)
        query, key, value = self.mix(hidden).chunk(3, -1)
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            seen = functional.scaled_dot_product_attention(*(one[:, None] for one in (query, key, value)))
        return self.head(self.layer(hidden + seen[:, 0]).mean(1))


class Logits(nn.Module):
    """A language model of transformers as a function from tokens to the scores of the next ones, (…, words, tokens)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(input_ids=ids, use_cache=False).logits.movedim(-1, 1)


def gpt2() -> nn.Module:
    """Its table of words is its last layer, too."""
    special = {"bos_token_id": 1, "eos_token_id": 1}
    return Logits(
        GPT2LMHeadModel(GPT2Config(vocab_size=WORDS, n_positions=16, n_embd=16, n_layer=2, n_head=2, **special))
    )


def llama() -> nn.Module:
    """RMSNorm, rotary positions and grouped queries."""
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    return Logits(LlamaForCausalLM(LlamaConfig(vocab_size=WORDS, num_key_value_heads=2, **sizes)))


def convolutional() -> nn.Module:
    """Convolutions in both directions, weight norm and batch norm."""
    first = nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 6, 3))
    second = nn.ConvTranspose2d(6, 4, 2)
    return nn.Sequential(first, nn.BatchNorm2d(6), nn.Tanh(), second, nn.Flatten(), nn.Linear(196, 3))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "recurrent": Recurrent,
    "attending": Attending,
    "gpt2": gpt2,
    "llama": llama,
    "convolutional": convolutional,
}


def made(name: str) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    """A network in eval mode whose weights are far from zero, and two batches for it."""
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    if name == "convolutional":
        return network, [(torch.randn(4, 2, 8, 8), torch.randint(3, (4,))) for _ in range(2)]
    ids = [torch.randint(WORDS, (3, 7)) for _ in range(2)]
    if name in {"gpt2", "llama"}:
        return network, [(one, one.roll(-1, 1)) for one in ids]
    return network, [(one, torch.randint(3, (3,))) for one in ids]
