"""Queries against keys and values against their projection, however the code has them; what is no pair is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import bnsharp_cli
from bnsharp_cli.measurement.blocks.find_blocks import find_partitions
from bnsharp_cli.measurement.blocks.probe import Probe
from bnsharp_cli.measurement.invariance import balanced
from bnsharp_cli.measurement.invariance.balanced import balanced_sets
from bnsharp_cli.measurement.invariance.balancing import BalancedSet, Slices
from bnsharp_cli.measurement.invariance.function_copies import CopyMaker, FunctionCopies
from bnsharp_cli.measurement.measures.survival import Rescaling
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.measurement.invariance.test_balanced import Attention, mlp, network_of

HEADS, KEY_HEADS, SIZE = 4, 2, 4
WIDTH = HEADS * SIZE


class Rotated(nn.Module):
    """Grouped-query attention with rotary positions: two heads of queries share one of keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.output = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4)
        self.q, self.k, self.v = (nn.Linear(WIDTH, heads * SIZE) for heads in (HEADS, KEY_HEADS, KEY_HEADS))
        self.o = nn.Linear(WIDTH, WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        words = self.norm(images.flatten(1).reshape(len(images), -1, WIDTH)[:, :6])
        q, k, v = (_heads(part(words)) for part in (self.q, self.k, self.v))
        k, v = (one.repeat_interleave(HEADS // KEY_HEADS, 1) for one in (k, v))
        mixed = (_turned(q) @ _turned(k).mT / 2).softmax(-1) @ v
        return self.output(self.o(mixed.transpose(1, 2).flatten(2)).tanh().mean(1))


class Alternating(nn.Module):
    """One tensor that makes the queries, keys and values of the first head, then those of the second, and so on."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.output = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4)
        self.mix, self.o = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        words = self.norm(images.flatten(1).reshape(len(images), -1, WIDTH)[:, :6])
        q, k, v = self.mix(words).unflatten(-1, (HEADS, 3, SIZE)).permute(3, 0, 2, 1, 4)
        mixed = ((q @ k.mT).softmax(-1) @ v).transpose(1, 2).flatten(2)
        return self.output(self.o(mixed).tanh().mean(1))


def _heads(rows: Tensor) -> Tensor:
    return rows.unflatten(-1, (-1, SIZE)).transpose(1, 2)


def _turned(rows: Tensor) -> Tensor:
    """Each half of a head's dimensions turned against the other by an angle for each position."""
    angles = torch.arange(rows.shape[-2], dtype=rows.dtype)[:, None] * torch.tensor([1.0, 0.1], dtype=rows.dtype)
    cosines, sines = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)
    first, second = rows.chunk(2, -1)
    return rows * cosines + torch.cat([-second, first], -1) * sines


class Gated(nn.Module):
    """A layer with a ReLU gate: its gate may grow while the gated layer shrinks, which is no attention."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.gate, self.down = nn.Linear(192, 12), nn.Linear(192, 12), nn.Linear(12, 4)

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return self.down(self.up(flat) * self.gate(flat).relu())


def of_timm(**options: Any) -> Callable[[], nn.Module]:
    vit = timm.models.vision_transformer.VisionTransformer
    return lambda: vit(img_size=8, patch_size=4, embed_dim=16, depth=2, num_heads=4, num_classes=4, **options)


def of_transformers(name: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        common = {"vocab_size": 40, "num_labels": 4, "pad_token_id": 0, "use_cache": False, "bos_token_id": 1}
        config = getattr(transformers, f"{name}Config")(**common, eos_token_id=2, **options)
        network: nn.Module = getattr(transformers, f"{name}ForSequenceClassification")(config)
        network.register_forward_hook(lambda _module, _inputs, found: found.logits)
        return network

    return build


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}
LLAMA = {**SMALL, "num_key_value_heads": 2, "max_position_embeddings": 16}
NEOX = {**SMALL, "max_position_embeddings": 16, "rotary_pct": 1.0}
NEOX_LAYER = "gpt_neox.layers.0.attention"
GPT2 = {"n_embd": 16, "n_layer": 1, "n_head": 4, "n_positions": 16}
BERT_LAYER, LLAMA_LAYER = "bert.encoder.layer.0.attention", "model.layers.0.self_attn"
Found = set[tuple[str, str, int]]
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Found]] = {
    "torch": (
        Attention,
        {("mix.in_proj_weight", "mix.in_proj_weight", 8), ("mix.in_proj_weight", "mix.out_proj.weight", 8)},
    ),
    "timm": (
        of_timm(),
        {(f"blocks.{n}.attn.qkv.weight", f"blocks.{n}.attn.{to}.weight", 16) for n in (0, 1) for to in ("qkv", "proj")},
    ),
    "timm with QK-norm": (
        of_timm(qk_norm=True),
        {(f"blocks.{n}.attn.qkv.weight", f"blocks.{n}.attn.proj.weight", 16) for n in (0, 1)},
    ),
    "alternating": (Alternating, {("mix.weight", "mix.weight", 16), ("mix.weight", "o.weight", 16)}),
    "rotated, with grouped queries": (Rotated, {("q.weight", "k.weight", 2), ("v.weight", "o.weight", 2)}),
}
WITHOUT: dict[str, Callable[[], nn.Module]] = {"ReLU MLP": lambda: mlp(nn.ReLU), "gated": Gated}
OF_WORDS: dict[str, tuple[Callable[[], nn.Module], Found]] = {
    "BERT": (
        of_transformers("Bert", **SMALL),
        {
            (f"{BERT_LAYER}.self.query.weight", f"{BERT_LAYER}.self.key.weight", 16),
            (f"{BERT_LAYER}.self.value.weight", f"{BERT_LAYER}.output.dense.weight", 16),
        },
    ),
    "Llama": (
        of_transformers("Llama", **LLAMA),
        {
            (f"{LLAMA_LAYER}.q_proj.weight", f"{LLAMA_LAYER}.k_proj.weight", 2),
            (f"{LLAMA_LAYER}.v_proj.weight", f"{LLAMA_LAYER}.o_proj.weight", 2),
        },
    ),
    "Phi-3": (
        of_transformers("Phi3", **LLAMA, original_max_position_embeddings=16),
        {
            (f"{LLAMA_LAYER}.qkv_proj.weight", f"{LLAMA_LAYER}.qkv_proj.weight", 2),
            (f"{LLAMA_LAYER}.qkv_proj.weight", f"{LLAMA_LAYER}.o_proj.weight", 2),
        },
    ),
    "GPT-NeoX": (
        of_transformers("GPTNeoX", **NEOX),
        {
            (f"{NEOX_LAYER}.query_key_value.weight", f"{NEOX_LAYER}.query_key_value.weight", 4),
            (f"{NEOX_LAYER}.query_key_value.weight", f"{NEOX_LAYER}.dense.weight", 16),
        },
    ),
    "GPT-2": (
        of_transformers("GPT2", **GPT2),
        {
            ("transformer.h.0.attn.c_attn.weight", f"transformer.h.0.attn.{to}.weight", 16)
            for to in ("c_attn", "c_proj")
        },
    ),
}
OTHERS_CODE = pytest.mark.slow(
    reason="imports transformers and builds four of its models",
    quick="tests/measurement/invariance/test_attention.py::test_queries_and_values_have_their_partners_and_copies_compute_the_same",
)


def inputs_of(name: str) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if name in OF_WORDS:
        return torch.randint(3, 40, (8, 6), generator=generator)
    return torch.randn(8, 3, 8, 8, generator=generator, dtype=torch.float64)


def surface_of(network: nn.Module, inputs: Tensor) -> LossSurface:
    return LossSurface.of(network, ((inputs, torch.arange(len(inputs)) % 4),), dtype=torch.float64)


def copies_of(surface: LossSurface) -> FunctionCopies:
    point = surface.point()
    return CopyMaker(surface, point, *find_partitions(surface, point)).copies()


@torch.no_grad()
def outputs(network: nn.Module, inputs: Tensor) -> Tensor:
    found: Tensor = network(inputs)
    return found


@pytest.mark.parametrize("name", [*NETWORKS, *(pytest.param(name, marks=OTHERS_CODE) for name in OF_WORDS)])
def test_queries_and_values_have_their_partners_and_copies_compute_the_same(name: str) -> None:
    """The oracle of the copies is the plain network's own forward pass with their weights."""
    build, expected = {**NETWORKS, **OF_WORDS}[name]
    network, inputs = network_of(build), inputs_of(name)
    surface = surface_of(network, inputs)
    sets = [one for one in balanced_sets(Probe.of(surface, surface.point())) if one.kind == Rescaling.ATTENTION]
    assert {(one.grows[0].name, one.shrinks[0].name, one.count) for one in sets} == expected
    made = [one for one in copies_of(surface).copies if one.kind == Rescaling.ATTENTION]
    assert [one.name for one in made] == ["attention 100", "attention"]
    before = outputs(network, inputs)
    for one in made:
        other = copy.deepcopy(network)
        other.load_state_dict({**other.state_dict(), **one.rescaled.point})
        after = outputs(other, inputs)
        assert torch.allclose(before, after, rtol=1e-9, atol=1e-9 * float(before.abs().max()))


def test_thirds_of_one_tensor_are_rescaled_each_by_its_own_factor() -> None:
    network = network_of(Attention)
    made = copies_of(surface_of(network, inputs_of("torch")))
    point = next(one for one in made.copies if one.name == "attention 100").rescaled.point
    weights = network.state_dict()
    for name in ("mix.in_proj_weight", "mix.in_proj_bias"):
        factors = torch.tensor([100, 0.01, 100], dtype=torch.float64).repeat_interleave(8)
        expected = weights[name] * (factors[:, None] if weights[name].ndim > 1 else factors)
        assert torch.allclose(point[name], expected, rtol=1e-12)
    assert torch.allclose(point["mix.out_proj.weight"], weights["mix.out_proj.weight"] / 100, rtol=1e-12)
    assert torch.equal(point["mix.out_proj.bias"], weights["mix.out_proj.bias"])


def test_heads_that_share_a_key_share_a_factor_and_their_keys_have_its_inverse() -> None:
    network = network_of(Rotated)
    made = copies_of(surface_of(network, inputs_of("rotated")))
    point = next(one for one in made.copies if one.name == "attention").rescaled.point
    ratio = {name: point[name] / tensor for name, tensor in network.state_dict().items() if name in point}
    queries = ratio["q.weight"].reshape(KEY_HEADS, -1)
    keys = ratio["k.weight"].reshape(KEY_HEADS, -1)
    assert torch.allclose(queries, queries[:, :1], rtol=1e-12)
    assert torch.allclose(keys, 1 / queries[:, :1], rtol=1e-12)
    assert float(queries[0, 0]) != pytest.approx(float(queries[1, 0]), rel=0.05)
    columns = ratio["o.weight"].reshape(WIDTH, KEY_HEADS, -1)
    values = ratio["v.weight"].reshape(KEY_HEADS, -1)[:, :1]
    assert torch.allclose(columns, (1 / values).expand_as(columns), rtol=1e-12)


def test_heads_that_alternate_in_one_tensor_are_rescaled_each_by_its_own_factor() -> None:
    network = network_of(Alternating)
    point = next(
        one for one in copies_of(surface_of(network, inputs_of("alternating"))).copies if one.name == "attention"
    )
    ratio = point.rescaled.point["mix.weight"] / network.state_dict()["mix.weight"]
    queries, keys, values = ratio.reshape(HEADS, 3, SIZE, WIDTH).unbind(1)
    assert torch.allclose(keys, 1 / queries, rtol=1e-12)
    assert torch.allclose(queries, queries[..., :1].expand_as(queries), rtol=1e-12)
    assert len({round(float(factor), 9) for factor in values[..., 0].flatten()}) == WIDTH


@pytest.mark.parametrize(("grown", "shrunk"), [(0, 2), (1, 2)], ids=["queries, values", "keys, values"])
def test_what_is_no_pair_is_refused_by_outputs(grown: int, shrunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    thirds = [
        tuple(Slices(f"mix.in_proj_{kind}", 0, 8 * third, 8 * third + 8) for kind in ("weight", "bias"))
        for third in range(3)
    ]
    surface = surface_of(network_of(Attention), inputs_of("torch"))
    for pair, found in (((0, 1), 1), ((grown, shrunk), 0)):
        wrong = BalancedSet(Rescaling.ATTENTION, thirds[pair[0]], thirds[pair[1]], 8)
        monkeypatch.setattr(balanced, "attention_sets", lambda *_, wrong=wrong: [wrong])
        sets = balanced_sets(Probe.of(surface, surface.point()))
        assert sum(one.kind == Rescaling.ATTENTION for one in sets) == found


def test_rotated_dimensions_are_refused_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    surface = surface_of(network_of(Rotated), inputs_of("rotated"))
    queries, keys = ((Slices(f"{part}.weight"), Slices(f"{part}.bias")) for part in "qk")
    for count, found in ((KEY_HEADS, 1), (2 * KEY_HEADS, 0)):
        one = BalancedSet(Rescaling.ATTENTION, queries, keys, count)
        monkeypatch.setattr(balanced, "attention_sets", lambda *_, one=one: [one])
        sets = balanced_sets(Probe.of(surface, surface.point()))
        assert sum(one.kind == Rescaling.ATTENTION for one in sets) == found


@pytest.mark.parametrize("name", WITHOUT)
def test_without_attention_nothing_is_added(name: str) -> None:
    network, inputs = network_of(WITHOUT[name]), inputs_of(name)
    table = bnsharp_cli.invariance_table(network, [(inputs, torch.arange(8) % 4)], measure="loss")
    assert not [one for one in table.copies if one.kind == Rescaling.ATTENTION]
    assert Rescaling.ATTENTION not in table.made.missing
    assert not [line for line in table.lines if "attention" in line]


def test_the_table_says_by_which_factor_each_measure_moves() -> None:
    """The factors are those of networks that were rescaled by hand."""
    network, inputs = network_of(Attention), inputs_of("torch")
    batches = [(inputs, torch.arange(8) % 4)]
    table = bnsharp_cli.invariance_table(network, batches, measure=["gradient-norm", "weight-norm", "margin"])
    (line,) = [line for line in table.lines if line.startswith("attention moves")]
    values = {}
    for name in ("gradient-norm", "weight-norm"):
        of_copies = []
        for one in [one for one in table.copies if one.kind == Rescaling.ATTENTION]:
            other = copy.deepcopy(network)
            other.load_state_dict({**other.state_dict(), **one.rescaled.point})
            of_copies.append(bnsharp_cli.measure(other, batches, name=name, precision="float64").value)
        before = bnsharp_cli.measure(network, batches, name=name, precision="float64").value
        values[name] = max((value / before for value in of_copies), key=lambda ratio: abs(torch.tensor(ratio).log()))
    moved = ", ".join(f"{name} × {ratio:.3g}" for name, ratio in values.items())
    assert line == f"attention moves {moved}; the same: margin"
