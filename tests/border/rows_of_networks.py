"""Networks that do more than their layers: each with its batches, its loss, and the same loss in plain code."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.border import test_complex, test_derivatives_inside, test_own_norms, test_random
from tests.border.networks import Net, batches, probe, with_constants
from tests.border.oracle import Block
from tests.border.row import SEVERAL_INPUTS, Row

HEAD = ("head.weight", "head.bias")
WORDS = 40


def _complex() -> Row:
    """Frequencies, whose weights are pairs of real numbers in plain code."""
    real = test_complex.Operator(complex_weight=False)

    def plain(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        network.spectral.phase = network.spectral.phase.to(torch.complex128)
        return functional.mse_loss(network(x), y)

    blocks: tuple[Block, ...] = ({"lift.weight": slice(None)},)
    return Row(
        test_complex.Operator(complex_weight=True), test_complex.signals(), functional.mse_loss, plain, blocks,
        reference=real,
    )  # fmt: skip


def _forces() -> Row:
    inside, data = test_derivatives_inside.ForcesInside(), test_derivatives_inside.molecules()
    loss = test_derivatives_inside.energy_and_forces
    return Row(
        test_derivatives_inside.Forces(), data, loss, lambda network, x, y: loss(network(x), y), (), reference=inside
    )


def _equation() -> Row:
    loss = test_derivatives_inside.poisson
    return Row(
        test_derivatives_inside.Field(),
        test_derivatives_inside.molecules(),
        loss,
        lambda network, x, y: loss(network(x), y),
        (),
    )


def _bert() -> nn.Module:
    import transformers

    torch.manual_seed(0)
    sizes = {"vocab_size": WORDS, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    without = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    configuration = transformers.BertConfig(**sizes, intermediate_size=8, num_labels=4, **without)
    network = transformers.BertForSequenceClassification(configuration)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(6 if weight.ndim > 1 else 1)  # the small weights of the start leave hardly a slope
    return network


def _tokens(form: Callable[[Tensor], Any], command: str = "") -> Row:
    generator = torch.Generator().manual_seed(8)
    data = [
        (torch.randint(WORDS, (12, 5), generator=generator), torch.randint(4, (12,), generator=generator))
        for _ in range(2)
    ]

    def plain(network: nn.Module, inputs: Any, y: Tensor) -> Tensor:
        for part in network.modules():
            if isinstance(part, nn.Embedding):
                part.padding_idx = None  # autograd leaves that row out, although the loss depends on it
        ids = inputs["input_ids"] if isinstance(inputs, dict) else inputs[0] if isinstance(inputs, tuple) else inputs
        return functional.cross_entropy(network(ids).logits, y)

    return Row(_bert(), [(form(ids), y) for ids, y in data], plain=plain, blocks=(), command=command)


def _pruned() -> Row:
    model = Net()
    with torch.no_grad():
        model.body[0].weight[3] = 0
    return Row(model, batches())


def _hooked() -> Row:
    model, kept = Net(), {}
    model.body.register_forward_hook(lambda _, __, output: kept.__setitem__("features", output))
    return Row(
        model,
        batches(),
        lambda outputs, y: functional.cross_entropy(outputs, y) + 0.5 * kept["features"].square().mean(),
        lambda network, x, y: functional.cross_entropy(network(x), y) + 0.5 * network.body(x).square().mean(),
    )


def _scripted() -> Row:
    model = Net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates it
        model.head = torch.jit.script(model.head)
    return Row(model, batches(), reference=Net())


class WithLogits(Net):
    def forward(self, x: Tensor) -> Any:
        hidden = self.body(x)
        return {"features": hidden, "logits": self.head(hidden)}


def _logits(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(network(x)["logits"], y)


def _labels_inside() -> Row:
    data = [{"x": x, "labels": y} for x, y in batches()]
    return Row(Net(), data, pairs=[*batches()])


def _trainable() -> Row:
    return Row(
        probe(), batches(), blocks=(), options=(("parameters", "trainable"),), reference=with_constants(probe(), HEAD)
    )


ROWS_OF_NETWORKS: dict[str, Callable[[], Row]] = {
    "complex weights": _complex,
    "dropout left on in forward": lambda: Row(test_random.AlwaysDropping(), batches()),
    "a latent that is drawn": lambda: Row(test_random.Sampling(), batches()),
    "a norm of its own": lambda: Row(_with_own_norm(), batches(), blocks=()),  # whose ε stays
    "forces": _forces,
    "a differential equation": _equation,
    "BERT, tokens in a tensor": lambda: _tokens(lambda ids: ids),
    "BERT, tokens in a tuple": lambda: _tokens(lambda ids: (ids,), SEVERAL_INPUTS),
    "BERT, tokens in a mapping": lambda: _tokens(
        lambda ids: {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, SEVERAL_INPUTS
    ),
    "frozen weights": lambda: Row(probe(), batches()),
    "trainable weights alone": _trainable,
    "a pruned row": _pruned,
    "features that a hook keeps": _hooked,
    "a scripted part": _scripted,
    "features and logits in a mapping": lambda: Row(WithLogits(), batches(), plain=_logits),
    "labels inside a mapping": _labels_inside,
    "a loss of zero": lambda: Row(
        Net(), batches(), lambda outputs, _: 0 * outputs.sum(), lambda network, x, _: 0 * network(x).sum(), flat=True
    ),
}


def _with_own_norm() -> nn.Module:
    own = Net()
    own.body = nn.Sequential(own.body[0], test_own_norms.HandWritten(), nn.Tanh())
    return own
