"""What people hand in, each with the same loss in plain float64 code, or with the error of ours that answers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.border import whole_batches
from tests.border.networks import Net, batches, penalty
from tests.border.row import BODY, SEVERAL_INPUTS, WHOLE_BATCHES, Row
from tests.border.rows_of_inputs import ROWS_OF_INPUTS
from tests.border.rows_of_networks import ROWS_OF_NETWORKS

WEIGHTS = torch.tensor([1.0, 2.1, 0.3, 4.7])


@dataclass(frozen=True)
class Refused:
    """What is refused: the row, and the argument that the error names."""

    row: Row
    argument: str


class TwoOutputs(Net):
    def forward(self, x: Tensor) -> Any:
        return self.body(x), self.head(self.body(x))


class OfMapping(Net):
    def forward(self, x: Tensor, gain: Tensor) -> Tensor:
        return self.head(self.body(x) * gain[:, None])


class OfNested(Net):
    def forward(self, parts: Any) -> Tensor:
        return self.head(self.body(parts["x"]) * parts["more"][0][:, None])


class InPlace(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x.mul_(2)))


class Narrow(Net):
    """Casts to half precision inside, which is left out."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.head(self.body(x)).float()


class Remembers(Net):
    """Adds to its outputs what the batch before has left."""

    last = 0.0

    def forward(self, x: Tensor) -> Tensor:
        outputs = self.head(self.body(x)) * (1 + self.last)
        self.last = self.last + 0.5
        return outputs


class Tokens(Net):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 10, sparse=True)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return self.head(self.body((self.words(tokens) * mask[:, :, None]).sum(1)))


def _containers(model: nn.Module, form: Callable[[Tensor, Tensor], Any], call: Callable[[nn.Module, Any], Any]) -> Row:
    data = [(form(x, x[:, 0].abs() + 0.5), y) for x, y in batches()]
    return Row(
        model,
        data,
        plain=lambda network, inputs, y: functional.cross_entropy(call(network, inputs), y),
        command=SEVERAL_INPUTS,
    )


def _weighted(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(network(x), y, WEIGHTS.double())


def _focal(outputs: Tensor, y: Tensor) -> Tensor:
    loss = functional.cross_entropy(outputs, y, reduction="none")
    return ((1 - (-loss).exp()) ** 2 * loss).mean()


def _with_rest() -> list[Any]:
    *most, (x, y) = batches()
    return [*most, (x[:5], y[:5])]


def _penalised() -> Row:
    model = Net()
    return Row(
        model,
        batches(),
        lambda outputs, y: functional.cross_entropy(outputs, y) + 0.01 * penalty(model),
        lambda network, x, y: functional.cross_entropy(network(x), y) + 0.01 * penalty(network),
        blocks=(),
    )


def _of_list() -> Row:
    model = Net()
    weights = [weight.square().sum() for weight in model.parameters()]
    return Row(model, batches(), lambda outputs, y: functional.cross_entropy(outputs, y) + torch.stack(weights).sum())


def _tokens() -> Row:
    generator = torch.Generator().manual_seed(5)
    data = [
        (
            {
                "tokens": torch.randint(20, (32, 5), generator=generator),
                "mask": (torch.rand(32, 5, generator=generator) < 0.8).float(),
            },
            y,
        )
        for _, y in batches()
    ]
    torch.manual_seed(0)
    return Row(
        Tokens(),
        data,
        plain=lambda network, inputs, y: functional.cross_entropy(network(**inputs), y),
        blocks=(*BODY, {"words.weight": slice(None)}),
        command=SEVERAL_INPUTS,
    )


def _whole(make: Callable[[], whole_batches.Case]) -> Row:
    case = make()
    return Row(case.model, case.batches, plain=case._of_batch, blocks=tuple(case.blocks), command=WHOLE_BATCHES)


ROWS_OF_VALUES: dict[str, Callable[[], Row]] = {
    "a tensor": lambda: Row(Net(), batches()),
    "float64 weights": lambda: Row(Net().double(), [(x.double(), y) for x, y in batches()]),
    "a mapping": lambda: _containers(
        OfMapping(), lambda x, gain: {"x": x, "gain": gain}, lambda network, inputs: network(**inputs)
    ),
    "a tuple": lambda: _containers(OfMapping(), lambda x, gain: (x, gain), lambda network, inputs: network(*inputs)),
    "nested": lambda: _containers(
        OfNested(), lambda x, gain: ({"x": x, "more": [gain]},), lambda network, inputs: network(*inputs)
    ),
    "tokens, a mask and sparse gradients": _tokens,
    "a network that writes into its input": lambda: Row(InPlace(), batches()),
    "autocast inside": lambda: Row(Narrow(), batches(), plain=_outside_autocast),
    "int32 labels": lambda: Row(
        Net(),
        [(x, y.int()) for x, y in batches()],
        lambda outputs, y: functional.cross_entropy(outputs, y.long()),
        lambda network, x, y: functional.cross_entropy(network(x), y.long()),
    ),
    "soft labels": lambda: Row(Net(), [(x, functional.one_hot(y, 4) * 0.8 + 0.05) for x, y in batches()]),
    "class weights in a module": lambda: Row(Net(), batches(), nn.CrossEntropyLoss(WEIGHTS), _weighted),
    "class weights in a partial": lambda: Row(
        Net(), batches(), partial(functional.cross_entropy, weight=WEIGHTS), _weighted
    ),
    "class weights in a lambda": lambda: Row(
        Net(), batches(), lambda outputs, y: functional.cross_entropy(outputs, y, WEIGHTS), _weighted
    ),
    "a sum": lambda: Row(
        Net(),
        batches(),
        nn.CrossEntropyLoss(reduction="sum"),
        lambda network, x, y: functional.cross_entropy(network(x), y, reduction="sum"),
    ),
    "a focal loss": lambda: Row(Net(), batches(), _focal, lambda network, x, y: _focal(network(x), y)),
    "a rest that is kept": lambda: Row(Net(), _with_rest()),
    "a sum, and a rest that is kept": lambda: Row(
        Net(),
        _with_rest(),
        nn.CrossEntropyLoss(reduction="sum"),
        lambda network, x, y: functional.cross_entropy(network(x), y, reduction="sum"),
        averages=False,
    ),
    "a penalty on the network's weights": _penalised,
    "one of two outputs": lambda: Row(
        TwoOutputs(),
        batches(),
        plain=lambda network, x, y: functional.cross_entropy(network(x)[1], y),
        options=(("output", 1),),
    ),
    **ROWS_OF_NETWORKS,
    **ROWS_OF_INPUTS,
    **{name: partial(_whole, make) for name, make in whole_batches.CASES.items()},
}


def _outside_autocast(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(network.head(network.body(x)), y)


ROWS_REFUSED: dict[str, Callable[[], Refused]] = {
    "two outputs": lambda: Refused(Row(TwoOutputs(), batches()), "output"),
    "a network that remembers": lambda: Refused(Row(Remembers(), batches()), "model"),
    "a loss of weights from beforehand": lambda: Refused(_of_list(), "criterion"),
    "no batch": lambda: Refused(Row(Net(), []), "batches"),
    "inputs alone": lambda: Refused(Row(Net(), [(batches()[0][0],)]), "batches"),
    "a sparse tensor": lambda: Refused(Row(Net(), [(batches()[0][0].to_sparse(), batches()[0][1])]), "batches"),
    "no loss": lambda: Refused(Row(Net(), batches(), criterion=3), "criterion"),  # type: ignore[arg-type]  # a mistake
}
