"""Networks, containers, losses and labels drawn at random, with the same loss in plain float64 code beside each.

``python -m tests.border.drawn --minutes 15`` searches for longer than the tests do, from another seed each round.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.measurement.surface.adapters import CheckedCriterion, adapt, takes_tensor
from bnsharp_cli.measurement.surface.examination import examined
from bnsharp_cli.measurement.surface.fixed_batches import fixed_batches
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.border.oracle import Block, block_length, bn_of_blocks, plain_loss_and_gradient

CLASSES, FEATURES, LENGTH, WIDTH = 3, 4, 6, 8
SINGLE, DOUBLE = 1e-4, 1e-9
ROUND = 100
QUIET = 1e-12
"""Blocks of a smaller share of the gradient have no effect: they add nothing to the value, and θ_* may hold them."""
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
CONTAINERS = ("tensor", "tuple", "mapping", "nested")
LABELS = ("classes", "soft", "int32 and cast", "positions")
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
        reduction: of the loss.
        as_module: whether the loss is a module rather than a function.
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
    reduction: str
    as_module: bool
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
    stored=st.sampled_from([torch.float32, torch.float64]),
    precision=st.sampled_from(["float32", "float64"]),
    container=st.sampled_from(CONTAINERS),
    labels=st.sampled_from(LABELS),
    weighted=st.booleans(),
    reduction=st.sampled_from(["mean", "sum"]),
    as_module=st.booleans(),
    running=st.booleans(),
    sizes=st.sampled_from([(12, 12), (9, 12, 3), (16,), (5, 5, 5)]),
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

    def forward(self, x: Any = None, gain: Any = None) -> Tensor:
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
        if self.drawn.labels == "positions":
            return self.head(hidden.transpose(1, 2)).transpose(1, 2)
        return self.head(hidden.mean(2))


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


def batches(drawn: Drawn) -> list[tuple[Any, Tensor]]:
    generator = torch.Generator().manual_seed(drawn.number + 1)
    return [(_inputs(drawn, size, generator), _labels(drawn, size, generator)) for size in drawn.sizes]


def _inputs(drawn: Drawn, size: int, generator: torch.Generator) -> Any:
    x = torch.randn(size, LENGTH, FEATURES, generator=generator).to(drawn.stored)
    gain = torch.rand(size, generator=generator).to(drawn.stored) + 0.5
    forms = {"tensor": x, "tuple": (x, gain), "mapping": {"x": x, "gain": gain}}
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
    weights = WEIGHTS if drawn.weighted else None
    module = nn.CrossEntropyLoss(weights, reduction=drawn.reduction)
    if drawn.labels != "int32 and cast" and drawn.as_module:
        return module

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        whole = targets if targets.is_floating_point() else targets.long()
        return functional.cross_entropy(outputs, whole, weights, reduction=drawn.reduction)

    return loss


def oracle_loss(drawn: Drawn) -> Callable[[nn.Module], Tensor]:
    """L in plain float64: a mean over examples, or the mean over batches of sums."""

    def of_batch(model: nn.Module, inputs: Any, targets: Tensor) -> Tensor:
        precise = torch.utils._pytree.tree_map(lambda tensor: tensor.double().clone(), inputs)
        outputs = model(**precise) if isinstance(precise, dict) else model(*_arguments(precise))
        wanted = targets.double() if targets.is_floating_point() else targets.long()
        weights = WEIGHTS.double() if drawn.weighted else None
        return functional.cross_entropy(outputs, wanted, weights, reduction=drawn.reduction)

    def loss(model: nn.Module) -> Tensor:
        model.train(not drawn.running)
        data = batches(drawn)
        sizes = [len(targets) if drawn.reduction == "mean" else 1 for _, targets in data]
        losses = [size * of_batch(model, *batch) for size, batch in zip(sizes, data, strict=True)]
        return torch.stack(losses).sum() / sum(sizes)

    return loss


def _arguments(inputs: Any) -> tuple[Any, ...]:
    return inputs if isinstance(inputs, tuple) else (inputs,)


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


def agrees(drawn: Drawn) -> None:
    """Hold loss, gradient and value against the oracle.

    Raises:
        AssertionError: one of them is another.
    """
    model, data, loss = network(drawn), batches(drawn), criterion(drawn)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected, slopes = plain_loss_and_gradient(model, oracle_loss(drawn))
    surface = _surface(drawn, model, data, loss)
    value, gradient = surface.value_and_gradient(surface.point())
    close = DOUBLE if drawn.precision == "float64" else SINGLE
    assert abs(value - expected) <= close * max(1.0, abs(expected)), (value, expected)
    size = float(torch.cat([slope.flatten() for slope in slopes.values()]).norm())
    for name, slope in slopes.items():
        assert float((gradient[name] - slope).norm()) <= close * (1 + size), name
    blocks = expected_blocks(drawn)
    quiet = sum(block_length(slopes, block) <= QUIET * size for block in blocks)
    assert len(blocks) - quiet <= bnsharp_cli.find_blocks(model, data, loss).invariant <= len(blocks)
    bn = "running" if drawn.running else "batch"
    measured = bnsharp_cli.measure(model, data, loss, bn=bn, precision=drawn.precision)
    limit = bn_of_blocks(model, oracle_loss(drawn), blocks)
    assert measured.value >= (1 - 3e-3) * limit, (measured, limit)
    assert measured.value <= (1 + 3e-2) * limit, (measured, limit)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def _surface(drawn: Drawn, model: nn.Module, data: list[tuple[Any, Tensor]], loss: Any) -> LossSurface:
    own = copy.deepcopy(model)
    adapt(own, takes_tensor(loss), None)
    dtype = torch.float64 if drawn.precision == "float64" else torch.float32
    checked = CheckedCriterion(loss, "'loss'", torch.device("cpu"))
    return examined(LossSurface.of(own, fixed_batches(data), checked, batch_statistics=not drawn.running, dtype=dtype))


def _round(number: int, examples: int) -> None:
    @seed(number)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(DRAWN)
    def search(drawn: Drawn) -> None:
        agrees(drawn)

    search()


def main() -> None:
    """Search for a number of minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    for number in itertools.count(arguments.seed):
        _round(number, ROUND)
        if time.monotonic() > end:
            break
    tried = ROUND * (number - arguments.seed + 1)
    sys.stderr.write(f"{tried} networks, nothing found; the next seed is {number + 1}.\n")


if __name__ == "__main__":
    main()
