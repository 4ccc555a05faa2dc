"""Forms of networks, losses and data that a sceptic hands in: each has the value of plain code, or is refused."""

from __future__ import annotations

import collections
import copy
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

import bnsharp_cli
from bnsharp_cli.errors import BnsharpError
from tests.border.networks import ROWS, Net, batches, mean_loss, penalty
from tests.border.oracle import bn_along_gradient, bn_of_blocks

OPTIONS: dict[str, Any] = {"iterations": 0, "rtol": 1e-6}


class Without(Net):
    """Without a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.body[1] = nn.Identity()


def _changed(change: Callable[[nn.Module], object], model: nn.Module) -> nn.Module:
    change(model)
    return model


def _doubled(model: nn.Module) -> nn.Module:
    run = model.forward
    model.forward = lambda x: 2 * run(x)
    return model


class LazyBuffer(Net):
    def forward(self, x: Tensor) -> Tensor:
        if "gains" not in self._buffers:
            self.register_buffer("gains", torch.full((4,), 2.0, dtype=x.dtype))
        return super().forward(x) * self.gains


class RaisesOnce(Net):
    ready = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.ready:
            self.ready = True
            raise RuntimeError("warming up")
        return super().forward(x)


class Chunks(Net):
    """The parts of a batch have statistics of their own."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super(Chunks, self).forward(part) for part in x.chunk(2)])


class SquareOnes(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        context.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return 2 * context.saved_tensors[0] * gradient


class OwnFunction(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(SquareOnes.apply(self.body(x)))


class Swapped(nn.Module):
    """Runs a part with other weights."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.gain = Net(), nn.Parameter(torch.tensor(1.2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.func.functional_call(self.net, {"head.weight": self.net.head.weight * self.gain}, (x,))


class SwappedPlainly(Swapped):
    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(self.net.body(x), self.net.head.weight * self.gain, self.net.head.bias)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.code, self.head = nn.Linear(10, 6), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.linear(torch.tanh(self.code(x)), self.code.weight.t()))


class InThread(Net):
    def forward(self, x: Tensor) -> Tensor:
        found: list[Tensor] = []
        thread = threading.Thread(target=lambda: found.append(super(InThread, self).forward(x)))
        thread.start()
        thread.join()
        return found[0]


def _strided(model: nn.Module) -> None:
    model.head.weight = nn.Parameter(model.head.weight.detach().t().contiguous().t())


def _expanded(model: nn.Module) -> None:
    model.head.weight = nn.Parameter(model.head.weight.detach()[:1].expand(4, 16))


def _pieces(model: nn.Module) -> None:
    whole = 0.3 * torch.randn(68, generator=torch.Generator().manual_seed(0))
    model.head.weight, model.head.bias = nn.Parameter(whole[:64].view(4, 16)), nn.Parameter(whole[64:])


Model = Callable[[], nn.Module]
SAME: dict[str, tuple[Model, Model]] = {
    "compiled": (lambda: torch.compile(Net(), backend="eager"), Net),
    "compiled in place": (lambda: _changed(lambda model: model.compile(backend="eager"), Net()), Net),
    "traced by fx": (lambda: torch.fx.symbolic_trace(Net()), Net),
    "exported": (lambda: torch.export.export(Net().eval(), (torch.randn(32, 10),)).module(), Net),
    "DataParallel": (lambda: nn.DataParallel(Net()), Net),
    "DataParallel inside": (lambda: _changed(lambda m: setattr(m, "head", nn.DataParallel(m.head)), Net()), Net),
    "SyncBatchNorm": (lambda: nn.SyncBatchNorm.convert_sync_batchnorm(Net()), Net),
    "float64": (lambda: Net().double(), Net),
    "frozen": (lambda: Net().requires_grad_(False), Net),
    "gradients that are filled": (lambda: _changed(lambda m: m(batches()[0][0]).sum().backward(), Net().eval()), Net),
    "a buffer that is made late": (LazyBuffer, lambda: _doubled(Net())),
    "a first pass that fails": (RaisesOnce, Net),
    "forward of the instance": (
        lambda: _changed(
            lambda m: setattr(m, "forward", types.MethodType(lambda own, x: 2 * Net.forward(own, x), m)), Net()
        ),
        lambda: _doubled(Net()),
    ),
    "forward that closes over itself": (lambda: _doubled(Net()), lambda: _doubled(Net())),
    "chunks": (Chunks, Chunks),
    "a function of one's own": (OwnFunction, OwnFunction),
    "functional_call inside": (Swapped, SwappedPlainly),
    "tied weights": (Tied, Tied),
    "strided weights": (lambda: _changed(_strided, Net()), lambda: _changed(_strided, Net())),
    "expanded weights": (lambda: _changed(_expanded, Net()), lambda: _changed(_expanded, Net())),
    "pieces of one tensor": (lambda: _changed(_pieces, Net()), lambda: _changed(_pieces, Net())),
    "a hook that changes outputs": (
        lambda: _changed(lambda m: m.register_forward_hook(lambda _, __, output: 2 * output), Net()),
        lambda: _doubled(Net()),
    ),
    "a hook that changes gradients": (
        lambda: _changed(lambda m: m.head.register_full_backward_hook(lambda _, inner, __: (3 * inner[0],)), Net()),
        Net,
    ),
    "orthogonal": (
        lambda: _changed(lambda m: parametrizations.orthogonal(m.head), Without()),
        lambda: _changed(lambda m: parametrizations.orthogonal(m.head), Without()),
    ),
}


@pytest.mark.parametrize("name", SAME)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_form_of_a_network_has_the_value_of_plain_code(name: str) -> None:
    model, plain = (make() for make in SAME[name])
    rows = [weight for weight, _ in plain.named_parameters() if weight.endswith("body.0.weight")]
    unnormed = isinstance(plain, Without)
    expected = bn_along_gradient(plain, _loss_of(name, plain), [] if unnormed else rows)
    assert bnsharp_cli.measure(model, batches(), **OPTIONS).value == pytest.approx(expected, rel=1e-3)


def _loss_of(name: str, plain: nn.Module) -> Callable[[nn.Module], Tensor]:
    """Copies of an instance with a forward of its own run the original: then the factor is written out."""
    if "forward" not in vars(plain):
        return mean_loss()
    del plain.forward
    return mean_loss(lambda model, x, y: functional.cross_entropy(2 * model(x), y))


@pytest.mark.parametrize("kind", [parametrizations.spectral_norm, nn.utils.spectral_norm])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_spectral_norm_divides_by_a_linear_function_so_that_the_weight_is_a_block(kind: Any) -> None:
    model = _changed(lambda one: kind(one.head), Without()).eval()
    (name,) = (weight for weight, _ in model.named_parameters() if "orig" in weight)
    expected = bn_of_blocks(model, mean_loss(), [{name: slice(None)}], training=False)
    assert bnsharp_cli.measure(model, batches(), **OPTIONS).value == pytest.approx(expected, rel=1e-3)


Pairs = list[tuple[Tensor, Tensor]]
FORMS: dict[str, Callable[[Pairs], Any]] = {
    "a generator": lambda pairs: (pair for pair in pairs),
    "a deque": collections.deque,
    "numpy arrays": lambda pairs: [(x.numpy(), y.numpy()) for x, y in pairs],
    "named tuples": lambda pairs: [collections.namedtuple("Pair", "x y")(*pair) for pair in pairs],
    "mappings of their own": lambda pairs: [collections.UserDict(x=x, labels=y) for x, y in pairs],
    "bytes as labels": lambda pairs: [(x, y.byte()) for x, y in pairs],
    "one-hot labels": lambda pairs: [(x, functional.one_hot(y, 4).float()) for x, y in pairs],
    "inputs that want gradients": lambda pairs: [(x.clone().requires_grad_(), y) for x, y in pairs],
    "strided inputs": lambda pairs: [(torch.stack([x, x], 2)[:, :, 0], y) for x, y in pairs],
    "inputs in numpy's order": lambda pairs: [
        (torch.from_numpy(np.asfortranarray(x.numpy())), torch.from_numpy(y.numpy())) for x, y in pairs
    ],
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_data_has_the_value_of_plain_code(form: str) -> None:
    expected = bn_along_gradient(Net(), mean_loss(), ROWS)
    assert bnsharp_cli.measure(Net(), FORMS[form](batches()), **OPTIONS).value == pytest.approx(expected, rel=1e-3)


def test_a_network_that_runs_in_threads_of_its_own_is_refused() -> None:
    for call in (bnsharp_cli.measure, bnsharp_cli.find_blocks, bnsharp_cli.rescale_test):
        with pytest.raises(BnsharpError, match="in a thread of its own") as refused:
            call(InThread(), batches())
        assert "in the thread that calls" in refused.value.remedy
    own = copy.deepcopy(InThread())
    own.__class__ = Net  # as the remedy says
    expected = bn_along_gradient(Net(), mean_loss(), ROWS)
    assert bnsharp_cli.measure(own, batches(), **OPTIONS).value == pytest.approx(expected, rel=1e-3)


def test_a_penalty_of_a_network_that_is_wrapped() -> None:
    model = Net()
    measured = bnsharp_cli.measure(
        nn.DataParallel(model), batches(), lambda outputs, y: functional.cross_entropy(outputs, y) + penalty(model) / 99
    )
    expected = bn_along_gradient(
        model, mean_loss(lambda own, x, y: functional.cross_entropy(own(x), y) + penalty(own) / 99)
    )
    assert measured.value == pytest.approx(expected, rel=2e-3)
