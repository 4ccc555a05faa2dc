"""Relative flatness in closed form, against the dense Hessian of the last layer's weight by autograd."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import UnfitMeasureError
from bnsharp_cli.measurement.measures.measurement import Measurement

CLASSES = 3
Batch = tuple[Tensor, Tensor]


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, CLASSES)).double()


def conv() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, CLASSES, 1)).double()


class Tokens(nn.Module):
    """A class for each token, the classes in the second dimension or in the last one."""

    def __init__(self, last: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.last = last
        self.body, self.head = nn.Linear(4, 5).double(), nn.Linear(5, CLASSES, bias=False).double()

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.head(self.body(tokens).tanh())
        return scores if self.last else scores.transpose(1, 2)


def vectors(count: int = 3, size: int = 7, scale: float = 1.0) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            scale * torch.randn(size, 4, generator=generator, dtype=torch.float64),
            torch.randint(CLASSES, (size,), generator=generator),
        )
        for _ in range(count)
    ]


def images() -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    targets = torch.randint(CLASSES, (4, 3, 3), generator=generator)
    targets[0, 1] = -100
    return [(torch.randn(4, 2, 3, 3, generator=generator, dtype=torch.float64), targets)]


def sentences() -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(2, 4, 5, 4, generator=generator, dtype=torch.float64)
    return [(each, torch.randint(CLASSES, (4, 5), generator=generator)) for each in drawn]


def with_probabilities(batches: list[Batch]) -> list[Batch]:
    generator = torch.Generator().manual_seed(2)
    return [(x, torch.randn(len(y), CLASSES, generator=generator).double().softmax(1)) for x, y in batches]


def ignoring(batches: list[Batch], label: int = -100) -> list[Batch]:
    for number, (_, targets) in enumerate(batches):
        targets[: number + 1] = label
    return batches


def by_hessian(network: nn.Module, name: str, batches: list[Batch], criterion: Callable[..., Tensor]) -> float:
    """Σ_{s,s'} ⟨w_s, w_s'⟩ Tr H_{s,s'} of the mean loss of batches that count alike."""
    own = {key: each.detach() for key, each in network.named_parameters()}

    def loss(weight: Tensor) -> Tensor:
        losses = [criterion(functional_call(network, {**own, name: weight}, (x,)), y) for x, y in batches]
        return sum(losses, torch.zeros(())) / len(batches)

    weight = own[name]
    hessian: Any = torch.autograd.functional.hessian(loss, weight)
    rows = weight.flatten(1)
    traces = hessian.reshape(*rows.shape, *rows.shape).diagonal(dim1=1, dim2=3).sum(-1)
    return float(((rows @ rows.T) * traces).sum())


def measured(network: nn.Module, batches: list[Batch], criterion: Any, **options: Any) -> Measurement:
    return bnsharp_cli.measure(network, batches, criterion, "relative-flatness", **{"precision": "float64", **options})


def own_function(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.nll_loss(outputs.log_softmax(1), targets)


def of_last_dimension(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())


WEIGHT = torch.tensor([0.5, 2.0, 1.25], dtype=torch.float64)
CASES: dict[str, tuple[Callable[[], nn.Module], str, list[Batch], Callable[..., Tensor]]] = {
    "plain": (mlp, "2.weight", vectors(), functional.cross_entropy),
    "a function of one's own": (mlp, "2.weight", vectors(), own_function),
    "torch's module": (mlp, "2.weight", vectors(), nn.CrossEntropyLoss()),
    "smoothed labels": (mlp, "2.weight", vectors(), nn.CrossEntropyLoss(label_smoothing=0.2)),
    "smoothed by a partial": (mlp, "2.weight", vectors(), partial(functional.cross_entropy, label_smoothing=0.2)),
    "weights of classes": (mlp, "2.weight", vectors(), nn.CrossEntropyLoss(WEIGHT)),
    "weights and smoothing": (mlp, "2.weight", vectors(), nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.2)),
    "a sum": (mlp, "2.weight", vectors(), nn.CrossEntropyLoss(reduction="sum")),
    "labels left out": (mlp, "2.weight", ignoring(vectors()), functional.cross_entropy),
    "another label left out": (mlp, "2.weight", vectors(), nn.CrossEntropyLoss(ignore_index=1)),
    "all together": (
        mlp,
        "2.weight",
        ignoring(vectors(), 2),
        nn.CrossEntropyLoss(WEIGHT, ignore_index=2, label_smoothing=0.1),
    ),
    "probabilities": (mlp, "2.weight", with_probabilities(vectors()), functional.cross_entropy),
    "probabilities, weights and smoothing": (
        mlp,
        "2.weight",
        with_probabilities(vectors()),
        nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.2),
    ),
    "a convolution as head": (conv, "2.weight", images(), functional.cross_entropy),
    "tokens": (lambda: Tokens(last=False), "head.weight", sentences(), functional.cross_entropy),
    "tokens with classes last": (lambda: Tokens(last=True), "head.weight", sentences(), of_last_dimension),
}


@pytest.mark.parametrize("case", CASES)
def test_the_closed_form_is_the_trace_of_the_hessian(case: str) -> None:
    make, name, batches, criterion = CASES[case]
    network = make()
    found = measured(network, batches, criterion)
    assert found.value == pytest.approx(by_hessian(network, name, batches, criterion), rel=1e-10)
    assert found.uncertainty.rounding is not None
    assert found.uncertainty.rounding < 1e-10 * (1 + found.value)


def test_batches_of_unequal_sizes_count_by_their_sizes() -> None:
    (first, second), network = vectors(2), mlp()
    batches = [first, (second[0][:3], second[1][:3])]
    together = [(torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches]))]
    expected = by_hessian(network, "2.weight", together, functional.cross_entropy)
    assert measured(network, batches, functional.cross_entropy).value == pytest.approx(expected, rel=1e-12)


def test_the_standard_error_is_that_of_the_samples() -> None:
    network, batches = mlp(), vectors()
    each = [
        by_hessian(network, "2.weight", [(x[i : i + 1], y[i : i + 1])], functional.cross_entropy)
        for x, y in batches
        for i in range(len(y))
    ]
    error = float(torch.tensor(each, dtype=torch.float64).std()) / math.sqrt(len(each))
    assert measured(network, batches, functional.cross_entropy).uncertainty.sampling == pytest.approx(error, rel=1e-9)


def test_neuron_by_neuron_it_is_a_sum_over_the_features() -> None:
    network, batches = mlp(), vectors(1)
    inputs = batches[0][0]
    features = network[:2](inputs).detach()
    weight, p = network.get_parameter("2.weight").detach(), network(inputs).softmax(1).detach()
    expected = sum(
        float((features[i, j] ** 2 * (p[i] @ weight[:, j] ** 2 - (p[i] @ weight[:, j]) ** 2)).sum())
        for i in range(len(inputs))
        for j in range(6)
    ) / len(inputs)
    assert measured(network, batches, functional.cross_entropy).details["by_neuron"] == pytest.approx(expected)


def test_nothing_is_lost_where_one_class_has_nearly_all_the_probability() -> None:
    """The textbook form of the variance is nothing but rounding there; two classes have the closed form p q ‖w‖²."""
    network = nn.Sequential(nn.Linear(4, 2, bias=False)).double()
    with torch.no_grad():
        network.get_parameter("0.weight").copy_(torch.tensor([[9.0, 0, 0, 1], [-9, 0, 0, 1]]))
    inputs = torch.tensor([[2.0, 1, 0, 3]], dtype=torch.float64)
    p = 1 / (1 + math.exp(36))
    expected = float(inputs.square().sum()) * p * (1 - p) * 18.0**2
    found = measured(network, [(inputs, torch.tensor([0]))], functional.cross_entropy)
    assert found.value == pytest.approx(expected, rel=1e-12, abs=0)


def test_float32_differs_by_no_more_than_is_stated() -> None:
    for scale in (0.1, 1.0, 10.0):
        network, batches = mlp().float(), [(x.float(), y) for x, y in vectors(4, 16, scale)]
        exact = measured(network, batches, functional.cross_entropy)
        found = measured(network, batches, functional.cross_entropy, precision="float32")
        assert found.uncertainty.rounding is not None
        assert 0 < abs(found.value - exact.value) <= found.uncertainty.rounding < 1e-4 * found.value


class Net(nn.Module):
    """A head and what a network may do with it; ``act`` maps hidden features and the network to its answer."""

    def __init__(self, act: Callable[[Net, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(4, 6).double(), nn.Linear(6, CLASSES).double()
        self.act = act

    def forward(self, inputs: Tensor) -> Any:
        return self.act(self, self.body(inputs).relu())


class Other(nn.Module):
    """A further head that is computed last."""

    def forward(self, net: Net, hidden: Tensor) -> dict[str, Tensor]:
        return {"logits": net.head(hidden), "aux": functional.linear(hidden, net.body.weight.T)}


def penalised(network: Net) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda outputs, targets: functional.cross_entropy(outputs, targets) + 0 * network.head.weight.square().sum()


UNFIT: dict[str, tuple[Callable[[Net, Tensor], Any], str]] = {
    "scaled answers": (lambda net, h: 2 * net.head(h), "not the answer of a linear layer"),
    "scaled in place": (lambda net, h: net.head(h).mul_(2), "not the answer of a linear layer"),
    "a product of matrices": (lambda net, h: h @ net.head.weight.T, "not the answer of a linear layer"),
    "log-probabilities": (lambda net, h: net.head(h).log_softmax(1), "not the answer of a linear layer"),
    "a computed weight": (lambda net, h: functional.linear(h, 2 * net.head.weight), "computed from parameters"),
    "a weight used twice": (
        lambda net, h: net.head(h + functional.linear(h @ net.head.weight.T, net.head.weight.T)),
        "used elsewhere",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_where_there_is_no_last_linear_layer_it_says_why(case: str) -> None:
    act, reason = UNFIT[case]
    with pytest.raises(UnfitMeasureError, match=reason):
        measured(Net(act), vectors(), functional.cross_entropy)
    assert reason in bnsharp_cli.measure(Net(act), vectors(), measure="all").skipped["relative-flatness"]


def test_the_head_is_found_among_others_and_in_any_container() -> None:
    net = Net(Other())
    plain = Net(lambda net, h: net.head(h))
    for shown in (net, Net(lambda net, h: {"logits": net.head(h)})):
        found = measured(shown, vectors(), functional.cross_entropy)
        assert found.value == measured(plain, vectors(), functional.cross_entropy).value
    found = measured(net, vectors(), lambda outputs, y: functional.cross_entropy(outputs["logits"], y))
    assert found.value == measured(plain, vectors(), functional.cross_entropy).value


def test_other_losses_are_refused_though_they_may_look_alike() -> None:
    plain = Net(lambda net, h: net.head(h))
    with pytest.raises(UnfitMeasureError, match="reads the network"):
        measured(plain, vectors(), penalised(plain))
    for criterion in (
        functional.multi_margin_loss,
        lambda z, y: functional.cross_entropy(z / 2, y),
        lambda z, y: functional.cross_entropy(z, y).sqrt(),
        lambda z, y: functional.cross_entropy(z, y, label_smoothing=0.1),  # torch's settings are not to be seen
    ):
        with pytest.raises(UnfitMeasureError, match="not the cross entropy"):
            measured(plain, vectors(), criterion)
    with torch.no_grad():
        plain.head.weight.mul_(1e4)
    sure = [(x, plain(x).argmax(1)) for x, _ in vectors()]
    assert all(functional.multi_margin_loss(plain(x), y).item() == 0 for x, y in sure)  # as the cross entropy nearly is
    with pytest.raises(UnfitMeasureError, match="not the cross entropy"):
        measured(plain, sure, functional.multi_margin_loss)
    assert measured(plain, sure, functional.cross_entropy).value >= 0


def test_a_head_that_is_a_constant_has_no_flatness() -> None:
    plain = Net(lambda net, h: net.head(h))
    with pytest.raises(UnfitMeasureError, match="not among the measured parameters"):
        measured(plain, vectors(), functional.cross_entropy, parameters="body.*")
    chosen = measured(plain, vectors(), functional.cross_entropy, parameters="head.weight")
    assert chosen.value == measured(plain, vectors(), functional.cross_entropy).value


def test_rescaling_the_layer_against_the_one_below_changes_nothing() -> None:
    network, batches = mlp(), vectors()
    before = measured(network, batches, functional.cross_entropy)
    factors = torch.logspace(-1, 1, 6, dtype=torch.float64)
    for scale, by_neuron in ((torch.full((6,), 0.01).double(), True), (factors, False)):
        other = mlp()
        with torch.no_grad():
            other.get_parameter("0.weight").mul_(scale[:, None])
            other.get_parameter("0.bias").mul_(scale)
            other.get_parameter("2.weight").div_(scale)
        after = measured(other, batches, functional.cross_entropy)
        assert (abs(after.value / before.value - 1) < 1e-12) is by_neuron
        assert after.details["by_neuron"] == pytest.approx(before.details["by_neuron"], rel=1e-12)
