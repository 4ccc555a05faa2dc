"""What is drawn at random: a network, its batches, its loss, the same loss in plain float64 code, and its blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from tests.border.oracle import Block

CLASSES, FEATURES, LENGTH, WIDTH = 3, 4, 6, 8
BY_CHANNEL = {"batch", "batch, not affine", "batch, no running", "instance"}

NORMS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "batch": lambda: nn.BatchNorm1d(WIDTH),
    "batch, not affine": lambda: nn.BatchNorm1d(WIDTH, affine=False),
    "batch, no running": lambda: nn.BatchNorm1d(WIDTH, track_running_stats=False),
    "group": lambda: nn.GroupNorm(2, WIDTH),
    "layer": lambda: nn.GroupNorm(1, WIDTH),
    "instance": lambda: nn.InstanceNorm1d(WIDTH, affine=True),
}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "SiLU in place": lambda: nn.SiLU(inplace=True),
    "ELU in place": lambda: nn.ELU(inplace=True),
}
CONTAINERS = ("tensor", "tuple", "list", "mapping", "nested", "labels inside")
LABELS = ("classes", "soft", "int32 and cast", "positions")
LOSSES = ("cross-entropy", "smoothed", "focal")
ANSWERS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "scores": lambda _, scores: scores,
    "logits": lambda hidden, scores: {"features": hidden, "logits": scores},
    "features and scores": lambda hidden, scores: (hidden, scores),
}
WEIGHTS = torch.tensor([1.0, 2.1, 0.3])


@dataclass(frozen=True)
class Drawn:
    """One network, with its batches and loss.

    Attributes:
        norms: those of the two blocks.
        activation: behind each norm.
        shared: whether the second block has the first one's convolution.
        residual: whether the second block is added to its input.
        written: whether the network writes into its input.
        stored: the type of weights and inputs.
        precision: of the measurement.
        container: of the inputs.
        labels: their form.
        weighted: whether classes have weights.
        loss: over the classes.
        reduction: of the loss.
        as_module: whether the loss is a module rather than a function.
        answers: what the network returns.
        running: whether norms use running statistics.
        sizes: of the batches.
        number: the seed of weights and data.
    """

    norms: tuple[str, str]
    activation: str
    shared: bool
    residual: bool
    written: bool
    stored: torch.dtype
    precision: str
    container: str
    labels: str
    weighted: bool
    loss: str
    reduction: str
    as_module: bool
    answers: str
    running: bool
    sizes: tuple[int, ...]
    number: int


DRAWN = st.builds(
    Drawn,
    norms=st.tuples(*[st.sampled_from([*NORMS])] * 2),
    activation=st.sampled_from([*ACTIVATIONS]),
    shared=st.booleans(),
    residual=st.booleans(),
    written=st.booleans(),
    stored=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    precision=st.sampled_from(["float32", "float64"]),
    container=st.sampled_from(CONTAINERS),
    labels=st.sampled_from(LABELS),
    weighted=st.booleans(),
    loss=st.sampled_from(LOSSES),
    reduction=st.sampled_from(["mean", "sum"]),
    as_module=st.booleans(),
    answers=st.sampled_from([*ANSWERS]),
    running=st.booleans(),
    sizes=st.sampled_from([(12, 12), (9, 12, 3), (16,), (5, 5, 5), (32, 4)]),
    number=st.integers(0, 10**6),
)


class Network(nn.Module):
    """Two blocks of convolution, norm and activation; a head; a gain that a container may carry."""

    def __init__(self, drawn: Drawn) -> None:
        super().__init__()
        self.drawn = drawn
        self.first, self.second = nn.Linear(FEATURES, WIDTH), nn.Conv1d(WIDTH, WIDTH, 1)
        self.third = self.second if drawn.shared else nn.Conv1d(WIDTH, WIDTH, 1, bias=False)
        self.norms = nn.ModuleList(NORMS[name]() for name in drawn.norms)
        self.act = ACTIVATIONS[drawn.activation]()
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Any = None, gain: Any = None) -> Any:
        if isinstance(x, dict):
            x, gain = x["values"], x["more"][0]
        if self.drawn.written:
            x.mul_(2)
        hidden = self.first(x).transpose(1, 2)
        hidden = self.act(self.norms[0](self.second(hidden)))
        after = self.act(self.norms[1](self.third(hidden)))
        hidden = after + hidden if self.drawn.residual else after
        if gain is not None:
            hidden = hidden * gain[:, None, None]
        whole = self.drawn.labels == "positions"
        scores = self.head(hidden.transpose(1, 2)).transpose(1, 2) if whole else self.head(hidden.mean(2))
        return ANSWERS[self.drawn.answers](hidden, scores)


def network(drawn: Drawn) -> nn.Module:
    generator = torch.Generator().manual_seed(drawn.number)
    built = Network(drawn)
    with torch.no_grad():
        for weight in built.parameters():
            weight.copy_(0.4 * torch.randn(weight.shape, generator=generator) + float(weight.ndim == 1))
        for name, buffer in built.named_buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + (0.5 if "var" in name else 0))
    return built.to(drawn.stored)


def batches(drawn: Drawn) -> list[Any]:
    """What is handed in."""
    pairs = _pairs(drawn)
    return [{**inputs, "labels": y} for inputs, y in pairs] if drawn.container == "labels inside" else pairs


def _pairs(drawn: Drawn) -> list[tuple[Any, Tensor]]:
    generator = torch.Generator().manual_seed(drawn.number + 1)
    return [(_inputs(drawn, size, generator), _labels(drawn, size, generator)) for size in drawn.sizes]


def _inputs(drawn: Drawn, size: int, generator: torch.Generator) -> Any:
    x = torch.randn(size, LENGTH, FEATURES, generator=generator).to(drawn.stored)
    gain = torch.rand(size, generator=generator).to(drawn.stored) + 0.5
    named = {"x": x, "gain": gain}
    forms = {"tensor": x, "tuple": (x, gain), "list": [x, gain], "mapping": named, "labels inside": named}
    return forms.get(drawn.container, ({"values": x, "more": [gain]},))


def _labels(drawn: Drawn, size: int, generator: torch.Generator) -> Tensor:
    shape = (size, LENGTH) if drawn.labels == "positions" else (size,)
    classes = torch.randint(CLASSES, shape, generator=generator)
    if drawn.labels == "soft":
        return torch.rand(size, CLASSES, generator=generator).softmax(1)
    if drawn.labels == "positions":
        classes[:, 0] = -100
        classes[:, 1] = 1
    return classes.int() if drawn.labels == "int32 and cast" else classes


def criterion(drawn: Drawn) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss as people hand it in, with class weights in float32."""
    weights = WEIGHTS if drawn.weighted else None
    if drawn.as_module and drawn.labels != "int32 and cast" and drawn.loss != "focal":
        return nn.CrossEntropyLoss(weights, reduction=drawn.reduction, label_smoothing=_smoothing(drawn))
    return lambda outputs, targets: _loss(drawn, outputs, targets, weights)


def _smoothing(drawn: Drawn) -> float:
    return 0.1 if drawn.loss == "smoothed" else 0.0


def _loss(drawn: Drawn, outputs: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    wanted = targets if targets.is_floating_point() else targets.long()
    if drawn.loss != "focal":
        return functional.cross_entropy(
            outputs, wanted, weights, reduction=drawn.reduction, label_smoothing=_smoothing(drawn)
        )
    each = functional.cross_entropy(outputs, wanted, weights, reduction="none")
    return getattr((1 - (-each).exp()) ** 2 * each, drawn.reduction)()


def oracle_loss(drawn: Drawn) -> Callable[[nn.Module], Tensor]:
    """L in plain float64: a mean over examples, or the mean over batches of sums."""

    def of_batch(model: nn.Module, inputs: Any, targets: Tensor) -> Tensor:
        precise = torch.utils._pytree.tree_map(lambda tensor: tensor.double().clone(), inputs)
        outputs = model(**precise) if isinstance(precise, dict) else model(*_arguments(precise))
        scores = {"logits": lambda: outputs["logits"], "scores": lambda: outputs}.get(drawn.answers, lambda: outputs[1])
        wanted = targets.double() if targets.is_floating_point() else targets
        return _loss(drawn, scores(), wanted, WEIGHTS.double() if drawn.weighted else None)

    def loss(model: nn.Module) -> Tensor:
        model.train(not drawn.running)
        data = _pairs(drawn)
        sizes = [len(targets) if drawn.reduction == "mean" else 1 for _, targets in data]
        losses = [size * of_batch(model, *batch) for size, batch in zip(sizes, data, strict=True)]
        return torch.stack(losses).sum() / sum(sizes)

    return loss


def _arguments(inputs: Any) -> tuple[Any, ...]:
    return tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)


def expected_blocks(drawn: Drawn) -> list[Block]:
    """Which rows are scale-invariant together, by what the norms behind them subtract and divide by."""
    blocks: list[Block] = []
    if drawn.norms[0] in BY_CHANNEL:  # which takes both biases away, so that the first weight scales all that is left
        blocks.append({"first.weight": slice(None)})
    uses = drawn.norms if drawn.shared else drawn.norms[:1]
    blocks += _blocks_before(uses, "second.weight", "second.bias")
    return blocks if drawn.shared else [*blocks, *_blocks_before(drawn.norms[1:], "third.weight", "")]


def _blocks_before(norms: tuple[str, ...], weight: str, bias: str) -> list[Block]:
    if "none" in norms:
        return []
    size = max(WIDTH if name == "layer" else WIDTH // 2 if name == "group" else 1 for name in norms)
    names = [weight, bias] if bias and size > 1 else [weight]
    return [{name: slice(row, row + size) for name in names} for row in range(0, WIDTH, size)]
